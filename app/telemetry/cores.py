"""How busy each core is that this process may run on."""

from __future__ import annotations

import os
from typing import Any

import psutil


class CoreReader:
    """Cores are counted as the system lists those that are switched on."""

    def __init__(self) -> None:
        self._last_s = _times_of_cores()

    def read(self) -> dict[int, float | None]:
        """Percent of the time since the last reading, by core; None within one tick of the system's clock."""
        before_s, self._last_s = self._last_s, _times_of_cores()
        return {
            core: None if core not in before_s else busy_percent(before_s[core], times_s)
            for core, times_s in self._last_s.items()
        }


def busy_percent(before_s: tuple[float, float], now_s: tuple[float, float]) -> float | None:
    """Of two pairs of busy and all core-seconds; None where no time passed, or it was counted anew."""
    busy_s, all_s = now_s[0] - before_s[0], now_s[1] - before_s[1]
    return min(100.0, max(0.0, 100 * busy_s / all_s)) if all_s > 0 else None


def busy_and_all_of(times: Any) -> tuple[float, float]:
    """Core-seconds spent on work, and in all."""
    # Linux counts a guest's time in `user` as well
    everything = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return everything - times.idle - getattr(times, "iowait", 0.0), everything


def _times_of_cores() -> dict[int, tuple[float, float]]:
    every = dict(enumerate(psutil.cpu_times(percpu=True)))
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else every.keys()
    # a container may be told of fewer cores than it has numbers of
    cores = [core for core in every if core in usable] or list(every)
    return {core: busy_and_all_of(every[core]) for core in cores}
