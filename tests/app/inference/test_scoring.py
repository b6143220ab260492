from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.errors import UsageError
from app.inference.scoring import check_outputs, compute_scores, select_metric

SCORES = np.array([[0.1, 0.9, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 5.0]], np.float32)
LABELS = np.array([1, 1, 2])


def test_label_type_selects_the_metric() -> None:
    assert select_metric(np.array([1, 2])) == "top-1"
    assert select_metric(np.array([1.0, 2.0])) == "mean absolute error"


@pytest.mark.parametrize(
    "output",
    [SCORES, SCORES.astype(np.float16), SCORES[:, :, None, None], SCORES[:, None, :], np.array([1, 0, 2])],
    ids=["scores", "half", "pooled", "one place", "classes"],
)
def test_largest_score_or_class_index_is_the_prediction(output: npt.NDArray[Any]) -> None:
    assert compute_scores(output, LABELS, "top-1").tolist() == [1, 0, 1]


def test_padding_rows_of_a_batch_are_not_scored() -> None:
    assert compute_scores(SCORES, LABELS[:2], "top-1").tolist() == [1, 0]


def test_nan_score_is_never_a_correct_prediction() -> None:
    """`argmax` would select the NaN, which may be the score of the label."""
    assert compute_scores(np.array([[0.0, math.nan], [0.0, 1.0]]), np.array([1, 1]), "top-1").tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 1, 1)])
def test_mean_absolute_error_scores_are_absolute_errors(shape: tuple[int, ...]) -> None:
    output = np.array([1.0, 2.0, math.inf], np.float32).reshape(shape)
    errors = compute_scores(output, np.array([1.5, 1.0, 0.0]), "mean absolute error")
    assert errors.tolist() == [0.5, 1.0, math.inf]


@pytest.mark.parametrize(
    ("output", "labels", "message"),
    [
        (
            np.zeros((3, 4, 8, 8)),
            LABELS,
            "\\(float64, shape 3 x 4 x 8 x 8\\) cannot be scored: it must contain one prediction per row",
        ),
        (SCORES[:2], LABELS, "it must contain one prediction per row"),
        (np.float32(1), LABELS, r"shape \(\)"),
        (np.array([0.2, 0.7, 0.1]), LABELS, "it must contain class scores or a class index per row"),
        (SCORES, LABELS + 1, "label 3 is out of range: the model's 3 classes are 0 to 2"),
        (SCORES, LABELS - 2, "label -1 is out of range"),
        (SCORES, LABELS + 0.5, "cannot be scored: it must contain one number per row"),
        (np.array(["a", "b", "c"], dtype=object), LABELS, "it must contain numbers"),
    ],
)
def test_output_that_cannot_be_scored_is_rejected(
    output: npt.NDArray[Any], labels: npt.NDArray[Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compute_scores(output, labels, select_metric(labels))


def test_labels_of_all_rows_are_checked_with_the_first_outputs() -> None:
    check_outputs(SCORES, np.array([0, 1, 2, 0, 2]), 3)
    check_outputs(SCORES, np.array([0]), 3)
    check_outputs(np.array([1, 0, 2]), np.array([0, 1, 2, 700]), 3)
    with pytest.raises(UsageError, match="label 3 is out of range: the model's 3 classes are 0 to 2"):
        check_outputs(SCORES, np.array([0, 1, 2, 0, 3]), 3)


@pytest.mark.parametrize("output", [SCORES[:2], np.zeros((3, 4, 8, 8)), np.float32(1)])
def test_first_outputs_that_cannot_be_scored_are_rejected(output: npt.NDArray[Any]) -> None:
    with pytest.raises(UsageError, match="the model's first output"):
        check_outputs(output, LABELS, 3)
