from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from app.analysis.estimates import estimate_proportion
from app.analysis.local.fidelity import compute_fidelity
from app.errors import UsageError
from app.records.local import Fidelity

Array = npt.NDArray[Any]


def logits(rows: int = 400, classes: int = 10) -> Array:
    return np.random.default_rng(1).normal(0, 3, (rows, classes)).astype(np.float32)


def noisy(reference: Array, size: float) -> Array:
    noise: Array = np.random.default_rng(2).normal(0, size, reference.shape).astype(reference.dtype)
    return reference + noise


@pytest.mark.parametrize("reference", [logits(), special.softmax(logits(), axis=1), logits() > 0, logits(3, 1)])
def test_equal_outputs(reference: Array) -> None:
    found = compute_fidelity(reference.copy(), reference)
    assert found.is_equal
    assert (found.max_abs, found.sqnr_db, found.not_finite) == (0.0, None, 0)
    if found.top1_agreement is not None:
        assert found.top1_agreement == estimate_proportion(400, 400)
        assert found.cosine_min == pytest.approx(1.0)
        assert (found.kl_mean, found.kl_p99) == (0.0, 0.0)


def test_distances_are_those_of_their_definitions() -> None:
    reference = logits()
    outputs = noisy(reference, 0.3)
    found = compute_fidelity(outputs, reference)
    y, x = outputs.astype(np.float64), reference.astype(np.float64)
    cosines = (y * x).sum(1) / np.sqrt((y * y).sum(1) * (x * x).sum(1))
    p, q = special.softmax(x, axis=1), special.softmax(y, axis=1)
    divergences = np.sort((p * np.log(p / q)).sum(1))
    assert found.top1_agreement == estimate_proportion(int((y.argmax(1) == x.argmax(1)).sum()), 400)
    assert found.top1_agreement.value != 1.0
    assert found.cosine_mean == pytest.approx(cosines.mean())
    assert found.cosine_min == pytest.approx(cosines.min())
    assert found.max_abs == pytest.approx(np.abs(y - x).max())
    assert found.sqnr_db == pytest.approx(10 * np.log10((x**2).sum() / ((x - y) ** 2).sum()))
    assert found.kl_mean == pytest.approx(divergences.mean())
    assert found.kl_p99 == pytest.approx(divergences[395])
    assert not found.is_equal


def test_uniform_rounding_has_the_decibels_of_theory() -> None:
    """A full-scale uniform signal rounded to 2^b levels: 6.02 b dB."""
    reference = np.random.default_rng(3).uniform(-1, 1, (2_000, 50))
    step = 2 / 2**8
    found = compute_fidelity(np.round(reference / step) * step, reference)
    assert found.sqnr_db == pytest.approx(8 * 6.0206, abs=0.05)


def test_probabilities_are_not_softmaxed_again() -> None:
    reference = np.tile([[0.5, 0.5, 0.0]], (3, 1))
    found = compute_fidelity(np.tile([[0.25, 0.75, 0.0]], (3, 1)), reference)
    assert found.kl_mean == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-5)
    assert found.kl_p99 is None, "three rows have no 99th percentile"


def test_a_probability_rounded_to_nothing_diverges_finitely() -> None:
    found = compute_fidelity(np.array([[1.0, 0.0]]), np.array([[0.9, 0.1]]))
    assert found.kl_mean == pytest.approx(0.9 * math.log(0.9) + 0.1 * math.log(0.1 / 1e-7), rel=1e-4)


def test_far_apart_logits_diverge_finitely() -> None:
    found = compute_fidelity(np.array([[0.0, 2_000.0]]), np.array([[2_000.0, 0.0]]))
    assert found.kl_mean == pytest.approx(2_000)


@pytest.mark.parametrize(
    ("shape", "has_scores"),
    [
        ((5, 2), True),
        ((5, 10, 1, 1), True),
        ((5, 1, 10), True),
        ((1, 10), True),
        ((5,), False),
        ((5, 1), False),
        ((), False),
        ((5, 3, 4), False),
        ((5, 3, 3), False),
    ],
)
def test_scores_are_reported_by_their_shape(shape: tuple[int, ...], has_scores: bool) -> None:
    array = np.random.default_rng(4).normal(size=shape)
    found = compute_fidelity(np.asarray(array), np.asarray(array) + 0.5)
    assert (found.top1_agreement is not None) == (found.kl_mean is not None) == has_scores
    assert found.max_abs == pytest.approx(0.5)
    assert (found.cosine_mean is None) == (np.prod(shape[1:], dtype=int) == 1)
    assert found.rows == (shape or (1,))[0]


