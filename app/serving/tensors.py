"""Tensors of the Open Inference Protocol: its datatypes, and arrays out of and into JSON and bytes."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.decoding import decode_json

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
"""The protocol's name of each NumPy type."""

_KINDS = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}
"""Kinds of JSON values that each kind of tensor takes, as NumPy names kinds."""
_PREFIX_BYTES = 4


class BadTensorError(Exception):
    """The request's tensor is not what it says or not what the model takes; the text is a sentence for its sender."""


def array_from_json(data: msgspec.Raw, dtype: str, shape: list[int]) -> Array:
    """Flat or nested, in row-major order."""
    if dtype != "object" and b'"' in bytes(data):
        # NumPy would give every element the length of the longest string
        raise BadTensorError(f"its data holds values that {DATATYPES[dtype]} does not have")
    try:
        values: Array = np.array(decode_json(data), dtype=object if dtype == "object" else None)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        raise BadTensorError(f"its data is not an array of equal rows: {error}") from error
    _check_count(values.size, shape)
    if dtype == "object":
        if not all(isinstance(value, str) for value in values.flat):
            raise BadTensorError("its data holds values that are not strings")
        return _shaped(values, shape)
    return _shaped(_cast(values, np.dtype(dtype)), shape)


def array_from_bytes(data: memoryview, dtype: str, shape: list[int]) -> Array:
    """Little-endian and row-major; strings each after their length. The array may share memory with `data`."""
    if dtype == "object":
        texts = _texts(data)
        _check_count(len(texts), shape)
        return _shaped(np.array(texts, dtype=object), shape)
    wanted = np.dtype(dtype)
    if len(data) != math.prod(shape) * wanted.itemsize:
        raise BadTensorError(
            f"it has {len(data)} bytes; {DATATYPES[dtype]} of shape {shape} has {math.prod(shape) * wanted.itemsize}"
        )
    if wanted.kind == "b":
        return _shaped(np.frombuffer(data, np.uint8).astype(bool), shape)
    return _shaped(np.frombuffer(data, wanted), shape)


def json_values(array: Array) -> list[Any]:
    """Flat, in row-major order."""
    values: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "O":
        return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    return values


def binary_values(array: Array) -> bytes:
    if array.dtype.kind != "O":
        return array.tobytes()
    texts = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel()]
    return b"".join(len(text).to_bytes(_PREFIX_BYTES, "little") + text for text in texts)


def _cast(values: Array, wanted: np.dtype[Any]) -> Array:
    if values.dtype.kind not in _KINDS[wanted.kind]:
        raise BadTensorError(f"its data holds values that {DATATYPES[wanted.name]} does not have")
    if wanted.kind in "iu" and values.size:
        limits = np.iinfo(wanted)
        if int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise BadTensorError(f"its data does not fit {DATATYPES[wanted.name]}")
    with np.errstate(over="ignore"):
        cast: Array = values.astype(wanted)
    if wanted.kind == "f" and not np.isfinite(cast).all():
        raise BadTensorError(f"its data does not fit {DATATYPES[wanted.name]}")
    return cast


def _shaped(values: Array, shape: list[int]) -> Array:
    try:
        return values.reshape(shape)
    except (ValueError, OverflowError) as error:
        raise BadTensorError("its shape is not one an array can have") from error


def _check_count(count: int, shape: list[int]) -> None:
    if count != math.prod(shape):
        raise BadTensorError(f"it has {count} values; shape {shape} has {math.prod(shape)}")


def _texts(data: memoryview) -> list[str]:
    texts = []
    at = 0
    while at < len(data):
        end = at + _PREFIX_BYTES + int.from_bytes(data[at : at + _PREFIX_BYTES], "little")
        if end > len(data) or at + _PREFIX_BYTES > len(data):
            raise BadTensorError("its strings are longer than its bytes")
        try:
            texts.append(str(data[at + _PREFIX_BYTES : end], "utf-8"))
        except UnicodeDecodeError as error:
            raise BadTensorError("its strings are not UTF-8") from error
        at = end
    return texts
