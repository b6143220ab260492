"""Detect when a warm-up can end because latency has become stable."""

from __future__ import annotations

from collections.abc import Sequence

WINDOW_COUNT = 3
MAX_WINDOWS = 6
"""Number of windows after which a warm-up ends even if latency is not stable."""
_MAX_RATIO = 1.10


def is_stable(medians: Sequence[float]) -> bool:
    """Return True if the medians of the last three windows are within 10 % of each other."""
    latest_medians = medians[-WINDOW_COUNT:]
    return len(latest_medians) == WINDOW_COUNT and max(latest_medians) <= _MAX_RATIO * min(latest_medians)
