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


def draw_logits(rows: int = 400, classes: int = 10) -> Array:
    return np.random.default_rng(1).normal(0, 3, (rows, classes)).astype(np.float32)


def add_noise(reference: Array, size: float) -> Array:
    noise: Array = np.random.default_rng(2).normal(0, size, reference.shape).astype(reference.dtype)
    return reference + noise


@pytest.mark.parametrize(
    "reference", [draw_logits(), special.softmax(draw_logits(), axis=1), draw_logits() > 0, draw_logits(3, 1)]
)
def test_equal_outputs_have_no_distance(reference: Array) -> None:
    fidelity = compute_fidelity(reference.copy(), reference)
    assert fidelity.is_equal
    assert (fidelity.max_abs, fidelity.sqnr_db, fidelity.not_finite) == (0.0, None, 0)
    if fidelity.top1_agreement is not None:
        assert fidelity.top1_agreement == estimate_proportion(400, 400)
        assert fidelity.cosine_min == pytest.approx(1.0)
        assert (fidelity.kl_mean, fidelity.kl_p99) == (0.0, 0.0)


def test_fidelity_metrics_match_their_definitions() -> None:
    reference = draw_logits()
    outputs = add_noise(reference, 0.3)
    fidelity = compute_fidelity(outputs, reference)
    y, x = outputs.astype(np.float64), reference.astype(np.float64)
    cosines = (y * x).sum(1) / np.sqrt((y * y).sum(1) * (x * x).sum(1))
    p, q = special.softmax(x, axis=1), special.softmax(y, axis=1)
    divergences = np.sort((p * np.log(p / q)).sum(1))
    assert fidelity.top1_agreement == estimate_proportion(int((y.argmax(1) == x.argmax(1)).sum()), 400)
    assert fidelity.top1_agreement.value != 1.0
    assert fidelity.cosine_mean == pytest.approx(cosines.mean())
    assert fidelity.cosine_min == pytest.approx(cosines.min())
    assert fidelity.max_abs == pytest.approx(np.abs(y - x).max())
    assert fidelity.sqnr_db == pytest.approx(10 * np.log10((x**2).sum() / ((x - y) ** 2).sum()))
    assert fidelity.kl_mean == pytest.approx(divergences.mean())
    assert fidelity.kl_p99 == pytest.approx(divergences[395])
    assert not fidelity.is_equal


def test_sqnr_of_uniform_rounding_matches_theory() -> None:
    """A full-scale uniform signal rounded to 2^b levels: 6.02 b dB."""
    reference = np.random.default_rng(3).uniform(-1, 1, (2_000, 50))
    step = 2 / 2**8
    fidelity = compute_fidelity(np.round(reference / step) * step, reference)
    assert fidelity.sqnr_db == pytest.approx(8 * 6.0206, abs=0.05)


def test_kl_divergence_of_probabilities_is_computed_without_softmax() -> None:
    reference = np.tile([[0.5, 0.5, 0.0]], (3, 1))
    fidelity = compute_fidelity(np.tile([[0.25, 0.75, 0.0]], (3, 1)), reference)
    assert fidelity.kl_mean == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-5)
    assert fidelity.kl_p99 is None, "three rows have no 99th percentile"


def test_kl_divergence_of_probability_0_is_finite() -> None:
    fidelity = compute_fidelity(np.array([[1.0, 0.0]]), np.array([[0.9, 0.1]]))
    assert fidelity.kl_mean == pytest.approx(0.9 * math.log(0.9) + 0.1 * math.log(0.1 / 1e-7), rel=1e-4)


def test_kl_divergence_of_distant_logits_is_finite() -> None:
    fidelity = compute_fidelity(np.array([[0.0, 2_000.0]]), np.array([[2_000.0, 0.0]]))
    assert fidelity.kl_mean == pytest.approx(2_000)


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
def test_top1_and_kl_are_reported_only_for_score_shapes(shape: tuple[int, ...], has_scores: bool) -> None:
    array = np.random.default_rng(4).normal(size=shape)
    fidelity = compute_fidelity(np.asarray(array), np.asarray(array) + 0.5)
    assert (fidelity.top1_agreement is not None) == (fidelity.kl_mean is not None) == has_scores
    assert fidelity.max_abs == pytest.approx(0.5)
    assert (fidelity.cosine_mean is None) == (np.prod(shape[1:], dtype=int) == 1)
    assert fidelity.rows == (shape or (1,))[0]


