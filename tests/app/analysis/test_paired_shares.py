from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest

from app.analysis.paired_shares import PairedCounts, difference_interval, mcnemar, ratio_interval

AIRWAYS = PairedCounts(rows=21, both=1, only_now=1, only_reference=7)
"""Bentur and others, as Fagerland, Lydersen and Laake (Statistics in Medicine 33, 2014) work it out."""

Interval = Callable[[PairedCounts], tuple[float, float]]


def coverage(interval: Interval, truth: float, cells: tuple[float, float, float], rows: int, runs: int) -> float:
    """Share of intervals that hold the truth; `cells` are the chances of both, only now, only the reference."""
    found = lru_cache(maxsize=None)(interval)
    drawn = np.random.default_rng(1).multinomial(rows, [*cells, 1 - sum(cells)], runs)
    given = [found(PairedCounts(rows, *map(int, counts[:3]))) for counts in drawn if counts[0] + counts[2]]
    return sum(low <= truth <= high for low, high in given) / len(given)


def test_published_example() -> None:
    assert difference_interval(AIRWAYS) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert ratio_interval(AIRWAYS) == pytest.approx((0.065, 0.907), abs=5e-4)
    assert mcnemar(AIRWAYS) == pytest.approx(0.039, abs=5e-4)


@pytest.mark.parametrize("cells", [(0.9, 0.005, 0.01), (0.7, 0.02, 0.06), (0.5, 0.1, 0.1), (0.95, 0.001, 0.001)])
@pytest.mark.parametrize("rows", [100, 1_000])
def test_intervals_hold_the_truth_as_often_as_they_say(cells: tuple[float, float, float], rows: int) -> None:
    both, only_now, only_reference = cells
    truth = (both + only_now) / (both + only_reference)
    assert coverage(difference_interval, only_now - only_reference, cells, rows, 1_000) >= 0.93
    assert coverage(ratio_interval, truth, cells, rows, 1_000) >= 0.93


@pytest.mark.parametrize("rows", [100, 1_000])
def test_intervals_are_no_wider_than_they_need_be(rows: int) -> None:
    cells = (0.7, 0.02, 0.06)
    assert coverage(difference_interval, -0.04, cells, rows, 1_000) <= 0.97
    assert coverage(ratio_interval, 0.72 / 0.76, cells, rows, 1_000) <= 0.97


def test_mcnemar_errs_as_often_as_it_may_and_hardly_less() -> None:
    drawn = np.random.default_rng(2).multinomial(500, [0.8, 0.04, 0.04, 0.12], 4_000)
    errors = [mcnemar(PairedCounts(500, *map(int, counts[:3]))) < 0.05 for counts in drawn]
    assert 0.035 <= np.mean(errors) <= 0.06


@pytest.mark.parametrize("rows", [1, 10, 1_000])
def test_rows_without_a_difference_leave_room_for_one(rows: int) -> None:
    """Tango's interval is then z² / (n + z²) to either side."""
    counts = PairedCounts(rows=rows, both=rows, only_now=0, only_reference=0)
    z2 = 1.959964**2
    assert difference_interval(counts) == pytest.approx((-z2 / (rows + z2), z2 / (rows + z2)), abs=1e-6)
    low, high = ratio_interval(counts)
    assert (low, high) == pytest.approx((rows / (rows + z2), 1 + z2 / rows), rel=1e-6)
    assert mcnemar(counts) == 1.0


@pytest.mark.parametrize(
    "counts",
    [
        PairedCounts(10, 0, 0, 10),
        PairedCounts(10, 0, 0, 1),
        PairedCounts(10, 0, 9, 1),
        PairedCounts(1, 0, 0, 1),
        PairedCounts(100_000, 99_000, 3, 500),
    ],
)
def test_intervals_hold_what_was_seen_and_stay_in_bounds(counts: PairedCounts) -> None:
    low, high = difference_interval(counts)
    assert -1 <= low <= counts.difference <= high <= 1
    low, high = ratio_interval(counts)
    assert 0 <= low <= counts.now / counts.reference <= high


def test_mcnemar_looks_at_neither_the_agreement_nor_the_side() -> None:
    assert mcnemar(PairedCounts(100, 80, 3, 9)) == mcnemar(PairedCounts(1_000, 0, 9, 3)) < 0.1
