"""Open Inference Protocol v2 over HTTP: how an answer is read, JSON or binary."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from loadgen.decoding import json_decoder
from loadgen.payloads.classes import Named
from loadgen.payloads.tensors import DTYPES, Tensor
from loadgen.protocols.oip_outputs import NO_TENSOR, AnswerError, count_of, from_bytes, shaped
from loadgen.transport.exchange import Headers, header_value


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
