import numpy as np
import pytest

from loadgen.payloads.lengths import MAX_LENGTH, LengthError, draw_lengths
from loadgen.workloads import EmpiricalLength, FixedLength, Length, LognormalLength, NormalLength, UniformLength

N = 40_000


def drawn(length: Length, count: int = N) -> np.ndarray:
    lengths = draw_lengths(length, count, np.random.default_rng(1))
    assert lengths.dtype == np.int64
    assert lengths.shape == (count,)
    return lengths


def test_fixed() -> None:
    assert set(drawn(FixedLength(7))) == {7}


def test_uniform_has_both_ends() -> None:
    values, counts = np.unique(drawn(UniformLength(3, 5)), return_counts=True)
    assert list(values) == [3, 4, 5]
    assert counts.min() / N == pytest.approx(1 / 3, abs=0.02)


def test_normal() -> None:
    lengths = drawn(NormalLength(500, 50))
    assert lengths.mean() == pytest.approx(500, abs=1.5)
    assert lengths.std() == pytest.approx(50, abs=1)


def test_lognormal() -> None:
    lengths = drawn(LognormalLength(300, 0.8))
    assert np.median(lengths) == pytest.approx(300, rel=0.03)
    assert np.log(lengths).std() == pytest.approx(0.8, rel=0.03)


@pytest.mark.parametrize("bounds", [(1, 450), (480, 520), (600, 650), (300, 400), (500, 500)])
def test_within_bounds_it_is_as_if_drawn_again(bounds: tuple[int, int]) -> None:
    low, high = bounds
    again = np.rint(np.random.default_rng(2).normal(500, 50, 4_000_000))
    again = again[(again >= low) & (again <= high)]
    assert again.size > 500
    lengths = drawn(NormalLength(500, 50, low, high))
    assert low <= lengths.min() <= lengths.max() <= high
    assert lengths.mean() == pytest.approx(again.mean(), abs=0.2 + 4 * again.std() / again.size**0.5)
    assert lengths.std() == pytest.approx(again.std(), rel=0.1)


def test_a_lognormal_within_bounds() -> None:
    lengths = drawn(LognormalLength(300, 0.8, 200, 4000))
    assert (lengths.min(), lengths.max() <= 4000) == (200, True)


def test_a_spread_of_none() -> None:
    assert set(drawn(NormalLength(7, 0))) == set(drawn(LognormalLength(7, 0))) == {7}


def test_empirical() -> None:
    values, counts = np.unique(drawn(EmpiricalLength((5, 9, 20), (1, 0, 3))), return_counts=True)
    assert list(values) == [5, 20]
    assert counts[0] / N == pytest.approx(0.25, abs=0.02)
    assert set(drawn(EmpiricalLength((5, 9)))) == {5, 9}


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
def test_what_cannot_be_drawn_is_said(length: Length) -> None:
    with pytest.raises(LengthError):
        drawn(length, 10)


def test_lengths_end_where_requests_would() -> None:
    assert drawn(LognormalLength(MAX_LENGTH, 5)).max() <= MAX_LENGTH
