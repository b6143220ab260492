"""How many values a percentile needs before it may be shown."""

from __future__ import annotations

import math

ALPHA = 0.05
"""All intervals are two-sided at 95 %."""


def needed_samples(q: float) -> int:
    """The fewest values with which an interval of the percentile can exist at all."""
    return math.ceil(math.log(ALPHA / 2) / math.log(max(q, 1 - q)))
