"""Chart and table data for the trend of a profile: the metrics of its runs over time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.analysis.comparisons.series import MIN_VALUES, MetricHistory
from app.records.metrics import metric_label, unscaled_unit
from app.reporting.run_rows import Trend, format_change, list_runs


def list_profile_names() -> tuple[str, ...]:
    """Return the profile names of the stored runs, most recently run first. Can be called from any
    thread."""
    rows = [row for row in list_runs().rows if row.name is not None and row.verdict is not None]
    rows.sort(key=lambda row: row.started_at or "", reverse=True)
    return tuple(dict.fromkeys(row.name for row in rows if row.name is not None))


def compute_levels(series: MetricHistory) -> npt.NDArray[np.float64]:
    """Return the level of a metric at each run: the median of the runs between two consecutive
    level changes."""
    values = np.asarray(series.values, dtype=np.float64)
    bounds = [0, *(change.index for change in series.changes), len(values)]
    levels = np.empty(len(values))
    for start, end in itertools.pairwise(bounds):
        levels[start:end] = np.median(values[start:end])
    return levels


def series_metric(series: MetricHistory) -> str:
    """Return the display name of the metric of a history, such as "p95 latency"."""
    return metric_label(series.metric, series.aggregate)


def series_name(series: MetricHistory) -> str:
    return f"{series_metric(series)} · {series.stage}"


def series_key(series: MetricHistory) -> tuple[str, str | None, str]:
    return series.metric, series.aggregate, series.stage


def summary_text(trend: Trend) -> str:
    template = "{name} has 1 run." if len(trend.runs) == 1 else "{name} has {count} runs."
    parts = [template.format(name=trend.name, count=len(trend.runs))]
    if trend.excluded_count:
        parts.append(
            f"Some runs are excluded ({trend.excluded_count}): they are INVALID, or from another machine or workload."
        )
    if len(trend.runs) < MIN_VALUES:
        parts.append(f"Change detection needs at least {MIN_VALUES} runs.")
    return " ".join(parts)


TREND_HEADERS = {
    "metric": "Metric",
    "stage": "Stage",
    "runs": "Runs",
    "first": "First",
    "last": "Last",
    "unit": "Unit",
    "changed": "Changed",
}


def trend_frame(series: Sequence[MetricHistory]) -> pd.DataFrame:
    """Return a table with one row for each metric and stage, as printed by `sizewise runs
    trend`."""
    return pd.DataFrame(
        {
            "metric": [series_metric(metric_series) for metric_series in series],
            "stage": [metric_series.stage for metric_series in series],
            "runs": [len(metric_series.values) for metric_series in series],
            "first": [metric_series.values[0] for metric_series in series],
            "last": [metric_series.values[-1] for metric_series in series],
            "unit": [unscaled_unit(metric_series.unit) for metric_series in series],
            "changed": [
                "; ".join(format_change(metric_series, index) for index in range(len(metric_series.changes))) or "no"
                for metric_series in series
            ],
        }
    )
