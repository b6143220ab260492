"""Open Inference Protocol v2 over HTTP: how a request is built, with the binary tensor extension or without."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from loadgen.decoding import decode_json
from loadgen.payloads.classes import Named
from loadgen.payloads.tensors import Tensor, TensorError, TensorInput, to_bytes, to_list
from loadgen.protocols.asking import Ask, TargetError, answer_to
from loadgen.protocols.built import Judge
from loadgen.protocols.http import request_bytes
from loadgen.protocols.oip_answers import read_named_outputs, read_outputs
from loadgen.protocols.oip_inputs import Part
from loadgen.protocols.oip_outputs import Labels, judge_of
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange
from loadgen.workloads import OipWorkload

Fields = list[tuple[str, str]]


class _Metadata(msgspec.Struct, frozen=True):
    inputs: tuple[TensorInput, ...]


class OipHttp:
    new_reader = None
    refusal = "The server refused binary tensors; JSON was sent."

    def __init__(self, workload: OipWorkload, endpoint: Endpoint, address: Address) -> None:
        self._endpoint, self._address = endpoint, address
        self._model_path = model_path(address, workload.model, workload.version)
        self._path = f"{self._model_path}/infer"
        self.shown = f"POST {address.shown(self._path)}"

    async def inputs(self, ask: Ask) -> tuple[TensorInput, ...]:
        """What the model takes. Raises TargetError."""
        request = request_bytes("GET", self._model_path, self._address, self._endpoint.headers, None)
        answer = await answer_to(request, f"GET {self._address.shown(self._model_path)}", ask)
        return read_metadata(answer)

    def request(self, part: Part, is_binary: bool) -> bytes:
        """Raises TensorError."""
        fields, body = binary_body(part) if is_binary else json_body(part)
        return request_bytes("POST", self._path, self._address, [*fields, *self._endpoint.headers], body)

    def is_refusal(self, exchange: Exchange) -> bool:
        return exchange.error is None and exchange.status is not None and exchange.status >= 400

    def named_outputs(self, exchange: Exchange) -> list[Named]:
        """Raises AnswerError."""
        return read_named_outputs(exchange.headers, exchange.body)

    def judge(self, labels: Labels | None, class_index: int | None = None) -> Judge:
        return judge_of(lambda exchange: read_outputs(exchange.headers, exchange.body), labels, class_index)


def model_path(address: Address, model: str, version: str | None) -> str:
    versions = "" if version is None else f"/versions/{quote(version, safe='')}"
    return f"{address.path.partition('?')[0].rstrip('/')}/v2/models/{quote(model, safe='')}{versions}"


def read_metadata(answer: Exchange) -> tuple[TensorInput, ...]:
    """Raises TargetError."""
    try:
        inputs = decode_json(answer.body, _Metadata).inputs
    except msgspec.DecodeError as error:
        raise TargetError(f"the model's metadata cannot be read: {error}", "bad-payload", answer.status) from error
    if not inputs:
        raise TargetError("the model's metadata names no inputs", "bad-payload", answer.status)
    return inputs


def json_body(part: Part) -> tuple[Fields, bytes]:
    """Raises TensorError."""
    described = [{**_described(spec, tensor), "data": _listed(spec, tensor)} for spec, tensor in part]
    return [("Content-Type", "application/json")], msgspec.json.encode({"inputs": described})


def binary_body(part: Part) -> tuple[Fields, bytes]:
    blobs = [to_bytes(tensor) for _, tensor in part]
    described = [
        {**_described(spec, tensor), "parameters": {"binary_data_size": len(blob)}}
        for (spec, tensor), blob in zip(part, blobs, strict=True)
    ]
    head = msgspec.json.encode({"inputs": described, "parameters": {"binary_data_output": True}})
    fields = [("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", str(len(head)))]
    return fields, head + b"".join(blobs)


def _described(spec: TensorInput, tensor: Tensor) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(tensor.shape)}


def _listed(spec: TensorInput, tensor: Tensor) -> list[Any]:
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise TensorError(f"{spec.name} holds NaN or infinity, which JSON has no form for")
    try:
        return to_list(tensor)
    except UnicodeDecodeError as error:
        raise TensorError(f"{spec.name} holds bytes that are no UTF-8, which JSON needs") from error
