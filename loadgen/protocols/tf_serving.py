"""TensorFlow Serving's REST API: predictions from rows of an .npz, or from inputs made up from the model's metadata."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from loadgen.decoding import decode_json, json_decoder
from loadgen.payloads.datasets import picks
from loadgen.payloads.tensors import Tensor, TensorError, TensorInput, inputs_from, made_up, read_npz
from loadgen.protocols.built import (
    AS_PROMISED,
    MAX_BUILT_BYTES,
    Ask,
    Built,
    ResponseCheck,
    TargetError,
    WorkloadError,
    answer_to,
    status_error,
)
from loadgen.protocols.http import Unsent, left_out_notes, request_bytes, within_memory
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange
from loadgen.workloads import TfServingWorkload

_MADE_UP_REQUESTS = 32
"""Different ones, so that a cache in front of the model does not answer them all."""

_DATATYPES = {
    "DT_BOOL": "BOOL",
    "DT_UINT8": "UINT8",
    "DT_UINT16": "UINT16",
    "DT_UINT32": "UINT32",
    "DT_UINT64": "UINT64",
    "DT_INT8": "INT8",
    "DT_INT16": "INT16",
    "DT_INT32": "INT32",
    "DT_INT64": "INT64",
    "DT_HALF": "FP16",
    "DT_FLOAT": "FP32",
    "DT_DOUBLE": "FP64",
    "DT_STRING": "BYTES",
}


class _Dim(msgspec.Struct, frozen=True):
    size: str = "0"


class _Shape(msgspec.Struct, frozen=True):
    dim: tuple[_Dim, ...] = ()
    unknown_rank: bool = False


class _Input(msgspec.Struct, frozen=True):
    dtype: str
    tensor_shape: _Shape = _Shape()


class _Signature(msgspec.Struct, frozen=True):
    inputs: dict[str, _Input] = {}


class _Signatures(msgspec.Struct, frozen=True):
    signature_def: dict[str, _Signature]


class _Described(msgspec.Struct, frozen=True):
    signature_def: _Signatures


class _Metadata(msgspec.Struct, frozen=True):
    metadata: _Described


class _Answer(msgspec.Struct, frozen=True):
    predictions: msgspec.Raw = msgspec.Raw()
    outputs: msgspec.Raw = msgspec.Raw()


async def build_tf_serving(workload: TfServingWorkload, endpoint: Endpoint, address: Address, ask: Ask) -> Built:
    """Raises WorkloadError, and TargetError when the model does not tell its inputs."""
    base = _model_path(workload, address)
    metadata = request_bytes("GET", f"{base}/metadata", address, endpoint.headers, None)
    shown = f"GET {address.shown(f'{base}/metadata')}"
    answer = await answer_to(metadata, shown, ask)
    specs, notes = _specs(answer, workload.signature)
    try:
        inputs = _inputs(workload, specs)
        unsent = _unsent(f"{base}:predict", workload, specs, inputs)
        requests, was_cut = within_memory(unsent, "POST", endpoint, address)
    except TensorError as error:
        raise WorkloadError(str(error), hint="the arrays of the .npz are named like the inputs, rows first") from error
    if not requests:
        raise WorkloadError(f"no request of {workload.rows_per_request} rows can be made of the tensors")
    return Built(
        requests=requests,
        judge=judge_prediction,
        shown=f"POST {address.shown(f'{base}:predict')}",
        picks=picks(workload.popularity, len(requests), workload.seed),
        notes=(*notes, *left_out_notes(requests, was_cut)),
    )


_decode = json_decoder(_Answer)


def judge_prediction(exchange: Exchange) -> ResponseCheck:
    error = status_error(exchange.status or 0)
    if error is not None:
        return ResponseCheck(error)
    try:
        answer = _decode(exchange.body)
    except msgspec.DecodeError:
        # not JSON, but it is how the server writes a NaN, and then the output is at fault, not the message
        return ResponseCheck("bad-output" if b"NaN" in exchange.body else "bad-payload")
    return AS_PROMISED if memoryview(answer.predictions) or memoryview(answer.outputs) else ResponseCheck("bad-payload")


def _model_path(workload: TfServingWorkload, address: Address) -> str:
    version = "" if workload.version is None else f"/versions/{quote(workload.version, safe='')}"
    return f"{address.path.partition('?')[0].rstrip('/')}/v1/models/{quote(workload.model, safe='')}{version}"


def _specs(answer: Exchange, signature: str) -> tuple[tuple[TensorInput, ...], tuple[str, ...]]:
    """What the signature takes, in the order of names, and what had to be guessed."""
    try:
        signatures = decode_json(answer.body, _Metadata).metadata.signature_def.signature_def
    except msgspec.DecodeError as error:
        raise TargetError(f"the model's metadata cannot be read: {error}", "bad-payload", answer.status) from error
    if signature not in signatures:
        known = ", ".join(sorted(signatures)[:10]) or "none"
        raise WorkloadError(f"the model has no signature {signature!r}", hint=f"it has {known}")
    inputs = signatures[signature].inputs
    if not inputs:
        raise TargetError(f"the signature {signature!r} names no inputs", "bad-payload", answer.status)
    try:
        specs = tuple(_spec(name, inputs[name]) for name in sorted(inputs))
    except ValueError as error:
        raise TargetError("the model's metadata has a size that is no number", "bad-payload", answer.status) from error
    unknown = [name for name in sorted(inputs) if inputs[name].tensor_shape.unknown_rank]
    return specs, tuple(f"the model does not tell the shape of {name}: one value a row was taken" for name in unknown)


def _spec(name: str, given: _Input) -> TensorInput:
    shape = (-1,) if given.tensor_shape.unknown_rank else tuple(int(dim.size) for dim in given.tensor_shape.dim)
    return TensorInput(name, _DATATYPES.get(given.dtype, given.dtype), shape)


def _inputs(workload: TfServingWorkload, specs: Sequence[TensorInput]) -> dict[str, Tensor]:
    """All have rows first, a scalar too."""
    if workload.tensors is None:
        by_row = [msgspec.structs.replace(spec, shape=spec.shape or (-1,)) for spec in specs]
        return made_up(by_row, workload.rows_per_request, _MADE_UP_REQUESTS, workload.seed, limit_bytes=MAX_BUILT_BYTES)
    inputs = inputs_from(read_npz(workload.tensors), specs)
    infinite = [name for name, tensor in inputs.items() if tensor.dtype.kind == "f" and not np.isfinite(tensor).all()]
    if infinite:
        raise TensorError(f"{', '.join(infinite)} holds NaN or infinity, which JSON has no form for")
    return inputs


def _unsent(
    path: str, workload: TfServingWorkload, specs: Sequence[TensorInput], inputs: Mapping[str, Tensor]
) -> Iterator[Unsent]:
    """Instances by row; but a scalar has no row, so beside one everything goes by column."""
    rows = workload.rows_per_request
    scalars = [spec.name for spec in specs if not spec.shape]
    total = len(inputs[specs[0].name])
    for start in range(0, total - rows + 1, rows):
        columns = {spec.name: _values(inputs[spec.name][start : start + rows]) for spec in specs}
        given: dict[str, Any] = {"instances": _instances(columns)}
        if scalars:
            given = {"inputs": columns | {name: columns[name][0] for name in scalars}}
        body = msgspec.json.encode({"signature_name": workload.signature, **given})
        yield Unsent(path, body, "application/json")


def _instances(columns: Mapping[str, list[Any]]) -> list[Any]:
    """A lone input needs no name."""
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(tensor: Tensor) -> list[Any]:
    """Nested lists, as deep as the tensor has axes; a text that is not UTF-8 in the server's own form."""
    if tensor.dtype.kind == "S":
        texts = [_text(text) for text in tensor.ravel().tolist()]
        values = np.empty(tensor.size, object)
        values[:] = texts
        tensor = values.reshape(tensor.shape)
    listed: list[Any] = tensor.tolist()
    return listed


def _text(text: bytes) -> str | dict[str, str]:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return {"b64": b64encode(text).decode()}
