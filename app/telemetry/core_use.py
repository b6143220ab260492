"""What is done with the cores that this process may run on."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psutil

from app.telemetry.processes import cpu_s_of

_NOT_OF_PROCESSES = ("idle", "iowait", "irq", "softirq", "interrupt", "dpc", "guest", "guest_nice")
"""What interrupts take is nobody's, and under load mostly for the packets of the load itself. Linux counts a guest's
time in `user` as well."""


@dataclass(frozen=True)
class CoreUse:
    """Core-seconds since some time before: of all processes, what other machines on the same host took included; idle;
    and of this process and those asked for, None where one of them cannot be read."""

    at_ns: int
    busy_s: float
    idle_s: float
    own_s: float | None


def read_core_use(pids: Collection[int]) -> CoreUse:
    own = [cpu_s_of(pid) for pid in {os.getpid(), *pids}]
    known = [one for one in own if one is not None]
    times = _times_of_cores()
    return CoreUse(
        at_ns=time.perf_counter_ns(),
        busy_s=sum(sum(one) - sum(getattr(one, name, 0.0) for name in _NOT_OF_PROCESSES) for one in times),
        idle_s=sum(one.idle + getattr(one, "iowait", 0.0) for one in times),
        own_s=sum(known) if len(known) == len(own) else None,
    )


def _times_of_cores() -> list[Any]:
    every = psutil.cpu_times(percpu=True)
    if not hasattr(os, "sched_getaffinity"):
        return every
    usable = [every[core] for core in os.sched_getaffinity(0) if core < len(every)]
    return usable or every
