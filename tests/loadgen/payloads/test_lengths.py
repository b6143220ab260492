import numpy as np
import pytest

from loadgen.payloads.lengths import MAX_LENGTH, LengthError, draw_lengths
from loadgen.workloads import EmpiricalLength, FixedLength, Length, LognormalLength, NormalLength, UniformLength

N = 40_000


def draw(length: Length, count: int = N) -> np.ndarray:
    lengths = draw_lengths(length, count, np.random.default_rng(1))
    assert lengths.dtype == np.int64
    assert lengths.shape == (count,)
    return lengths


def test_fixed_lengths_are_constant() -> None:
    assert set(draw(FixedLength(7))) == {7}


def test_uniform_lengths_include_both_bounds() -> None:
    values, counts = np.unique(draw(UniformLength(3, 5)), return_counts=True)
    assert list(values) == [3, 4, 5]
    assert counts.min() / N == pytest.approx(1 / 3, abs=0.02)


def test_normal_lengths_have_requested_mean_and_deviation() -> None:
    lengths = draw(NormalLength(500, 50))
    assert lengths.mean() == pytest.approx(500, abs=1.5)
    assert lengths.std() == pytest.approx(50, abs=1)


def test_lognormal_lengths_have_requested_median_and_sigma() -> None:
    lengths = draw(LognormalLength(300, 0.8))
    assert np.median(lengths) == pytest.approx(300, rel=0.03)
    assert np.log(lengths).std() == pytest.approx(0.8, rel=0.03)


@pytest.mark.parametrize("bounds", [(1, 450), (480, 520), (600, 650), (300, 400), (500, 500)])
def test_bounded_normal_lengths_match_rejection_sampling(bounds: tuple[int, int]) -> None:
    low, high = bounds
    reference = np.rint(np.random.default_rng(2).normal(500, 50, 4_000_000))
    reference = reference[(reference >= low) & (reference <= high)]
    assert reference.size > 500
    lengths = draw(NormalLength(500, 50, low, high))
    assert low <= lengths.min() <= lengths.max() <= high
    assert lengths.mean() == pytest.approx(reference.mean(), abs=0.2 + 4 * reference.std() / reference.size**0.5)
    assert lengths.std() == pytest.approx(reference.std(), rel=0.1)


def test_bounded_lognormal_lengths_stay_within_bounds() -> None:
    lengths = draw(LognormalLength(300, 0.8, 200, 4000))
    assert (lengths.min(), lengths.max() <= 4000) == (200, True)


def test_zero_spread_produces_constant_lengths() -> None:
    assert set(draw(NormalLength(7, 0))) == set(draw(LognormalLength(7, 0))) == {7}


def test_empirical_lengths_are_drawn_by_weight() -> None:
    values, counts = np.unique(draw(EmpiricalLength((5, 9, 20), (1, 0, 3))), return_counts=True)
    assert list(values) == [5, 20]
    assert counts[0] / N == pytest.approx(0.25, abs=0.02)
    assert set(draw(EmpiricalLength((5, 9)))) == {5, 9}


@pytest.mark.parametrize(
    "length",
    [
        FixedLength(0),
        FixedLength(MAX_LENGTH + 1),
        UniformLength(0, 5),
        UniformLength(5, 4),
        NormalLength(500, 50, 0),
        NormalLength(500, 50, 9, 8),
        NormalLength(500, 1, 1, 400),
        NormalLength(500, 0, 1, 400),
        NormalLength(500, -1),
        NormalLength(float("nan"), 1),
        NormalLength(500, float("inf")),
        LognormalLength(0, 1),
        LognormalLength(300, -1),
        LognormalLength(300, 0.1, 3000),
        LognormalLength(float("inf"), 1),
        EmpiricalLength(()),
        EmpiricalLength((0,)),
        EmpiricalLength((1, 2), (1,)),
        EmpiricalLength((1, 2), (0, 0)),
        EmpiricalLength((1, 2), (-1, 2)),
        EmpiricalLength((1, 2), (float("inf"), 2)),
    ],
)
def test_invalid_length_distribution_is_rejected(length: Length) -> None:
    with pytest.raises(LengthError):
        draw(length, 10)


def test_lengths_are_capped_at_max_length() -> None:
    assert draw(LognormalLength(MAX_LENGTH, 5)).max() <= MAX_LENGTH
