"""Open Inference Protocol v2: output tensors, however they came, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from loadgen.payloads.classes import Named, UnclearOutputError, class_output, classes_of
from loadgen.payloads.tensors import DTYPES, Tensor
from loadgen.protocols.built import Judge, ResponseCheck, status_error
from loadgen.transport.exchange import Exchange

Labels = npt.NDArray[np.int64]

NO_TENSOR: Tensor = np.empty(0)
"""Stands for an output of texts, which are checked and not kept."""

_MAX_AXES = 32


class AnswerError(Exception):
    """The answer is not what the protocol promises."""


def count_of(shape: tuple[int, ...]) -> int:
    """Elements. Raises AnswerError for a shape that is none."""
    if len(shape) > _MAX_AXES or any(size < 0 for size in shape):
        raise AnswerError
    return prod(shape)


def shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return tensor.reshape(shape)
    except (ValueError, OverflowError) as error:  # an axis of 0 beside one that no array can have
        raise AnswerError from error


def from_bytes(datatype: str, shape: tuple[int, ...], blob: bytes, at: int, size: int) -> Tensor:
    """The tensor that `size` bytes of `blob` hold, little-endian, row by row. Raises AnswerError."""
    count = count_of(shape)
    if datatype == "BYTES":
        _check_texts(blob[at : at + size], count)
        return NO_TENSOR
    dtype = np.dtype("<u2") if datatype == "BF16" else DTYPES.get(datatype)
    if dtype is None or count * dtype.itemsize != size:
        raise AnswerError
    tensor = np.frombuffer(blob, dtype, count, at)
    if datatype == "BF16":  # the upper half of an FP32
        tensor = (tensor.astype("<u4") << 16).view("<f4")
    return shaped(tensor, shape)


def _check_texts(blob: bytes, count: int) -> None:
    at = 0
    for _ in range(count):
        if at + 4 > len(blob):
            raise AnswerError
        at += 4 + int.from_bytes(blob[at : at + 4], "little")
    if at != len(blob):
        raise AnswerError


def judge_of(read: Callable[[Exchange], list[Tensor]], labels: Labels | None, class_index: int | None = None) -> Judge:
    """Judges what `read` finds in an answer; it may raise AnswerError. `labels` are those of each request's rows, and
    `class_index` is the output that they are compared with; where it is None, the answer itself must make it clear."""

    def judge(exchange: Exchange) -> ResponseCheck:
        error = status_error(exchange.status or 0)
        if error is not None:
            return ResponseCheck(error)
        try:
            outputs = read(exchange)
            return judge_outputs(outputs, None if labels is None else labels[exchange.number], class_index)
        except (AnswerError, ValueError, OverflowError, RecursionError, MemoryError):
            return ResponseCheck("bad-payload")

    return judge


def judge_outputs(outputs: list[Tensor], labels: Labels | None, class_index: int | None = None) -> ResponseCheck:
    """`bad-output` when a number is NaN; how many rows were given the class that is their label. Raises AnswerError
    when the output with the classes has not one row for each label."""
    if any(output.dtype.kind == "f" and np.isnan(output).any() for output in outputs):
        return ResponseCheck("bad-output")
    if labels is None:
        return ResponseCheck()
    if class_index is None:
        class_index = _clear_index(outputs, len(labels))
    if class_index >= len(outputs):
        raise AnswerError
    output = outputs[class_index]
    if output.ndim == 0 or output.shape[0] != len(labels) or output.size == 0:
        raise AnswerError
    return ResponseCheck(right=int(np.count_nonzero(classes_of(output, len(labels)) == labels)))


def _clear_index(outputs: list[Tensor], rows: int) -> int:
    try:
        return class_output([("", output) for output in outputs], rows)
    except UnclearOutputError as error:
        raise AnswerError from error


def first_of_each(outputs: Sequence[Named]) -> list[Named]:
    """Without those whose name came before, as in several streamed answers that were read as one."""
    found: dict[str, Named] = {}
    for output in outputs:
        found.setdefault(output[0], output)
    return list(found.values())
