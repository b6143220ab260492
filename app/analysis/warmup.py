"""Detects when a warm-up can end because latency has become stable."""

from __future__ import annotations

from collections.abc import Sequence

WINDOWS = 3
_SPREAD = 1.10


def is_stable(medians: Sequence[float]) -> bool:
    """Return True if the medians of the last three windows are within 10 % of each other."""
    latest = medians[-WINDOWS:]
    return len(latest) == WINDOWS and max(latest) <= _SPREAD * min(latest)
