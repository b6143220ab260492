"""How a GPU spent a window: idle, busy, and held back."""

from __future__ import annotations

import numpy as np
import pandas as pd

from app.analysis.columns import Floats, Mask
from app.analysis.gpu_readings import GAP_NS, Readings, readings_of
from app.records.gpu import THROTTLING, GpuShares
from app.records.result import Window

LEAST_KNOWN = 0.5
"""A share is told from this part of the window's time on."""


def gpu_shares(telemetry: pd.DataFrame, source: str, window: Window) -> GpuShares:
    """Each reading stands for the time that is nearest to it, up to half a second to either side."""
    utilisation = readings_of(telemetry, source, "gpu_utilisation_percent")
    reasons = readings_of(telemetry, source, "gpu_throttle_reasons")
    bits = np.nan_to_num(reasons.values).astype(np.int64)
    busy = _share(utilisation, utilisation.values > 0, window)
    return GpuShares(
        idle=None if busy is None else 1 - busy,
        busy=busy,
        throttled=_share(reasons, (bits & THROTTLING) != 0, window),
    )


def _share(readings: Readings, hits: Mask, window: Window) -> float | None:
    weights_ns = np.where(np.isnan(readings.values), 0.0, _weights_ns(readings, window))
    known_ns = float(weights_ns.sum())
    if known_ns <= LEAST_KNOWN * (window.end_ns - window.start_ns):
        return None
    return float(weights_ns[hits].sum()) / known_ns


def _weights_ns(readings: Readings, window: Window) -> Floats:
    """The time of the window that each reading stands for."""
    at_ns = readings.at_ns
    middles = at_ns[:-1] + np.diff(at_ns) // 2
    began = np.concatenate(([-np.inf], middles))[: at_ns.size]
    ended = np.concatenate((middles, [np.inf]))[: at_ns.size]
    began = np.maximum(np.maximum(began, at_ns - GAP_NS / 2), window.start_ns)
    ended = np.minimum(np.minimum(ended, at_ns + GAP_NS / 2), window.end_ns)
    return np.asarray(np.maximum(ended - began, 0.0), dtype=np.float64)
