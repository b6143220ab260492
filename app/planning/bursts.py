"""How much less a fleet may be given where requests come in bursts that outlast its queues.

Counts over a window vary more than Poisson's by a gamma factor on the rate of each window. Windows are long beside the
fleet's own times, so in each of them the fleet is as at a steady rate: the share that is late over all windows is the
mean of the late share at each window's rate, weighted by the requests that come in it. Beyond what the fleet can do all
are late; what an overloaded window leaves over for the next is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.analysis.columns import Floats

_STRATA = 400
_STEPS = 30


def burst_factor(loads: Sequence[float], late_shares: Sequence[float], allowed: float, shape: float) -> float:
    """By what the steady rate is to be multiplied, so that at most `allowed` of the requests are late.

    `late_shares` were played at `loads`, rising shares of the steady rate; beyond the last all are late. `shape` is the
    gamma factor's, whose mean is 1.
    """
    from scipy import stats  # half a second to import, which the start of a run would wait for

    factors = stats.gamma.ppf((np.arange(_STRATA) + 0.5) / _STRATA, shape, scale=1 / shape)
    factors /= factors.mean()
    low, high = 0.0, 1.0
    if _late(factors, loads, late_shares, 1.0) <= allowed:
        return 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _late(factors, loads, late_shares, middle) <= allowed else (low, middle)
    return low


def _late(factors: Floats, loads: Sequence[float], late_shares: Sequence[float], rate: float) -> float:
    at = factors * rate
    late = np.where(at > loads[-1], 1.0, np.interp(at, loads, late_shares))
    return float((late * factors).mean())
