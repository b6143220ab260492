"""Which clock a process reads: processes that name the same one can compare their `time.perf_counter_ns`."""

from __future__ import annotations

import uuid
from functools import lru_cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE = Path("/proc/self/ns/time")


@lru_cache(maxsize=1)
def clock_id(boot_id: Path = _BOOT_ID, time_namespace: Path = _TIME_NAMESPACE) -> str:
    """The same for all processes of one boot of one system and one time namespace, which moves CLOCK_MONOTONIC
    (time_namespaces(7)). Where neither can be read, one that no other process has."""
    try:
        return f"boot {boot_id.read_text().strip()}, time namespace {time_namespace.stat().st_ino}"
    except OSError:
        return f"process {uuid.uuid4()}"
