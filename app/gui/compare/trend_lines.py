"""The runs of a profile over time, as a chart and a table take them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.analysis.comparisons.series import FEWEST, MetricHistory
from app.reporting.run_rows import Trend, change_words, metric_name, run_rows


def profile_names() -> tuple[str, ...]:
    """Of stored runs, that of the last run first. In any thread."""
    rows = [row for row in run_rows().rows if row.name is not None and row.verdict is not None]
    rows.sort(key=lambda row: row.started_at or "", reverse=True)
    return tuple(dict.fromkeys(row.name for row in rows if row.name is not None))


def levels_of(series: MetricHistory) -> npt.NDArray[np.float64]:
    """The median of each level, one value a run."""
    values = np.asarray(series.values, dtype=np.float64)
    ends = [0, *(change.place for change in series.changes), len(values)]
    levels = np.empty(len(values))
    for start, end in itertools.pairwise(ends):
        levels[start:end] = np.median(values[start:end])
    return levels


def series_name(series: MetricHistory) -> str:
    return f"{metric_name(series)} · {series.stage}"


def summary_of(trend: Trend) -> str:
    counted = "{name}: 1 run." if len(trend.runs) == 1 else "{name}: {count} runs."
    told = [counted.format(name=trend.name, count=len(trend.runs))]
    if trend.left_out:
        told.append(f"{trend.left_out} left out: INVALID, or of another machine or workload.")
    if len(trend.runs) < FEWEST:
        told.append(f"A change of level is told from {FEWEST} runs on.")
    return " ".join(told)


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
    """The rows of `sizewise runs trend`."""
    return pd.DataFrame(
        {
            "metric": [metric_name(one) for one in series],
            "stage": [one.stage for one in series],
            "runs": [len(one.values) for one in series],
            "first": [one.values[0] for one in series],
            "last": [one.values[-1] for one in series],
            "unit": [one.unit for one in series],
            "changed": [
                "; ".join(change_words(one, place) for place in range(len(one.changes))) or "no" for one in series
            ],
        }
    )
