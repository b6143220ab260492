"""Requests and responses of the Open Inference Protocol v2 over HTTP, with tensors as JSON or as binary data after it.

Also maps the datatypes of the protocol, and converts arrays to and from JSON and binary data.
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
"""Datatype names of the protocol, by NumPy type."""

_ACCEPTED_KINDS = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}
"""NumPy kinds of JSON values that a tensor of each kind accepts."""
_PREFIX_BYTES = 4


class BadTensorError(Exception):
    """Raised if a tensor contradicts its declaration or the model's input. The message is for the client."""


def decode_json_array(data: msgspec.Raw, dtype: str, shape: list[int]) -> Array:
    """Decode a tensor from flat or nested JSON data in row-major order. Raises BadTensorError."""
    if dtype != "object" and b'"' in bytes(data):
        # NumPy would allocate the length of the longest string for every element.
        raise BadTensorError(f"its data has values that {DATATYPES[dtype]} cannot represent")
    try:
        values: Array = np.array(decode_json(data), dtype=object if dtype == "object" else None)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        raise BadTensorError(f"its data is not an array of rows of equal length: {error}") from error
    _check_count(values.size, shape)
    if dtype == "object":
        if not all(isinstance(value, str) for value in values.flat):
            raise BadTensorError("its data has values that are not strings")
        return _reshape(values, shape)
    return _reshape(_cast(values, np.dtype(dtype)), shape)


def decode_binary_array(data: memoryview, dtype: str, shape: list[int]) -> Array:
    """Decode a tensor from little-endian, row-major binary data, with a length before each string.

    The array may share memory with `data`. Raises BadTensorError.
    """
    if dtype == "object":
        texts = _decode_texts(data)
        _check_count(len(texts), shape)
        return _reshape(np.array(texts, dtype=object), shape)
    item_type = np.dtype(dtype)
    if len(data) != math.prod(shape) * item_type.itemsize:
        raise BadTensorError(
            f"it has {len(data)} bytes, but {DATATYPES[dtype]} of shape {shape} needs "
            f"{math.prod(shape) * item_type.itemsize}"
        )
    if item_type.kind == "b":
        return _reshape(np.frombuffer(data, np.uint8).astype(bool), shape)
    return _reshape(np.frombuffer(data, item_type), shape)


def encode_json_values(array: Array) -> list[Any]:
    """Return the values of an array as a flat list in row-major order."""
    values: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "O":
        return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    return values


def encode_binary_values(array: Array) -> bytes:
    if array.dtype.kind != "O":
        return array.tobytes()
    texts = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel()]
    return b"".join(len(text).to_bytes(_PREFIX_BYTES, "little") + text for text in texts)


def _cast(values: Array, dtype: np.dtype[Any]) -> Array:
    if values.dtype.kind not in _ACCEPTED_KINDS[dtype.kind]:
        raise BadTensorError(f"its data has values that {DATATYPES[dtype.name]} cannot represent")
    if dtype.kind in "iu" and values.size:
        limits = np.iinfo(dtype)
        if int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise BadTensorError(f"its data does not fit {DATATYPES[dtype.name]}")
    with np.errstate(over="ignore"):
        cast: Array = values.astype(dtype)
    if dtype.kind == "f" and not np.isfinite(cast).all():
        raise BadTensorError(f"its data does not fit {DATATYPES[dtype.name]}")
    return cast


def _reshape(values: Array, shape: list[int]) -> Array:
    try:
        return values.reshape(shape)
    except (ValueError, OverflowError) as error:
        raise BadTensorError("its shape is not a valid array shape") from error


def _check_count(count: int, shape: list[int]) -> None:
    if count != math.prod(shape):
        raise BadTensorError(f"it has {count} values, but shape {shape} needs {math.prod(shape)}")


def _decode_texts(data: memoryview) -> list[str]:
    texts = []
    at = 0
    while at < len(data):
        end = at + _PREFIX_BYTES + int.from_bytes(data[at : at + _PREFIX_BYTES], "little")
        if end > len(data) or at + _PREFIX_BYTES > len(data):
            raise BadTensorError("its strings are longer than its data")
        try:
            texts.append(str(data[at + _PREFIX_BYTES : end], "utf-8"))
        except UnicodeDecodeError as error:
            raise BadTensorError("its strings are not valid UTF-8") from error
        at = end
    return texts


VERSION = "1"
JSON_LENGTH_HEADER = b"inference-header-content-length"


