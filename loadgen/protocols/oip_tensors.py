"""Open Inference Protocol v2: output tensors, however they came, and what is to be said of them.

Open Inference Protocol v2: the tensors of each request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.payloads.tensors import (
    DTYPES,
    Named,
    Tensor,
    TensorError,
    TensorInput,
    UnclearOutputError,
    class_output,
    classes_of,
    inputs_from,
    made_up,
    read_npz,
)
from loadgen.protocols.built import MAX_BUILT_BYTES, Judge, ResponseCheck, status_error
from loadgen.transport.exchange import Exchange
from loadgen.workloads import OipWorkload

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


_MADE_UP_REQUESTS = 32
"""Different ones, so that a cache in front of the model does not answer them all."""

Part = list[tuple[TensorInput, Tensor]]
"""The inputs of one request."""


class Inputs(msgspec.Struct, frozen=True):
    """Arrays by input, and the right class of each row when there are labels.

    An array's first axis is the row, which the model's own first axis is too. One with an axis more than the model's
    input holds whole inputs: a scalar, or an input without a batch.
    """

    specs: Sequence[TensorInput]
    arrays: Mapping[str, Tensor]
    rows: int
    row_labels: Labels | None

    def parts(self) -> Iterator[Part]:
        """Rows that do not fill a last request are left out."""
        is_whole = {spec.name: self.arrays[spec.name].ndim == len(spec.shape) + 1 for spec in self.specs}
        counts = [len(self.arrays[name]) // (1 if whole else self.rows) for name, whole in is_whole.items()]
        for index in range(min(counts)):
            rows = slice(index * self.rows, (index + 1) * self.rows)
            yield [(spec, self.arrays[spec.name][index if is_whole[spec.name] else rows]) for spec in self.specs]

    def labels(self, requests: int) -> Labels | None:
        """One line for each of the first requests."""
        if self.row_labels is None:
            return None
        return self.row_labels[: requests * self.rows].reshape(requests, self.rows)


def inputs_of(workload: OipWorkload, specs: Sequence[TensorInput]) -> Inputs:
    """Raises TensorError."""
    rows = workload.rows_per_request
    if rows < 1:
        raise TensorError("a request needs at least one row")
    if len({spec.name for spec in specs}) != len(specs):
        raise TensorError("the model names two inputs alike")
    if workload.tensors is None:
        if workload.labels is not None:
            raise TensorError("labels need tensors: made-up inputs have no right answer")
        return Inputs(specs, _made_up(specs, rows, workload.seed), rows, None)
    read = read_npz(workload.tensors)
    arrays = inputs_from(read, specs)
    for spec in specs:
        _check_axes(spec, arrays[spec.name], rows)
    return Inputs(specs, arrays, rows, _labels(workload.labels, read, len(arrays[specs[0].name])))


def _made_up(specs: Sequence[TensorInput], rows: int, seed: int) -> dict[str, Tensor]:
    """An input whose first axis is not the row's is made up whole, once for each request."""
    whole = [spec for spec in specs if not spec.shape or (rows == 1 and spec.shape[0] not in (-1, 1))]
    in_rows = [spec for spec in specs if spec not in whole]
    lifted = [TensorInput(spec.name, spec.datatype, (1, *spec.shape)) for spec in whole]
    return {
        **made_up(lifted, 1, _MADE_UP_REQUESTS, seed, limit_bytes=MAX_BUILT_BYTES),
        **made_up(in_rows, rows, _MADE_UP_REQUESTS, seed, limit_bytes=MAX_BUILT_BYTES),
    }


def _check_axes(spec: TensorInput, array: Tensor, rows: int) -> None:
    if array.ndim == len(spec.shape) + 1:
        if rows != 1:
            raise TensorError(f"{spec.name} holds whole inputs, one for each request: ask for one row a request")
    elif array.ndim != len(spec.shape):
        raise TensorError(f"{spec.name} has {array.ndim} axes, and the model's input {len(spec.shape)}")


def _labels(name: str | None, arrays: Mapping[str, Tensor], rows: int) -> Labels | None:
    if name is None:
        return None
    labels = arrays.get(name)
    if labels is None or labels.shape != (rows,) or labels.dtype.kind not in "iu":
        raise TensorError(f"{name} must be an array of {rows} whole numbers, one for each row")
    return labels.astype(np.int64)
