"""Compute the score of each labeled row from an output of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.analysis.columns import Floats
from app.analysis.local.accuracy import AccuracyMetric
from app.errors import UsageError
from loadgen.payloads.tensors import AmbiguousOutputError, NamedTensor, find_class_output

Array = npt.NDArray[Any]


def select_metric(labels: Array) -> AccuracyMetric:
    """Return the accuracy metric for the given labels: `top-1` for integers, which are classes; the
    mean absolute error for other numbers, which are continuous values."""
    return "top-1" if labels.dtype.kind in "iu" else "mean absolute error"


def find_scored_output_index(outputs: Sequence[NamedTensor], labels: Array, output_name: str | None) -> int:
    """Return the index of the model output that is compared with the labels. Raises UsageError if
    the output is ambiguous or does not exist."""
    if select_metric(labels) != "top-1":
        names = [name for name, _ in outputs]
        if output_name is not None and output_name not in names:
            raise UsageError(
                f"the model has no output {output_name!r}", hint=f"Use one of {', '.join(map(repr, names))}."
            )
        return 0 if output_name is None else names.index(output_name)
    try:
        return find_class_output(outputs, len(labels), output_name)
    except AmbiguousOutputError as error:
        if error.has_no_candidate and len(outputs) == 1:
            return 0  # `compute_scores` reports why the output is not usable.
        raise UsageError(f"accuracy cannot be measured: {error}", hint=error.hint) from error


def compute_scores(output: Array, labels: Array, metric: AccuracyMetric) -> Floats:
    """Return one score per label. Output rows beyond the labels are padding of the batch and are
    ignored.

    For `top-1`, the score is 1 if the label's class has the highest score in the output, or if the
    output is one integer per row that equals the label. Otherwise, and if a class score is NaN, the
    score is 0. For an error metric, the score is the absolute error (NaN if the output is NaN).
    Raises UsageError for an output without one result per row."""
    row_outputs = _get_row_outputs(output, len(labels))
    if metric == "mean absolute error":
        if row_outputs.ndim != 1:
            raise _build_output_error(
                output,
                "one number per row",
                "If the labels are classes, write them as integers without a decimal point.",
            )
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(np.abs(row_outputs.astype(np.float64) - labels))
    if row_outputs.ndim == 1:
        if row_outputs.dtype.kind not in "iu":
            raise _build_output_error(
                output, "class scores or a class index per row", "Export the model with one score per class."
            )
        return np.asarray(row_outputs == labels, dtype=np.float64)
    if row_outputs.ndim > 2:
        raise _build_output_error(
            output,
            "one prediction per row",
            "Predictions within a row, such as pixels, cannot be scored. Set labels: null in the profile.",
        )
    _check_classes(labels, row_outputs.shape[1])
    is_correct = (row_outputs.argmax(axis=1) == labels) & ~np.isnan(row_outputs).any(axis=1)
    return np.asarray(is_correct, dtype=np.float64)


def check_outputs(output: Array, labels: Array, batch: int) -> None:
    """Raise UsageError if `compute_scores` would fail for the output of the first batch, or if the
    output has no class for one of the labels. `labels` contains the labels of all rows."""
    metric, first_labels = select_metric(labels), labels[:batch]
    compute_scores(output, first_labels, metric)
    row_outputs = _get_row_outputs(output, len(first_labels))
    if metric == "top-1" and row_outputs.ndim > 1:
        _check_classes(labels, row_outputs.shape[1])


def _get_row_outputs(output: Array, row_count: int) -> Array:
    """Return the first `row_count` rows of an output, without axes of length 1 after the row axis.
    Raises UsageError for an output that is not numeric or has fewer rows."""
    if output.dtype.kind not in "fiub":
        raise _build_output_error(output, "numbers", "Use integer labels, and export the model with class scores.")
    if not output.ndim or len(output) < row_count:
        raise _build_output_error(output, "one prediction per row", "The first axis of the output must be the batch.")
    return output[:row_count].reshape(row_count, *(dim for dim in output.shape[1:] if dim != 1))


def _check_classes(labels: Array, class_count: int) -> None:
    if len(labels) and (labels.min() < 0 or labels.max() >= class_count):
        invalid_label = labels.min() if labels.min() < 0 else labels.max()
        raise UsageError(
            f"label {invalid_label} is out of range: the model's {class_count} classes are 0 to {class_count - 1}",
            hint="Labels must be class indices from 0. Use decimal numbers for continuous values.",
        )


def _build_output_error(output: Array, expected_content: str, hint: str) -> UsageError:
    shape = " x ".join(map(str, output.shape)) or "()"
    return UsageError(
        f"the model's first output ({output.dtype}, shape {shape}) cannot be scored: it must contain "
        f"{expected_content}",
        hint=hint,
    )
