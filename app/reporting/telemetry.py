"""Telemetry readings as series of at most MAX_POINTS points."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from app.records.metrics import METRICS
from app.reporting.rows import MAX_POINTS
from reports import model

_SHORTEST_BIN_S = 0.25


def telemetry_series(telemetry: pd.DataFrame, start_ns: int) -> tuple[model.TelemetrySeries, ...]:
    """One a source and metric, in the catalogue's order; each point is the mean of its bin, None where nothing could
    be read."""
    if telemetry.empty:
        return ()
    telemetry = _with_busiest_core(telemetry)
    at_s = (telemetry["at_ns"].to_numpy() - start_ns) / 1e9
    first, last = float(at_s.min()), float(at_s.max())
    width = max(_SHORTEST_BIN_S, (last - first) / (MAX_POINTS - 1))
    binned = telemetry.assign(bin=np.floor((at_s - first) / width).astype(int))
    means = binned.groupby(["source", "metric", "bin"], observed=True)["value"].mean()
    order = list(METRICS)
    known = {(source, metric) for source, metric, _ in means.index if metric in METRICS}
    return tuple(
        _series(source, metric, means[source, metric], first, width)
        for source, metric in sorted(known, key=lambda key: (order.index(key[1]), key[0]))
    )


def _with_busiest_core(telemetry: pd.DataFrame) -> pd.DataFrame:
    """All cores as one series, the busiest at each reading: a machine may have hundreds."""
    is_core = telemetry["metric"] == "core_cpu_percent"
    if not is_core.any():
        return telemetry
    busiest = telemetry[is_core].groupby("at_ns", as_index=False)["value"].max()
    one = busiest.assign(source="busiest core", metric="core_cpu_percent")
    whole: pd.DataFrame = pd.concat(
        [telemetry[~is_core].astype({"source": str, "metric": str}), one], ignore_index=True
    )
    return whole


def _series(source: str, metric: str, means: pd.Series, first: float, width: float) -> model.TelemetrySeries:
    return model.TelemetrySeries(
        source=source,
        metric=metric,
        unit=METRICS[metric].unit,
        description=METRICS[metric].description,
        at_s=tuple(round(first + (one + 0.5) * width, 3) for one in means.index),
        values=tuple(None if math.isnan(value) else round(value, 4) for value in means),
    )
