from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loadgen.payloads.classes import UnclearOutputError, class_output, classes_of

LABEL = ("label", np.array([[1], [0]], np.int64))
SCORES = ("probabilities", np.array([[0.1, 0.9], [0.8, 0.2]], np.float32))
OTHER = ("boxes", np.zeros((2, 4), np.float32))
TEXT = ("text", np.empty(0))
AMOUNT = ("amount", np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("outputs", "wanted", "index"),
    [
        ([SCORES], None, 0),
        ([LABEL, SCORES], None, 0),
        ([SCORES, LABEL], None, 1),
        ([TEXT, SCORES], None, 1),
        ([AMOUNT, SCORES], None, 1),
        ([LABEL, SCORES], "probabilities", 1),
        ([OTHER, SCORES], "probabilities", 1),
    ],
)
def test_whole_numbers_are_classes_and_floats_are_scores(outputs: Any, wanted: str | None, index: int) -> None:
    assert class_output(outputs, 2, wanted) == index
    assert classes_of(outputs[index][1], 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("outputs", "wanted", "why"),
    [
        ([OTHER, SCORES], None, "2 outputs of the model may hold its classes: 'boxes'"),
        ([LABEL, LABEL], None, "2 outputs"),
        ([AMOUNT, TEXT], None, "no output of the model has a class"),
        ([("pixels", np.zeros((2, 3, 3)))], None, "no output"),
        ([("row", np.zeros((1, 3)))], None, "no output"),
        ([("scalar", np.zeros(()))], None, "no output"),
        ([LABEL, SCORES], "logits", "has no output 'logits'; it has 'label'"),
        ([AMOUNT, SCORES], "amount", "output 'amount' .* has neither"),
    ],
)
def test_what_is_unclear_is_refused(outputs: Any, wanted: str | None, why: str) -> None:
    with pytest.raises(UnclearOutputError, match=why) as refused:
        class_output(outputs, 2, wanted)
    assert refused.value.hint
