"""Decode requests and encode responses of the Open Inference Protocol v2 over HTTP. Tensors are
sent as JSON, or as binary data after the JSON part.

The module also maps the datatypes of the protocol, and converts arrays from and to JSON and binary
data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from app.inference.tensor_spec import TensorSpec
from loadgen.decoding import decode_json, json_decoder
from loadgen.payloads.tensors import TensorInput

Array = npt.NDArray[Any]

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
}
"""Datatype names of the Open Inference Protocol, by NumPy dtype."""

_ACCEPTED_KINDS = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}
"""NumPy kinds of JSON values that can be converted to a tensor, by kind of the tensor."""
_PREFIX_BYTES = 4


class BadTensorError(Exception):
    """Error that is raised if the data of a tensor does not match its declared datatype and shape.
    The message is sent to the client."""


def decode_json_array(data: msgspec.Raw, dtype: str, shape: list[int]) -> Array:
    """Decode a tensor from a flat or nested JSON array in row-major order. Raises BadTensorError if
    the data does not match `dtype` and `shape`."""
    if dtype != "object" and b'"' in bytes(data):
        # NumPy would allocate the length of the longest string for every element.
        raise BadTensorError(f"the data has values that {DATATYPES[dtype]} cannot represent")
    try:
        values: Array = np.array(decode_json(data), dtype=object if dtype == "object" else None)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        raise BadTensorError(f"the data is not an array of rows of equal length: {error}") from error
    _check_count(values.size, shape)
    if dtype == "object":
        if not all(isinstance(value, str) for value in values.flat):
            raise BadTensorError("the data has values that are not strings")
        return _reshape(values, shape)
    return _reshape(_cast(values, np.dtype(dtype)), shape)


def decode_binary_array(data: memoryview, dtype: str, shape: list[int]) -> Array:
    """Decode a tensor from little-endian binary data in row-major order, with length-prefixed
    strings.

    The array may share memory with `data`. Raises BadTensorError if the data does not match `dtype`
    and `shape`.
    """
    if dtype == "object":
        strings = _decode_strings(data)
        _check_count(len(strings), shape)
        return _reshape(np.array(strings, dtype=object), shape)
    element_dtype = np.dtype(dtype)
    if len(data) != math.prod(shape) * element_dtype.itemsize:
        raise BadTensorError(
            f"the data has {len(data)} bytes, but {DATATYPES[dtype]} of shape {shape} requires "
            f"{math.prod(shape) * element_dtype.itemsize}"
        )
    if element_dtype.kind == "b":
        return _reshape(np.frombuffer(data, np.uint8).astype(bool), shape)
    return _reshape(np.frombuffer(data, element_dtype), shape)


def encode_json_values(array: Array) -> list[Any]:
    """Return the values of an array as a flat list in row-major order."""
    values: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "O":
        return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    return values


def encode_binary_values(array: Array) -> bytes:
    if array.dtype.kind != "O":
        return array.tobytes()
    strings = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel()]
    return b"".join(len(string).to_bytes(_PREFIX_BYTES, "little") + string for string in strings)


def _cast(values: Array, dtype: np.dtype[Any]) -> Array:
    if values.dtype.kind not in _ACCEPTED_KINDS[dtype.kind]:
        raise BadTensorError(f"the data has values that {DATATYPES[dtype.name]} cannot represent")
    if dtype.kind in "iu" and values.size:
        value_range = np.iinfo(dtype)
        if int(values.min()) < value_range.min or int(values.max()) > value_range.max:
            raise BadTensorError(f"the data has values outside the range of {DATATYPES[dtype.name]}")
    with np.errstate(over="ignore"):
        converted_values: Array = values.astype(dtype)
    if dtype.kind == "f" and not np.isfinite(converted_values).all():
        raise BadTensorError(f"the data has values outside the range of {DATATYPES[dtype.name]}")
    return converted_values


def _reshape(values: Array, shape: list[int]) -> Array:
    try:
        return values.reshape(shape)
    except (ValueError, OverflowError) as error:
        raise BadTensorError("the shape is not a valid array shape") from error


def _check_count(count: int, shape: list[int]) -> None:
    if count != math.prod(shape):
        raise BadTensorError(f"the data has {count} values, but shape {shape} requires {math.prod(shape)}")


def _decode_strings(data: memoryview) -> list[str]:
    strings = []
    position = 0
    while position < len(data):
        end = position + _PREFIX_BYTES + int.from_bytes(data[position : position + _PREFIX_BYTES], "little")
        if end > len(data) or position + _PREFIX_BYTES > len(data):
            raise BadTensorError(
                "the data ends inside a string: its length prefix is truncated or exceeds the remaining bytes"
            )
        try:
            strings.append(str(data[position + _PREFIX_BYTES : end], "utf-8"))
        except UnicodeDecodeError as error:
            raise BadTensorError("the strings are not valid UTF-8") from error
        position = end
    return strings


MODEL_VERSION = "1"
JSON_LENGTH_HEADER = b"inference-header-content-length"


class BadRequestError(Exception):
    """Error that is raised if a request is invalid. The message is sent to the client."""


class _Parameters(msgspec.Struct, frozen=True):
    binary_data_size: int | None = None
    binary_data: bool | None = None
    binary_data_output: bool | None = None


_NO_PARAMETERS = _Parameters()


class _Input(TensorInput, frozen=True):
    parameters: _Parameters = _NO_PARAMETERS
    data: msgspec.Raw = msgspec.Raw(b"")


class _Output(msgspec.Struct):
    name: str
    parameters: _Parameters = _NO_PARAMETERS


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    parameters: _Parameters = _NO_PARAMETERS
    outputs: list[_Output] = []


class InferenceRequest(msgspec.Struct, frozen=True):
    """A decoded inference request.

    `feeds` are the input arrays by name. `requested_outputs` lists, for each requested output, the
    index in the model's outputs, and whether the response contains the output as binary data.
    """

    id: str | None
    feeds: dict[str, Array]
    requested_outputs: tuple[tuple[int, bool], ...]


_decode_request_json = json_decoder(_Request)


def decode_request(
    body: bytes, json_length: int | None, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferenceRequest:
    """Decode an inference request. `json_length` is the length of the JSON part, `None` if there is
    no binary part.

    Raises BadRequestError if the body is invalid or does not match the model's inputs and outputs.
    """
    if json_length is not None and not 0 <= json_length <= len(body):
        raise BadRequestError(f"Inference-Header-Content-Length is {json_length}, but the body has {len(body)} bytes")
    json_bytes = memoryview(body)[: len(body) if json_length is None else json_length]
    try:
        request = _decode_request_json(json_bytes)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"the body is not a valid request of the Open Inference Protocol: {error}") from error
    feeds = _decode_feeds(request, memoryview(body)[len(json_bytes) :], {spec.name: spec for spec in inputs})
    return InferenceRequest(request.id, feeds, _find_requested_outputs(request, [spec.name for spec in outputs]))


def encode_response(
    model_name: str, request: InferenceRequest, outputs: Sequence[TensorSpec], arrays: Sequence[Array]
) -> tuple[bytes, int | None]:
    """Encode the response to an inference request. Return the body, and the length of the JSON part
    if binary data follows (otherwise `None`)."""
    output_documents: list[dict[str, Any]] = []
    binary_parts: list[bytes] = []
    for index, is_binary in request.requested_outputs:
        spec, array = outputs[index], arrays[index]
        output: dict[str, Any] = {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": array.shape}
        if is_binary:
            binary_parts.append(encode_binary_values(array))
            output["parameters"] = {"binary_data_size": len(binary_parts[-1])}
        else:
            output["data"] = encode_json_values(array)
        output_documents.append(output)
    response: dict[str, Any] = {"model_name": model_name, "model_version": MODEL_VERSION, "outputs": output_documents}
    if request.id is not None:
        response["id"] = request.id
    json_bytes = msgspec.json.encode(response)
    return (b"".join([json_bytes, *binary_parts]), len(json_bytes)) if binary_parts else (json_bytes, None)


def build_tensor_metadata(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": spec.shape} for spec in specs]


def _decode_feeds(request: _Request, data: memoryview, specs: dict[str, TensorSpec]) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    for tensor in request.inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            raise BadRequestError(f"the model has no input {tensor.name!r}; it has these inputs: {', '.join(specs)}")
        if tensor.name in feeds:
            raise BadRequestError(f"input {tensor.name!r} occurs more than once")
        _check_tensor_declaration(tensor, spec)
        size = tensor.parameters.binary_data_size
        if size is not None and not 0 <= size <= len(data):
            raise BadRequestError(
                f"input {tensor.name!r} has {size} bytes, but only {len(data)} bytes remain in the body"
            )
        try:
            if size is None:
                feeds[tensor.name] = decode_json_array(tensor.data, spec.dtype, list(tensor.shape))
            else:
                feeds[tensor.name] = decode_binary_array(data[:size], spec.dtype, list(tensor.shape))
        except BadTensorError as error:
            raise BadRequestError(f"input {tensor.name!r}: {error}") from error
        data = data[size or 0 :]
    missing_names = [name for name in specs if name not in feeds]
    if missing_names:
        raise BadRequestError(f"these inputs are missing: {', '.join(missing_names)}")
    if data:
        raise BadRequestError(f"the body has {len(data)} extra bytes after the last input")
    return feeds


def _check_tensor_declaration(tensor: _Input, spec: TensorSpec) -> None:
    if tensor.datatype != DATATYPES[spec.dtype]:
        raise BadRequestError(
            f"input {tensor.name!r} is {tensor.datatype}, but the model requires {DATATYPES[spec.dtype]}"
        )
    is_shape_valid = len(tensor.shape) == len(spec.shape) and all(
        length == spec_length or (spec_length == -1 and length > 0)
        for length, spec_length in zip(tensor.shape, spec.shape, strict=True)
    )
    if not is_shape_valid:
        shape = list(tensor.shape)
        raise BadRequestError(f"input {tensor.name!r} has shape {shape}, but the model requires {list(spec.shape)}")
    if (tensor.parameters.binary_data_size is None) == (not tensor.data):
        raise BadRequestError(f"input {tensor.name!r} must have either data or binary_data_size")


def _find_requested_outputs(request: _Request, output_names: list[str]) -> tuple[tuple[int, bool], ...]:
    is_binary_default = bool(request.parameters.binary_data_output)
    if not request.outputs:
        return tuple((index, is_binary_default) for index in range(len(output_names)))
    is_binary_by_index = {}
    for output in request.outputs:
        if output.name not in output_names:
            raise BadRequestError(
                f"the model has no output {output.name!r}; it has these outputs: {', '.join(output_names)}"
            )
        is_binary = output.parameters.binary_data
        is_binary_by_index[output_names.index(output.name)] = is_binary_default if is_binary is None else is_binary
    return tuple(is_binary_by_index.items())
