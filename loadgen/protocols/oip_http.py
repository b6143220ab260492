"""Build requests and read responses of the Open Inference Protocol v2 over HTTP, with binary
tensors or JSON."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from loadgen.decoding import decode_json, json_decoder
from loadgen.payloads.tensors import DTYPES, NamedTensor, Tensor, TensorError, TensorInput, to_bytes, to_list
from loadgen.protocols.http import encode_request
from loadgen.protocols.oip_tensors import (
    EMPTY_TENSOR,
    Labels,
    RequestInputs,
    ResponseError,
    build_check,
    count_elements,
    decode_tensor,
    reshape,
)
from loadgen.protocols.prepared import CheckResponse, SendRequest, TargetError, request_or_raise
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange, Headers, find_header
from loadgen.workloads import OipWorkload


class _Parameters(msgspec.Struct, frozen=True):
    binary_data_size: int | None = None


class _Output(TensorInput, frozen=True, kw_only=True):
    name: str = ""
    parameters: _Parameters | None = None
    data: Any = None


class _Response(msgspec.Struct, frozen=True):
    outputs: list[_Output]


_decode_response = json_decoder(_Response)


def read_outputs(headers: Headers, body: bytes) -> list[Tensor]:
    """Return the output tensors of a response, in the order of the response. BYTES outputs are
    validated and returned as empty tensors. Raises ResponseError if the response violates the
    protocol."""
    return [tensor for _, tensor in read_named_outputs(headers, body)]


def read_named_outputs(headers: Headers, body: bytes) -> list[NamedTensor]:
    """Return the names and tensors of the outputs in a response, in the order of the response.
    BYTES outputs are validated and returned as empty tensors. Raises ResponseError if the response
    violates the protocol."""
    length_header = find_header(headers, b"inference-header-content-length")
    try:
        json_length = len(body) if length_header is None else int(length_header)
    except ValueError as error:
        raise ResponseError from error
    if not 0 <= json_length <= len(body):
        raise ResponseError
    outputs = _decode_json_outputs(body if json_length == len(body) else body[:json_length])
    if not outputs:
        raise ResponseError
    tensors: list[NamedTensor] = []
    position = json_length
    for output in outputs:
        size_bytes = None if output.parameters is None else output.parameters.binary_data_size
        if size_bytes is None:
            tensors.append((output.name, _decode_json_tensor(output)))
            continue
        if size_bytes < 0 or position + size_bytes > len(body):
            raise ResponseError
        tensors.append((output.name, decode_tensor(output.datatype, output.shape, body, position, size_bytes)))
        position += size_bytes
    if position != len(body):
        raise ResponseError
    return tensors


def _decode_json_outputs(json_bytes: bytes) -> list[_Output]:
    try:
        return _decode_response(json_bytes).outputs
    except msgspec.DecodeError as error:
        if b"NaN" not in json_bytes and b"Infinity" not in json_bytes:
            raise ResponseError from error
    # Many servers write NaN, which is not valid JSON; then the output is wrong rather than the
    # message.
    try:
        return msgspec.convert(json.loads(json_bytes), _Response).outputs
    except (ValueError, RecursionError) as error:
        raise ResponseError from error


def _decode_json_tensor(output: _Output) -> Tensor:
    """Return the tensor of an output in JSON, whose data may be a flat or a nested list. Raises
    ResponseError if the data does not match the datatype and shape."""
    if not isinstance(output.data, list):
        raise ResponseError
    is_text = output.datatype == "BYTES"
    # Use object dtype for strings: NumPy's string dtype would pad every element to the longest
    # string.
    dtype = np.dtype(object) if is_text else DTYPES.get(output.datatype)
    if dtype is None:
        raise ResponseError
    try:
        tensor = np.array(output.data, dtype)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ResponseError from error
    if tensor.size != count_elements(output.shape):
        raise ResponseError
    if not is_text:
        return reshape(tensor, output.shape)
    if not all(isinstance(text, str) for text in tensor.flat):
        raise ResponseError
    return EMPTY_TENSOR


Fields = list[tuple[str, str]]


class _Metadata(msgspec.Struct, frozen=True):
    inputs: tuple[TensorInput, ...]


class OipHttp:
    new_reader = None
    rejection_note = "The server rejected binary tensors, so JSON was sent."

    def __init__(self, workload: OipWorkload, endpoint: Endpoint, address: Address) -> None:
        self._endpoint, self._address = endpoint, address
        self._model_path = format_model_path(address, workload.model, workload.version)
        self._path = f"{self._model_path}/infer"
        self.label = f"POST {address.format_url(self._path)}"

    async def fetch_inputs(self, send: SendRequest) -> tuple[TensorInput, ...]:
        """Request the model's metadata and return the model's inputs. Raises TargetError if the
        metadata cannot be read."""
        request = encode_request("GET", self._model_path, self._address, self._endpoint.headers, None)
        response = await request_or_raise(request, f"GET {self._address.format_url(self._model_path)}", send)
        return read_metadata(response)

    def encode_request(self, inputs: RequestInputs, is_binary: bool) -> bytes:
        """Serialize one inference request. Raises TensorError for a tensor that cannot be
        encoded."""
        fields, body = encode_binary(inputs) if is_binary else encode_json(inputs)
        return encode_request("POST", self._path, self._address, [*fields, *self._endpoint.headers], body)

    def is_rejection(self, exchange: Exchange) -> bool:
        return exchange.error is None and exchange.status is not None and exchange.status >= 400

    def read_named_outputs(self, exchange: Exchange) -> list[NamedTensor]:
        """Return the names and tensors of the outputs in a response. Raises ResponseError if the
        response violates the protocol."""
        return read_named_outputs(exchange.headers, exchange.body)

    def build_check(self, labels: Labels | None, class_index: int | None = None) -> CheckResponse:
        return build_check(lambda exchange: read_outputs(exchange.headers, exchange.body), labels, class_index)


def format_model_path(address: Address, model: str, version: str | None) -> str:
    version_path = "" if version is None else f"/versions/{quote(version, safe='')}"
    return f"{address.path.partition('?')[0].rstrip('/')}/v2/models/{quote(model, safe='')}{version_path}"


def read_metadata(response: Exchange) -> tuple[TensorInput, ...]:
    """Decode the response to a metadata request and return the model's inputs. Raises TargetError
    if the metadata cannot be read."""
    try:
        inputs = decode_json(response.body, _Metadata).inputs
    except msgspec.DecodeError as error:
        raise TargetError(f"the model's metadata cannot be read: {error}", "bad-payload", response.status) from error
    if not inputs:
        raise TargetError("the model's metadata has no inputs", "bad-payload", response.status)
    return inputs


def encode_json(inputs: RequestInputs) -> tuple[Fields, bytes]:
    """Return the header fields and the body of an inference request in JSON. Raises TensorError for
    values that JSON cannot represent."""
    descriptions = [{**_describe_input(spec, tensor), "data": _to_json_list(spec, tensor)} for spec, tensor in inputs]
    return [("Content-Type", "application/json")], msgspec.json.encode({"inputs": descriptions})


def encode_binary(inputs: RequestInputs) -> tuple[Fields, bytes]:
    blobs = [to_bytes(tensor) for _, tensor in inputs]
    descriptions = [
        {**_describe_input(spec, tensor), "parameters": {"binary_data_size": len(blob)}}
        for (spec, tensor), blob in zip(inputs, blobs, strict=True)
    ]
    json_bytes = msgspec.json.encode({"inputs": descriptions, "parameters": {"binary_data_output": True}})
    fields = [("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", str(len(json_bytes)))]
    return fields, json_bytes + b"".join(blobs)


def _describe_input(spec: TensorInput, tensor: Tensor) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(tensor.shape)}


def _to_json_list(spec: TensorInput, tensor: Tensor) -> list[Any]:
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise TensorError(f"{spec.name} contains NaN or infinity, which JSON does not support")
    try:
        return to_list(tensor)
    except UnicodeDecodeError as error:
        raise TensorError(f"{spec.name} contains bytes that are not UTF-8, which JSON requires") from error
