"""Open Inference Protocol v2 over HTTP: how a request is built. How its answer is read is in `oip_answers`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from loadgen.payloads.tensors import Tensor, TensorError, TensorSpec, inputs_from, made_up, read_npz, to_bytes, to_list
from loadgen.protocols.built import MAX_BUILT_BYTES, Built, Judgement, WorkloadError, status_error
from loadgen.protocols.http import request_bytes
from loadgen.protocols.oip_answers import AnswerError, Labels, judge_outputs, read_outputs
from loadgen.records import Endpoint, OipWorkload
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange

_MADE_UP_REQUESTS = 32
"""Different ones, so that a cache in front of the model does not answer them all."""


class ModelMetadata(msgspec.Struct, frozen=True):
    inputs: tuple[TensorSpec, ...]


class OipJudge:
    """`labels` are the right classes of each request's rows."""

    def __init__(self, labels: Labels | None) -> None:
        self._labels = labels

    def __call__(self, exchange: Exchange) -> Judgement:
        error = status_error(exchange.status or 0)
        if error is not None:
            return Judgement(error)
        try:
            outputs = read_outputs(exchange.headers, exchange.body)
            return Judgement(*judge_outputs(outputs, None if self._labels is None else self._labels[exchange.number]))
        except (AnswerError, ValueError, OverflowError, RecursionError, MemoryError):
            return Judgement("bad-payload")


def infer_path(address: Address, model: str) -> str:
    return f"{metadata_path(address, model)}/infer"


def metadata_path(address: Address, model: str) -> str:
    return f"{address.path.partition('?')[0].rstrip('/')}/v2/models/{quote(model, safe='')}"


def read_metadata(body: bytes) -> ModelMetadata:
    """Raises AnswerError, with a sentence, when the answer is not a model's metadata."""
    try:
        metadata = msgspec.json.decode(body, type=ModelMetadata)
    except (msgspec.DecodeError, RecursionError) as error:
        raise AnswerError(f"the model's metadata cannot be read: {error}") from error
    if not metadata.inputs:
        raise AnswerError("the model's metadata names no inputs")
    return metadata


def build_oip(workload: OipWorkload, metadata: ModelMetadata, endpoint: Endpoint, address: Address) -> Built:
    """Raises WorkloadError. Rows that do not fill a last request are left out."""
    path = infer_path(address, workload.model)
    try:
        inputs, row_labels = _inputs(workload, metadata)
    except TensorError as error:
        raise WorkloadError(str(error), hint="the arrays of the .npz are named like the inputs, rows first") from error
    sizes = _Total()
    bodies = _bodies(inputs, metadata.inputs, workload.rows_per_request, workload.binary)
    requests = [
        request_bytes("POST", path, address, [*fields, *endpoint.headers], body)
        for fields, body in takewhile(lambda pair: sizes.fits(len(pair[1])), bodies)
    ]
    if not requests:
        raise WorkloadError(
            f"no request of {workload.rows_per_request} rows can be made of the tensors",
            hint="a request needs all its rows in the file, and must be below 256 MiB",
        )
    labels = None if row_labels is None else row_labels[: len(requests) * workload.rows_per_request]
    per_request = None if labels is None else labels.reshape(len(requests), workload.rows_per_request)
    return Built(requests=requests, judge=OipJudge(per_request), shown=f"POST {address.shown(path)}")


class _Total:
    def __init__(self) -> None:
        self._bytes = 0

    def fits(self, size: int) -> bool:
        self._bytes += size
        return self._bytes <= MAX_BUILT_BYTES


def _inputs(workload: OipWorkload, metadata: ModelMetadata) -> tuple[dict[str, Tensor], Labels | None]:
    if workload.tensors is None:
        if workload.labels is not None:
            raise TensorError("labels need tensors: made-up inputs have no right answer")
        made = made_up(
            metadata.inputs, workload.rows_per_request, _MADE_UP_REQUESTS, workload.seed, limit_bytes=MAX_BUILT_BYTES
        )
        return made, None
    arrays = read_npz(workload.tensors)
    inputs = inputs_from(arrays, metadata.inputs)
    if workload.labels is None:
        return inputs, None
    labels = arrays.get(workload.labels)
    rows = len(next(iter(inputs.values())))
    if labels is None or labels.shape != (rows,) or labels.dtype.kind not in "iu":
        raise TensorError(f"{workload.labels} must be an array of {rows} whole numbers, one for each row")
    return inputs, labels.astype(np.int64)


def _bodies(
    inputs: Mapping[str, Tensor], specs: Sequence[TensorSpec], rows: int, binary: bool
) -> Iterator[tuple[list[tuple[str, str]], bytes]]:
    total = len(next(iter(inputs.values())))
    for start in range(0, total - rows + 1, rows):
        part = [(spec, inputs[spec.name][start : start + rows]) for spec in specs]
        yield _binary_body(part) if binary else _json_body(part)


def _json_body(part: Sequence[tuple[TensorSpec, Tensor]]) -> tuple[list[tuple[str, str]], bytes]:
    described = [{**_described(spec, tensor), "data": to_list(tensor)} for spec, tensor in part]
    return [("Content-Type", "application/json")], msgspec.json.encode({"inputs": described})


def _binary_body(part: Sequence[tuple[TensorSpec, Tensor]]) -> tuple[list[tuple[str, str]], bytes]:
    blobs = [to_bytes(tensor) for _, tensor in part]
    described = [
        {**_described(spec, tensor), "parameters": {"binary_data_size": len(blob)}}
        for (spec, tensor), blob in zip(part, blobs, strict=True)
    ]
    head = msgspec.json.encode({"inputs": described, "parameters": {"binary_data_output": True}})
    fields = [("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", str(len(head)))]
    return fields, head + b"".join(blobs)


def _described(spec: TensorSpec, tensor: Tensor) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(tensor.shape)}
