"""When a warm-up is over."""

from __future__ import annotations

from collections.abc import Sequence

_WINDOWS = 3
_SPREAD = 1.10


def has_settled(medians: Sequence[float]) -> bool:
    """Whether the last three windows' medians lie within 10 % of each other."""
    latest = medians[-_WINDOWS:]
    return len(latest) == _WINDOWS and max(latest) <= _SPREAD * min(latest)
