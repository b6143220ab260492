"""The score of each labelled row, from the model's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.analysis.columns import Floats
from app.analysis.local.accuracy import Metric
from app.errors import UsageError
from loadgen.payloads.tensors import Named, UnclearOutputError, class_output

Array = npt.NDArray[Any]


def metric_of(labels: Array) -> Metric:
    """Whole numbers are classes, others are amounts."""
    return "top-1" if labels.dtype.kind in "iu" else "mean absolute error"


def answer_index(outputs: Sequence[Named], labels: Array, wanted: str | None) -> int:
    """The output that labels are compared with. Raises UsageError where that is unclear, or is no output at all."""
    if metric_of(labels) != "top-1":
        names = [name for name, _ in outputs]
        if wanted is not None and wanted not in names:
            raise UsageError(f"the model has no output {wanted!r}; it has {', '.join(map(repr, names))}")
        return 0 if wanted is None else names.index(wanted)
    try:
        return class_output(outputs, len(labels), wanted)
    except UnclearOutputError as error:
        if error.is_none and len(outputs) == 1:
            return 0  # why it has no answer is told by `scores_of`
        raise UsageError(f"accuracy cannot be measured: {error}", hint=error.hint) from error


def scores_of(output: Array, labels: Array, metric: Metric) -> Floats:
    """One a label; answers beyond the labels are of a batch's filling, and are left out.

    Of `top-1`, 1 where the largest score is the label's, or where whole numbers, one a row, are the label: else 0, as
    where a score is NaN. Of an error, its size, NaN where the answer is. Raises UsageError for an output that has not
    one answer a row.
    """
    answers = _of_rows(output, len(labels))
    if metric == "mean absolute error":
        if answers.ndim != 1:
            raise _no_answer(output, "one number a row", "Labels of classes are whole numbers, without a point.")
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(np.abs(answers.astype(np.float64) - labels))
    if answers.ndim == 1:
        if answers.dtype.kind not in "iu":
            raise _no_answer(output, "scores of classes, nor the class itself", "Export scores, one a class.")
        return np.asarray(answers == labels, dtype=np.float64)
    if answers.ndim > 2:
        raise _no_answer(
            output, "one answer a row", "Places in a row, such as pixels, cannot be scored: say labels: null."
        )
    _check_classes(labels, answers.shape[1])
    is_right = (answers.argmax(axis=1) == labels) & ~np.isnan(answers).any(axis=1)
    return np.asarray(is_right, dtype=np.float64)


def check_answers(output: Array, labels: Array, batch: int) -> None:
    """Raises UsageError where `scores_of` would for this output of the first batch, or its classes for a later label.

    `labels` are all there are.
    """
    metric, first = metric_of(labels), labels[:batch]
    scores_of(output, first, metric)
    answers = _of_rows(output, len(first))
    if metric == "top-1" and answers.ndim > 1:
        _check_classes(labels, answers.shape[1])


def _of_rows(output: Array, rows: int) -> Array:
    """Without axes of length 1 behind the first."""
    if output.dtype.kind not in "fiub":
        raise _no_answer(output, "numbers", "Name labels by whole numbers, and export the model with scores.")
    if not output.ndim or len(output) < rows:
        raise _no_answer(output, "an answer for each row", "Its first axis must be the batch's.")
    return output[:rows].reshape(rows, *(axis for axis in output.shape[1:] if axis != 1))


def _check_classes(labels: Array, classes: int) -> None:
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UsageError(
            f"there is a label {wrong}, and the model's {classes} classes are 0 to {classes - 1}",
            hint="Labels are the places of the model's scores, from 0; amounts are written with a point.",
        )


def _no_answer(output: Array, what: str, hint: str) -> UsageError:
    shape = " x ".join(map(str, output.shape)) or "a single number"
    return UsageError(f"the model's first output, {output.dtype} of {shape}, has not {what} to score", hint=hint)
