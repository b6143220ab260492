"""One metric over a series of runs of the same thing, and where its level changed."""

from __future__ import annotations

from collections.abc import Sequence

from app.analysis.comparable import comparables
from app.analysis.environment_differences import differences_of
from app.analysis.repeats import median_of
from app.analysis.trend import ChangePoint, change_points
from app.records.comparison import StageMetric
from app.records.metrics import Better
from app.records.result import Result


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
