"""Number of values that a percentile needs before it may be shown."""

from __future__ import annotations

import math

ALPHA = 0.05
"""Significance level: all intervals are two-sided at 95 %."""


def needed_samples(q: float) -> int:
    """Compute the minimum number of values with which a confidence interval of the percentile can exist."""
    return math.ceil(math.log(ALPHA / 2) / math.log(max(q, 1 - q)))
