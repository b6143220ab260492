"""Does the latency of a stage stand still? A warm-up that goes on or a growing backlog makes its numbers worthless."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.estimates import BATCHES, batch_means

CHANGE_LIMIT = 0.25
_FEWEST = 5 * BATCHES
_T = float(special.stdtrit(BATCHES - 2, 0.9995))


def latency_drift(latency_ms: npt.NDArray[np.float64]) -> float | None:
    """The change over the whole series of a line through the means of 20 batches, as a share of the mean.

    0 where the line does not stand out from the batches' scatter (at 99.9 %); None below 100 values.
    """
    if latency_ms.size < _FEWEST:
        return None
    means = batch_means(latency_ms)
    at = np.arange(BATCHES) - (BATCHES - 1) / 2
    slope = float(at @ means / (at @ at))
    rest = means - means.mean() - slope * at
    slope_error = float(np.sqrt(rest @ rest / (BATCHES - 2) / (at @ at)))
    if abs(slope) <= _T * slope_error or means.mean() <= 0:
        return 0.0
    return slope * (BATCHES - 1) / float(means.mean())
