"""Open Inference Protocol v2 over HTTP: how a request is built, with the binary tensor extension or without.

Open Inference Protocol v2 over HTTP: how an answer is read, JSON or binary.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from loadgen.decoding import decode_json, json_decoder
from loadgen.payloads.tensors import DTYPES, Named, Tensor, TensorError, TensorInput, to_bytes, to_list
from loadgen.protocols.built import Ask, Judge, TargetError, answer_to
from loadgen.protocols.http import request_bytes
from loadgen.protocols.oip_tensors import NO_TENSOR, AnswerError, Labels, Part, count_of, from_bytes, judge_of, shaped
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, Headers, header_value
from loadgen.workloads import OipWorkload


class _Parameters(msgspec.Struct, frozen=True):
    binary_data_size: int | None = None


class _Output(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    shape: tuple[int, ...]
    datatype: str
    parameters: _Parameters | None = None
    data: Any = None


class _Answer(msgspec.Struct, frozen=True):
    outputs: list[_Output]


_decode = json_decoder(_Answer)


def read_outputs(headers: Headers, body: bytes) -> list[Tensor]:
    """The outputs in their order; one of BYTES is checked and comes empty. Raises AnswerError."""
    return [tensor for _, tensor in read_named_outputs(headers, body)]


def read_named_outputs(headers: Headers, body: bytes) -> list[Named]:
    """The same, each with its name."""
    length = header_value(headers, b"inference-header-content-length")
    try:
        head_size = len(body) if length is None else int(length)
    except ValueError as error:
        raise AnswerError from error
    if not 0 <= head_size <= len(body):
        raise AnswerError
    outputs = _decode_head(body if head_size == len(body) else body[:head_size])
    if not outputs:
        raise AnswerError
    tensors: list[Named] = []
    at = head_size
    for output in outputs:
        size = None if output.parameters is None else output.parameters.binary_data_size
        if size is None:
            tensors.append((output.name, _from_list(output)))
            continue
        if size < 0 or at + size > len(body):
            raise AnswerError
        tensors.append((output.name, from_bytes(output.datatype, output.shape, body, at, size)))
        at += size
    if at != len(body):
        raise AnswerError
    return tensors


def _decode_head(head: bytes) -> list[_Output]:
    try:
        return _decode(head).outputs
    except msgspec.DecodeError as error:
        if b"NaN" not in head and b"Infinity" not in head:
            raise AnswerError from error
    # not JSON, but many servers write it for a NaN, and then the output is at fault, not the message
    try:
        return msgspec.convert(json.loads(head), _Answer).outputs
    except (ValueError, RecursionError) as error:
        raise AnswerError from error


def _from_list(output: _Output) -> Tensor:
    """Elements row by row, or nested lists: both are allowed."""
    if not isinstance(output.data, list):
        raise AnswerError
    is_text = output.datatype == "BYTES"
    # NumPy's own text type gives every element the length of the longest
    dtype = np.dtype(object) if is_text else DTYPES.get(output.datatype)
    if dtype is None:
        raise AnswerError
    try:
        tensor = np.array(output.data, dtype)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise AnswerError from error
    if tensor.size != count_of(output.shape):
        raise AnswerError
    if not is_text:
        return shaped(tensor, output.shape)
    if not all(isinstance(text, str) for text in tensor.flat):
        raise AnswerError
    return NO_TENSOR


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
