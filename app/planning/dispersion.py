"""How bursty traffic is, and how many slots (units of concurrency) it takes to carry the bursts.

Both counts are of servers that never make anyone wait: safe beside the simulation, which settles the number.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec
import numpy as np
import numpy.typing as npt

from app.records.traffic import Traffic

Floats = npt.NDArray[np.float64]


class Modulation(msgspec.Struct, frozen=True):
    """A gamma factor of mean 1 and this shape on the rate, drawn anew every `window_s`."""

    shape: float
    window_s: float


def modulation_of(traffic: Traffic) -> Modulation | None:
    """That which gives the traffic's index at its peak; None for Poisson's, or what is more even.

    A share answered by a cache thins requests and changes nothing of the factor.
    """
    said = traffic.dispersion
    if said.index <= 1.0:
        return None
    return Modulation(traffic.peak_per_s * said.window_s / (said.index - 1.0), said.window_s)


def index_of(modulation: Modulation | None, rate_per_s: float) -> float:
    """Variance over mean of the counts at this rate, in windows as long as the factor's or a multiple of that."""
    return 1.0 if modulation is None else 1.0 + rate_per_s * modulation.window_s / modulation.shape


def peakedness_of(modulation: Modulation | None, rate_per_s: float, mean_s: float) -> float:
    """Variance over mean of how many are in work, with slots for all and exponential times of this mean.

    1 for Poisson's arrivals. Times far under the window see the whole factor, far over it half of the index above 1.
    """
    if modulation is None or rate_per_s == 0 or mean_s == 0:
        return 1.0
    ratio = mean_s / modulation.window_s
    seen = -math.expm1(-1.0 / ratio) * ratio
    return 1.0 + rate_per_s * mean_s / modulation.shape * (1.0 - seen)


def hayward_slots(rate_per_s: float, mean_s: float, peakedness: float, quantile: float = 0.99) -> int:
    """Slots that are enough for this share of the time, as if the number in work were normal.

    Near where bursts are moderate; where the peakedness is a large part of the mean it is too few.
    """
    busy = rate_per_s * mean_s
    spread = NormalDist().inv_cdf(quantile) * math.sqrt(busy * peakedness)
    return max(1, math.ceil(busy + spread - 1e-9))


def unlimited_slots(at_s: Floats, service_s: Floats | float, quantile: float = 0.999) -> int:
    """Slots with which this share of the arrivals finds a free one where there are slots for all.

    `at_s` ascend. More than any work-conserving queue needs to answer as fast for the same share.
    """
    if not len(at_s):
        return 1
    leave_s = np.sort(at_s + service_s)
    in_work = np.arange(len(at_s)) - np.searchsorted(leave_s, at_s, side="right")
    return int(np.quantile(in_work, quantile, method="inverted_cdf")) + 1
