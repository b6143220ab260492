"""Compute the number of values needed to report a percentile."""

from __future__ import annotations

import math

ALPHA = 0.05
"""Significance level: all confidence intervals are two-sided at 95 %."""


def count_needed_samples(q: float) -> int:
    """Compute the minimum number of values for which a confidence interval of the `q` quantile (0 <
    q < 1) exists."""
    return math.ceil(math.log(ALPHA / 2) / math.log(max(q, 1 - q)))
