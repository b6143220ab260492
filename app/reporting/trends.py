"""The stored runs of one profile over time."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.analysis.series import MetricHistory, comparable_runs, series_of
from app.errors import UsageError
from app.records.metrics import format_metric
from app.records.result import Result
from app.reporting.run_rows import UNREADABLE, run_rows
from app.storage.run_directory import StoredRun


class Trend(msgspec.Struct, frozen=True):
    """Of the runs that may be compared with the last one, by time; `left_out` are INVALID, or of another machine or
    workload."""

    name: str
    runs: tuple[Result, ...]
    left_out: int
    series: tuple[MetricHistory, ...]


def trend_of(name: str | None) -> Trend:
    """Of the profile of that name, else of the last run's. Raises UsageError where there is no run of it."""
    named = _runs_of(name)
    runs = comparable_runs(named)
    return Trend(named[-1].name, runs, len(named) - len(runs), series_of(runs))


def change_words(series: MetricHistory, place: int) -> str:
    """As in "+12 % since 20260102-120000-scores-1f2a (worse)"."""
    change = series.changes[place]
    is_better = (change.ratio < 1) == (series.better == "lower")
    return (
        f"{100 * (change.ratio - 1):+.0f} % since {series.run_ids[change.place]} ({'better' if is_better else 'worse'})"
    )


def metric_name(series: MetricHistory) -> str:
    """As in "latency_ms.p95"."""
    return format_metric(series.metric, series.aggregate)


def _runs_of(name: str | None) -> list[Result]:
    """By time. Raises UsageError where there are none. A run without a result that can be read hides no other."""
    rows = sorted(
        (row for row in run_rows().rows if row.verdict not in (None, UNREADABLE)),
        key=lambda row: row.started_at or "",
    )
    wanted = name or (rows[-1].name if rows else None)
    found = [_result(row.directory) for row in rows if row.name == wanted]
    if not found:
        names = ", ".join(sorted({row.name or "" for row in rows}))
        raise UsageError(
            f"there is no run of {wanted}" if wanted else "there is no run yet",
            hint=f"There are runs of {names}." if names else "`sizewise quickstart` makes the first.",
        )
    return found


def _result(directory: str) -> Result:
    run = StoredRun(Path(directory))
    return run.result or run.measured
