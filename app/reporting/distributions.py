"""What answers took, whole: the share at or below each time, and how many took how long when."""

from __future__ import annotations

import math

import numpy as np

from app.analysis.columns import Floats, Mask
from app.analysis.spans import span_ms
from app.records.result import Stage
from app.reporting.rows import RequestTimes, inside_stages, rounded, time_bins
from reports import model

MOST_STEPS = 200
MOST_COLUMNS, MOST_ROWS = 60, 16
_METRICS: tuple[model.SpectrumMetric, ...] = ("latency_ms", "service_ms", "ttft_ms", "tpot_ms")


def distributions(requests: RequestTimes | None, stages: tuple[Stage, ...]) -> tuple[model.Spectrum, ...]:
    """Of the stages' successful requests, pooled, whatever their number; at most MOST_STEPS steps, least and most among
    them."""
    if requests is None:
        return ()
    inside = inside_stages(requests, stages)
    drawn = (share_steps(metric, span_ms(requests.rows, metric), inside) for metric in _METRICS)
    return tuple(one for one in drawn if one is not None)


def heat_map(requests: RequestTimes | None, times: str = "latency_ms") -> model.LatencyHeatMap | None:
    """All answers of the run. None where nothing was answered, or everything took the same time."""
    values_ms = None if requests is None else span_ms(requests.rows, times)
    if requests is None or values_ms is None:
        return None
    is_known = requests.rows.is_success & (values_ms > 0)
    values_ms, at_s = values_ms[is_known], requests.seconds(requests.rows.intended_ns[is_known])
    if not values_ms.size or values_ms.min() == values_ms.max():
        return None
    bins = time_bins(float(at_s[0]), float(at_s[-1]), MOST_COLUMNS, fine=True)
    edges_ms = _log_edges(float(values_ms.min()), float(values_ms.max()))
    counts, _, _ = np.histogram2d(values_ms, at_s, bins=(edges_ms, bins.edges_s))
    return model.LatencyHeatMap(
        bin_s=bins.width_s,
        from_s=rounded(bins.edges_s[:-1]),
        edges_ms=rounded(edges_ms, 6),
        counts=tuple(tuple(int(one) for one in row) for row in counts),
    )


def share_steps(metric: model.SpectrumMetric, values_ms: Floats | None, inside: Mask) -> model.Spectrum | None:
    """Of the values inside that are known; None where there is none. At most MOST_STEPS, least and most among them."""
    if values_ms is None:
        return None
    ordered = np.sort(values_ms[inside & ~np.isnan(values_ms)])
    if not ordered.size:
        return None
    ranks = np.unique(np.linspace(0, ordered.size - 1, min(ordered.size, MOST_STEPS)).round().astype(np.int64))
    return model.Spectrum(
        metric=metric, n=ordered.size, share=rounded((ranks + 1) / ordered.size, 6), ms=rounded(ordered[ranks], 4)
    )


def _log_edges(low: float, high: float) -> Floats:
    """As many to a factor of two, or fewer, as MOST_ROWS allow; the outermost hold least and most."""
    per_doubling = next((one for one in (4, 3, 2, 1) if math.log2(high / low) * one <= MOST_ROWS - 1), None)
    step = 1 / per_doubling if per_doubling else math.log2(high / low) / (MOST_ROWS - 1)
    first, last = math.floor(math.log2(low) / step), math.floor(math.log2(high) / step) + 1
    return np.asarray(2.0 ** (step * np.arange(first, last + 1)), dtype=np.float64)
