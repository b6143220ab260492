"""The rate at which a simulated time just reaches its limit."""

from __future__ import annotations

import math
from collections.abc import Callable

_MOST_PLAYS = 14


def crossing(
    missed_by: Callable[[float], float], rates: tuple[float, float, float], precision: float
) -> tuple[float, float]:
    """The highest rate at which `missed_by` is at most 0, and the sigma of its logarithm that the search leaves.

    `rates` are the lowest, the one where the search begins, and the highest; `precision` is of the rate's logarithm.
    By bracketing in log rate, then regula falsi with halving (Illinois). 0 where even the lowest rate misses.
    """
    least, rate, most = rates
    low, high, at_low, at_high = None, None, 0.0, 0.0
    step, plays = 1.06, 0
    while low is None or high is None:  # ends: the step squares up until it reaches either end
        over = missed_by(rate)
        plays += 1
        if over <= 0:
            low, at_low = rate, over
            if rate >= most:
                return most, 0.0
            rate = min(most, rate * step) if high is None else rate
        else:
            high, at_high = rate, over
            if rate <= least:
                return 0.0, 0.0
            rate = max(least, rate / step) if low is None else rate
        step *= step
    side = 0
    while math.log(high / low) > precision and plays < _MOST_PLAYS:
        weight = min(max(-at_low / (at_high - at_low), 0.1), 0.9)
        rate = low * (high / low) ** weight
        over = missed_by(rate)
        plays += 1
        if over <= 0:
            at_high = at_high / 2 if side < 0 else at_high
            low, at_low, side = rate, over, -1
        else:
            at_low = at_low / 2 if side > 0 else at_low
            high, at_high, side = rate, over, 1
    return low, math.log(high / low) / 2
