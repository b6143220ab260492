"""How many threads a model may have here."""

from __future__ import annotations

import os
import sys


def usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def too_many_threads(threads: int, cores: int) -> str:
    return f"{threads} threads are more than this machine's {cores} cores"
