"""A bound on what a library receives and does not account for: this process's memory."""

from __future__ import annotations

import os
from pathlib import Path


def private_bytes() -> int | None:
    """Memory of this process that is no file's; None where the system does not report it, as only Linux does."""
    try:
        _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_bytes().split())
    except (OSError, ValueError):
        return None
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


class MemoryBound:
    """How far memory has grown since this was made."""

    def __init__(self, most_bytes: int) -> None:
        self._before = private_bytes()
        self._most_bytes = most_bytes

    @property
    def is_exceeded(self) -> bool:
        if self._before is None or (now := private_bytes()) is None:
            return False
        return now - self._before > self._most_bytes
