"""Detect latency drift in a stage. Drift indicates an unfinished warm-up or a growing backlog.
Both make the metrics of the stage meaningless."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.estimates import BATCH_COUNT, compute_batch_means

CHANGE_LIMIT = 0.25
MIN_VALUES = 5 * BATCH_COUNT
"""Minimum number of latencies for a drift to be found."""
_T_QUANTILE = float(special.stdtrit(BATCH_COUNT - 2, 0.9995))


def compute_latency_drift(latency_ms: npt.NDArray[np.float64]) -> float | None:
    """Compute the relative change of latency over the whole series, from a line fitted to the means
    of 20 batches. Return `None` for fewer than 100 values.

    Return 0 if the slope is not significant at 99.9 %, given the scatter of the batch means."""
    if latency_ms.size < MIN_VALUES:
        return None
    batch_means = compute_batch_means(latency_ms)
    positions = np.arange(BATCH_COUNT) - (BATCH_COUNT - 1) / 2
    slope = float(positions @ batch_means / (positions @ positions))
    residuals = batch_means - batch_means.mean() - slope * positions
    slope_error = float(np.sqrt(residuals @ residuals / (BATCH_COUNT - 2) / (positions @ positions)))
    if abs(slope) <= _T_QUANTILE * slope_error or batch_means.mean() <= 0:
        return 0.0
    return slope * (BATCH_COUNT - 1) / float(batch_means.mean())