def test_half_precision_outputs_are_compared_in_double_precision() -> None:
    """The square of 60,000 overflows half precision."""
    fidelity = compute_fidelity(np.full((2, 3), 60_000, np.float16), np.zeros((2, 3), np.float32))
    assert fidelity.max_abs == 60_000
    assert fidelity.cosine_min == 0.0
    assert fidelity.sqnr_db is None, "there is no signal"


def test_rows_of_zeros_have_cosine_1() -> None:
    assert compute_fidelity(np.zeros((2, 3)), np.zeros((2, 3))).cosine_min == 1.0


@pytest.mark.parametrize("invalid", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_counted_and_excluded(invalid: float) -> None:
    reference = draw_logits(4)
    outputs = reference + np.float32(0.25)
    outputs[0, :2] = invalid
    fidelity = compute_fidelity(outputs, reference)
    assert fidelity.not_finite == 2
    assert fidelity.max_abs == pytest.approx(0.25)
    assert fidelity.kl_mean == pytest.approx(0.0, abs=1e-6)
    assert not fidelity.is_equal
    assert msgspec.json.decode(msgspec.json.encode(fidelity), type=Fidelity) == fidelity


def test_row_with_nan_does_not_count_as_top1_agreement() -> None:
    """`argmax` would select the NaN, which can be at the reference's largest value."""
    fidelity = compute_fidelity(np.array([[0.0, math.nan], [0.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert fidelity.top1_agreement == estimate_proportion(1, 2)


def test_nan_reference_row_does_not_change_kl_of_other_rows() -> None:
    reference = np.tile([[0.5, 0.5, 0.0]], (3, 1))
    reference[0] = math.nan
    fidelity = compute_fidelity(np.tile([[0.25, 0.75, 0.0]], (3, 1)), reference)
    assert fidelity.kl_mean == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-5)
    assert fidelity.not_finite == 3


def test_all_nan_outputs_have_no_distance() -> None:
    fidelity = compute_fidelity(np.full((3, 4), np.nan), draw_logits(3, 4))
    assert (fidelity.max_abs, fidelity.cosine_mean, fidelity.sqnr_db, fidelity.kl_mean) == (None, None, None, None)
    assert fidelity.not_finite == 12
    assert msgspec.json.decode(msgspec.json.encode(fidelity), type=Fidelity) == fidelity


def test_equal_non_finite_values_are_not_counted() -> None:
    masked = np.array([[-math.inf, math.nan, 2.0], [0.0, 1.0, 2.0]])
    fidelity = compute_fidelity(masked.copy(), masked)
    assert fidelity.is_equal
    assert (fidelity.not_finite, fidelity.max_abs) == (0, 0.0)
    assert fidelity.top1_agreement == estimate_proportion(1, 2), "NaN does not count as the largest score"


def test_distances_beyond_double_range_are_none() -> None:
    fidelity = compute_fidelity(np.full((1, 2), -1e308), np.full((1, 2), 1e308))
    assert (fidelity.max_abs, fidelity.sqnr_db) == (None, None)


def test_large_outputs_are_compared_completely() -> None:
    reference = draw_logits(5, 700_000)
    outputs = reference.copy()
    outputs[4, -1] += np.float32(2)
    fidelity = compute_fidelity(outputs, reference)
    assert fidelity.max_abs == pytest.approx(2.0)
    assert fidelity.rows == 5


@pytest.mark.parametrize("shape", [(0, 10), (0,), (5, 0)])
def test_empty_outputs_have_no_distance(shape: tuple[int, ...]) -> None:
    fidelity = compute_fidelity(np.empty(shape), np.empty(shape))
    assert (fidelity.max_abs, fidelity.cosine_mean, fidelity.kl_mean) == (None, None, None)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (np.zeros((3, 4)), "output is 3 x 4, but the reference's output is 2 x 3"),
        (np.float64(1), "output is a single number, but the reference's output is 2 x 3"),
        (np.full((2, 3), "a", dtype=object), "outputs of type object cannot be compared"),
    ],
)
def test_incomparable_outputs_are_rejected(outputs: Array, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compute_fidelity(outputs, np.zeros((2, 3)))
