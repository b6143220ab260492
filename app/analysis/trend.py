"""Where a series of runs changed its level, by Pettitt's test on ever smaller parts of it.

Pettitt (1979), A non-parametric approach to the change-point problem: of n values with ranks r, the change lies where
|2 Σ r − t (n + 1)| over the first t is largest, K, and p is about 2 exp(−6 K² / (n³ + n²)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats

FEWEST = 14
"""Of fewer values no change, however clear, has so small a p."""
_SURE = 0.02
TOLERANCE = 0.05


class ChangePoint(msgspec.Struct, frozen=True):
    """`place` is that of the first value of the new level; `ratio` is of the medians on either side, new over old."""

    place: int
    ratio: float
    p_value: float


def change_points(values: Sequence[float], tolerance: float = TOLERANCE) -> tuple[ChangePoint, ...]:
    """In the order of the series. A change within the tolerance is none, however sure. Values are above 0."""
    series = np.asarray(values, dtype=float)
    p_values = dict(_found(series, 0, tolerance))
    places = sorted(p_values)
    ends = [0, *places, series.size]
    return tuple(
        ChangePoint(place, _ratio(series[ends[at] : place], series[place : ends[at + 2]]), p_values[place])
        for at, place in enumerate(places)
    )


def _found(series: Floats, start: int, tolerance: float) -> Iterator[tuple[int, float]]:
    if series.size < FEWEST:
        return
    at, p_value = _pettitt(series)
    if p_value >= _SURE or abs(_ratio(series[:at], series[at:]) - 1) <= tolerance:
        return
    yield start + at, p_value
    yield from _found(series[:at], start, tolerance)
    yield from _found(series[at:], start + at, tolerance)


def _pettitt(series: Floats) -> tuple[int, float]:
    n = series.size
    from scipy import stats  # half a second to import

    ranks = stats.rankdata(series)[:-1]
    scores = np.abs(2 * np.cumsum(ranks) - np.arange(1, n) * (n + 1))
    at = int(np.argmax(scores))
    return at + 1, min(1.0, 2 * float(np.exp(-6 * scores[at] ** 2 / (n**3 + n**2))))


def _ratio(before: Floats, after: Floats) -> float:
    return float(np.median(after) / np.median(before))
