"""One metric over a series of runs of the same thing, and where its level changed.

Where a series of runs changed its level, by Pettitt's test on ever smaller parts of it.

Pettitt (1979), A non-parametric approach to the change-point problem: of n values with ranks r, the change lies where
|2 Σ r − t (n + 1)| over the first t is largest, K, and p is about 2 exp(−6 K² / (n³ + n²)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.comparisons.comparable import comparables
from app.analysis.comparisons.environment_differences import differences_of
from app.analysis.comparisons.repeats import median_of
from app.records.comparison import StageMetric
from app.records.metrics import Better
from app.records.result import Result

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


class MetricHistory(StageMetric, frozen=True):
    """By time, one value a run: the median over the repeats of its stage."""

    run_ids: tuple[str, ...]
    values: tuple[float, ...]
    changes: tuple[ChangePoint, ...]


def comparable_runs(runs: Sequence[Result]) -> tuple[Result, ...]:
    """Those that may be compared with the last one, itself among them; INVALID ones and those without load are none."""
    valid = [run for run in runs if run.verdict.status != "INVALID"]
    if not valid:
        return ()
    last = valid[-1]
    return tuple(run for run in valid if not any(one.forbids for one in differences_of([run], [last])))


def series_of(runs: Sequence[Result]) -> tuple[MetricHistory, ...]:
    """Of each headline metric, by stage or variant; `runs` are by time."""
    found: dict[tuple[str, str, str | None], list[tuple[str, float]]] = {}
    facts: dict[tuple[str, str, str | None], tuple[str, Better]] = {}
    for run in runs:
        for one in comparables([run], [run]):
            value = median_of(one.repeats.candidate).value
            if one.is_headline and value is not None and value > 0:
                key = (one.stage, one.metric, one.aggregate)
                found.setdefault(key, []).append((run.run_id, value))
                facts[key] = (one.unit, one.better)
    return tuple(
        MetricHistory(
            metric=metric,
            aggregate=aggregate,
            unit=facts[stage, metric, aggregate][0],
            better=facts[stage, metric, aggregate][1],
            stage=stage,
            run_ids=tuple(run_id for run_id, _ in points),
            values=tuple(value for _, value in points),
            changes=change_points([value for _, value in points]),
        )
        for (stage, metric, aggregate), points in found.items()
    )
