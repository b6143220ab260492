"""History of one metric over a series of comparable runs, and its change points.

Change points are found by Pettitt's test, applied recursively to the segments of the series.
Pettitt (1979), A non-parametric approach to the change-point problem: for n values with ranks r,
the change point is the t at which |2 Σ r − t (n + 1)| over the first t values has its maximum K; p
is about 2 exp(−6 K² / (n³ + n²))."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec
import numpy as np
import pandas as pd

from app.analysis.columns import Floats
from app.analysis.comparisons.environment_differences import find_differences
from app.analysis.comparisons.metric_pairs import pair_metrics
from app.analysis.comparisons.repeats import compute_median
from app.records.comparison import StageMetric
from app.records.metrics import Better
from app.records.result import Result

MIN_VALUES = 14
"""Minimum number of values of a series. With fewer values, even the clearest change does not reach
a significant p-value."""
_MAX_P_VALUE = 0.02
TOLERANCE = 0.05


class ChangePoint(msgspec.Struct, frozen=True):
    """Change of level in a series of values. `index` is the position of the first value at the new
    level; `ratio` is the median after the change divided by the median before it."""

    index: int
    ratio: float
    p_value: float


def find_change_points(values: Sequence[float], tolerance: float = TOLERANCE) -> tuple[ChangePoint, ...]:
    """Find the change points of a series, in chronological order. Changes within the tolerance are
    ignored even if they are significant. All values must be greater than 0."""
    series = np.asarray(values, dtype=float)
    p_values = dict(_find_changes(series, 0, tolerance))
    indices = sorted(p_values)
    boundaries = [0, *indices, series.size]
    return tuple(
        ChangePoint(
            index,
            _compute_ratio(series[boundaries[position] : index], series[index : boundaries[position + 2]]),
            p_values[index],
        )
        for position, index in enumerate(indices)
    )


def _find_changes(series: Floats, start: int, tolerance: float) -> Iterator[tuple[int, float]]:
    if series.size < MIN_VALUES:
        return
    split, p_value = _run_pettitt_test(series)
    if p_value >= _MAX_P_VALUE or abs(_compute_ratio(series[:split], series[split:]) - 1) <= tolerance:
        return
    yield start + split, p_value
    yield from _find_changes(series[:split], start, tolerance)
    yield from _find_changes(series[split:], start + split, tolerance)


def _run_pettitt_test(series: Floats) -> tuple[int, float]:
    n = series.size
    ranks = pd.Series(series).rank().to_numpy()[:-1]
    scores = np.abs(2 * np.cumsum(ranks) - np.arange(1, n) * (n + 1))
    index = int(np.argmax(scores))
    return index + 1, min(1.0, 2 * float(np.exp(-6 * scores[index] ** 2 / (n**3 + n**2))))


def _compute_ratio(before: Floats, after: Floats) -> float:
    return float(np.median(after) / np.median(before))


class MetricHistory(StageMetric, frozen=True):
    """History of one metric in chronological order, with one value per run: the median over the
    repeats of one stage."""

    run_ids: tuple[str, ...]
    values: tuple[float, ...]
    changes: tuple[ChangePoint, ...]


def select_comparable_runs(runs: Sequence[Result], imported_ids: Collection[str] = ()) -> tuple[Result, ...]:
    """Return the runs that are comparable with the last valid run, including that run. INVALID runs
    are excluded. A run in `imported_ids` is the last run only if all valid runs are imported."""
    valid_runs = [run for run in runs if run.verdict.status != "INVALID"]
    if not valid_runs:
        return ()
    last_run = next((run for run in reversed(valid_runs) if run.run_id not in imported_ids), valid_runs[-1])
    return tuple(
        run for run in valid_runs if not any(difference.forbids for difference in find_differences([run], [last_run]))
    )


def build_histories(runs: Sequence[Result]) -> tuple[MetricHistory, ...]:
    """Build the history of each headline metric, by stage or variant. `runs` must be in
    chronological order."""
    points_by_key: dict[tuple[str, str, str | None], list[tuple[str, float]]] = {}
    unit_and_direction_by_key: dict[tuple[str, str, str | None], tuple[str, Better]] = {}
    for run in runs:
        for pair in pair_metrics([run], [run]):
            value = compute_median(pair.repeats.candidate).value
            if pair.is_headline and value is not None and value > 0:
                key = (pair.stage, pair.metric, pair.aggregate)
                points_by_key.setdefault(key, []).append((run.run_id, value))
                unit_and_direction_by_key[key] = (pair.unit, pair.better)
    return tuple(
        MetricHistory(
            metric=metric,
            aggregate=aggregate,
            unit=unit_and_direction_by_key[stage, metric, aggregate][0],
            better=unit_and_direction_by_key[stage, metric, aggregate][1],
            stage=stage,
            run_ids=tuple(run_id for run_id, _ in points),
            values=tuple(value for _, value in points),
            changes=find_change_points([value for _, value in points]),
        )
        for (stage, metric, aggregate), points in points_by_key.items()
    )
