"""Open Inference Protocol v2 over HTTP: how an answer is read and judged."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.payloads.tensors import DTYPES, Tensor
from loadgen.transport.exchange import Headers, header_value

Labels = npt.NDArray[np.int64]

_NO_TENSOR = np.empty(0)
_MAX_AXES = 32


class AnswerError(Exception):
    """The answer is not what the protocol promises."""


class _Parameters(msgspec.Struct, frozen=True):
    binary_data_size: int | None = None


class _Output(msgspec.Struct, frozen=True):
    shape: tuple[int, ...]
    datatype: str
    parameters: _Parameters = _Parameters()
    data: Any = None


class _Answer(msgspec.Struct, frozen=True):
    outputs: list[_Output]


_decode = msgspec.json.Decoder(_Answer).decode


def read_outputs(headers: Headers, body: bytes) -> list[Tensor]:
    """The outputs in their order; one of BYTES is checked and comes empty. Raises AnswerError."""
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
    tensors: list[Tensor] = []
    at = head_size
    for output in outputs:
        size = output.parameters.binary_data_size
        if size is None:
            tensors.append(_from_list(output))
            continue
        if size < 0 or at + size > len(body):
            raise AnswerError
        tensors.append(_from_bytes(output, body, at, size))
        at += size
    if at != len(body):
        raise AnswerError
    return tensors


def judge_outputs(outputs: list[Tensor], labels: Labels | None) -> tuple[str | None, int | None]:
    """`bad-output` when a number is NaN; the rows whose arg max in the first output is their label. Raises AnswerError
    when the first output has not one row for each label."""
    if any(output.dtype.kind == "f" and np.isnan(output).any() for output in outputs):
        return "bad-output", None
    if labels is None:
        return None, None
    first = outputs[0]
    if first.ndim == 0 or first.shape[0] != len(labels) or first.size == 0:
        raise AnswerError
    classes = first.reshape(len(labels), -1).argmax(axis=1)
    return None, int(np.count_nonzero(classes == labels))


def _decode_head(head: bytes) -> list[_Output]:
    try:
        return _decode(head).outputs
    except RecursionError as error:
        raise AnswerError from error
    except msgspec.DecodeError as error:
        if b"NaN" not in head and b"Infinity" not in head:
            raise AnswerError from error
    # not JSON, but many servers write it for a NaN, and then the output is at fault, not the message
    try:
        return msgspec.convert(json.loads(head), _Answer).outputs
    except (ValueError, RecursionError) as error:
        raise AnswerError from error


def _from_bytes(output: _Output, body: bytes, at: int, size: int) -> Tensor:
    if output.datatype == "BYTES":
        _check_texts(body[at : at + size], _count(output))
        return _NO_TENSOR
    dtype = DTYPES.get(output.datatype)
    count = _count(output)
    if dtype is None or count * dtype.itemsize != size:
        raise AnswerError
    return _shaped(np.frombuffer(body, dtype, count, at), output)


def _check_texts(blob: bytes, count: int) -> None:
    at = 0
    for _ in range(count):
        if at + 4 > len(blob):
            raise AnswerError
        at += 4 + int.from_bytes(blob[at : at + 4], "little")
    if at != len(blob):
        raise AnswerError


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
    if tensor.size != _count(output):
        raise AnswerError
    if not is_text:
        return _shaped(tensor, output)
    if not all(isinstance(text, str) for text in tensor.flat):
        raise AnswerError
    return _NO_TENSOR


def _shaped(tensor: Tensor, output: _Output) -> Tensor:
    try:
        return tensor.reshape(output.shape)
    except (ValueError, OverflowError) as error:  # an axis of 0 beside one that no array can have
        raise AnswerError from error


def _count(output: _Output) -> int:
    if len(output.shape) > _MAX_AXES or any(size < 0 for size in output.shape):
        raise AnswerError
    return prod(output.shape)