def test_half_precision_is_compared_in_double() -> None:
    """Differences of 60,000 squared overflow a half."""
    found = compute_fidelity(np.full((2, 3), 60_000, np.float16), np.zeros((2, 3), np.float32))
    assert found.max_abs == 60_000
    assert found.cosine_min == 0.0
    assert found.sqnr_db is None, "there is no signal"


def test_rows_of_zeros_are_alike() -> None:
    assert compute_fidelity(np.zeros((2, 3)), np.zeros((2, 3))).cosine_min == 1.0


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_counted_and_leave_the_rest(lost: float) -> None:
    reference = logits(4)
    outputs = reference + np.float32(0.25)
    outputs[0, :2] = lost
    found = compute_fidelity(outputs, reference)
    assert found.not_finite == 2
    assert found.max_abs == pytest.approx(0.25)
    assert found.kl_mean == pytest.approx(0.0, abs=1e-6)
    assert not found.is_equal
    assert msgspec.json.decode(msgspec.json.encode(found), type=Fidelity) == found


def test_a_row_with_nan_agrees_with_none() -> None:
    """argmax would choose the NaN, which may stand where the reference is largest."""
    found = compute_fidelity(np.array([[0.0, math.nan], [0.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert found.top1_agreement == estimate_proportion(1, 2)


def test_a_nan_leaves_the_other_rows_probabilities() -> None:
    reference = np.tile([[0.5, 0.5, 0.0]], (3, 1))
    reference[0] = math.nan
    found = compute_fidelity(np.tile([[0.25, 0.75, 0.0]], (3, 1)), reference)
    assert found.kl_mean == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-5)
    assert found.not_finite == 3


def test_nothing_but_nan_has_no_distance() -> None:
    found = compute_fidelity(np.full((3, 4), np.nan), logits(3, 4))
    assert (found.max_abs, found.cosine_mean, found.sqnr_db, found.kl_mean) == (None, None, None, None)
    assert found.not_finite == 12
    assert msgspec.json.decode(msgspec.json.encode(found), type=Fidelity) == found


def test_what_is_not_finite_on_both_sides_is_no_loss() -> None:
    masked = np.array([[-math.inf, math.nan, 2.0], [0.0, 1.0, 2.0]])
    found = compute_fidelity(masked.copy(), masked)
    assert found.is_equal
    assert (found.not_finite, found.max_abs) == (0, 0.0)
    assert found.top1_agreement == estimate_proportion(1, 2), "NaN is no largest score"


def test_what_outgrows_a_double_is_not_reported() -> None:
    found = compute_fidelity(np.full((1, 2), -1e308), np.full((1, 2), 1e308))
    assert (found.max_abs, found.sqnr_db) == (None, None)


def test_many_rows_are_compared_block_by_block() -> None:
    reference = logits(5, 700_000)
    outputs = reference.copy()
    outputs[4, -1] += np.float32(2)
    found = compute_fidelity(outputs, reference)
    assert found.max_abs == pytest.approx(2.0)
    assert found.rows == 5


@pytest.mark.parametrize("shape", [(0, 10), (0,), (5, 0)])
def test_nothing_to_compare(shape: tuple[int, ...]) -> None:
    found = compute_fidelity(np.empty(shape), np.empty(shape))
    assert (found.max_abs, found.cosine_mean, found.kl_mean) == (None, None, None)


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        (np.zeros((3, 4)), "output is 3 x 4, but the reference's output is 2 x 3"),
        (np.float64(1), "output is a single number, but the reference's output is 2 x 3"),
        (np.full((2, 3), "a", dtype=object), "outputs of type object cannot be compared"),
    ],
)
def test_what_cannot_be_compared_is_refused(outputs: Array, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        compute_fidelity(outputs, np.zeros((2, 3)))