class BadRequestError(Exception):
    """Raised if a request is invalid. The message is for the client."""


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
    """A decoded request.

    `requested_outputs` lists the requested outputs: the index among the model's outputs, and whether the response is
    binary.
    """

    id: str | None
    feeds: dict[str, Array]
    requested_outputs: tuple[tuple[int, bool], ...]


_decode = json_decoder(_Request)


def decode_request(
    body: bytes, json_length: int | None, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferenceRequest:
    """Decode a request. `json_length` is the header with the length of the JSON part, `None` if there is no binary
    part.

    Raises BadRequestError.
    """
    if json_length is not None and not 0 <= json_length <= len(body):
        raise BadRequestError(f"Inference-Header-Content-Length is {json_length}, but the body has {len(body)} bytes")
    text = memoryview(body)[: len(body) if json_length is None else json_length]
    try:
        request = _decode(text)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"the body is not a valid request of the Open Inference Protocol: {error}") from error
    feeds = _decode_feeds(request, memoryview(body)[len(text) :], {spec.name: spec for spec in inputs})
    return InferenceRequest(request.id, feeds, _requested_outputs(request, [spec.name for spec in outputs]))


def encode_response(
    model: str, request: InferenceRequest, outputs: Sequence[TensorSpec], arrays: Sequence[Array]
) -> tuple[bytes, int | None]:
    """Return the response body, and the length of its JSON part if binary data follows."""
    described: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for index, is_binary in request.requested_outputs:
        spec, array = outputs[index], arrays[index]
        output: dict[str, Any] = {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": array.shape}
        if is_binary:
            binary.append(encode_binary_values(array))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = encode_json_values(array)
        described.append(output)
    response: dict[str, Any] = {"model_name": model, "model_version": VERSION, "outputs": described}
    if request.id is not None:
        response["id"] = request.id
    text = msgspec.json.encode(response)
    return (b"".join([text, *binary]), len(text)) if binary else (text, None)


def tensor_metadata(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": spec.shape} for spec in specs]


def _decode_feeds(request: _Request, data: memoryview, specs: dict[str, TensorSpec]) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    for tensor in request.inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            raise BadRequestError(f"the model has no input {tensor.name!r}, only {', '.join(specs)}")
        if tensor.name in feeds:
            raise BadRequestError(f"input {tensor.name!r} is given twice")
        _check_declared(tensor, spec)
        size = tensor.parameters.binary_data_size
        if size is not None and not 0 <= size <= len(data):
            raise BadRequestError(f"input {tensor.name!r} has {size} bytes, but only {len(data)} are left in the body")
        try:
            if size is None:
                feeds[tensor.name] = decode_json_array(tensor.data, spec.dtype, list(tensor.shape))
            else:
                feeds[tensor.name] = decode_binary_array(data[:size], spec.dtype, list(tensor.shape))
        except BadTensorError as error:
            raise BadRequestError(f"input {tensor.name!r}: {error}") from error
        data = data[size or 0 :]
    missing = [name for name in specs if name not in feeds]
    if missing:
        raise BadRequestError(f"missing inputs: {', '.join(missing)}")
    if data:
        raise BadRequestError(f"{len(data)} bytes at the end of the body belong to no input")
    return feeds


def _check_declared(tensor: _Input, spec: TensorSpec) -> None:
    if tensor.datatype != DATATYPES[spec.dtype]:
        raise BadRequestError(
            f"input {tensor.name!r} is {tensor.datatype}, but the model needs {DATATYPES[spec.dtype]}"
        )
    fits = len(tensor.shape) == len(spec.shape) and all(
        length == axis or (axis == -1 and length > 0) for length, axis in zip(tensor.shape, spec.shape, strict=True)
    )
    if not fits:
        shape = list(tensor.shape)
        raise BadRequestError(f"input {tensor.name!r} has shape {shape}, but the model needs {list(spec.shape)}")
    if (tensor.parameters.binary_data_size is None) == (not tensor.data):
        raise BadRequestError(f"input {tensor.name!r} needs either data or binary_data_size")


def _requested_outputs(request: _Request, names: list[str]) -> tuple[tuple[int, bool], ...]:
    default = bool(request.parameters.binary_data_output)
    if not request.outputs:
        return tuple((index, default) for index in range(len(names)))
    requested = {}
    for output in request.outputs:
        if output.name not in names:
            raise BadRequestError(f"the model has no output {output.name!r}, only {', '.join(names)}")
        is_binary = output.parameters.binary_data
        requested[names.index(output.name)] = default if is_binary is None else is_binary
    return tuple(requested.items())
