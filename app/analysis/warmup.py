"""When a warm-up is over."""

from __future__ import annotations

from collections.abc import Sequence

WINDOWS = 3
_SPREAD = 1.10


def has_settled(medians: Sequence[float]) -> bool:
    """Whether the last three windows' medians lie within 10 % of each other."""
    latest = medians[-WINDOWS:]
    return len(latest) == WINDOWS and max(latest) <= _SPREAD * min(latest)
