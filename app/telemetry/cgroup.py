"""What the control group of this process may use, and uses: a container's share of its machine (Linux, v1 and v2).

How busy each core is that this process may run on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
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


_UNLIMITED_BYTES = 2**60
"""Version 1 says "no limit" as a number just under 2**63."""


@dataclass(frozen=True)
class Cgroup:
    """Limits are the tightest on the way up; None where there is no limit, or no control groups at all."""

    cpu_limit_cores: float | None = None
    memory_limit_bytes: int | None = None
    _cpu_directory: Path | None = None
    _memory_directory: Path | None = None

    def cpu_used_s(self) -> float | None:
        """CPU time the group has used since it was made."""
        directory = self._cpu_directory
        if directory is None:
            return None
        usage_us = _entry(directory / "cpu.stat", "usage_usec")
        if usage_us is not None:
            return usage_us / 1e6
        usage_ns = _number(directory / "cpuacct.usage")
        return None if usage_ns is None else usage_ns / 1e9

    def memory_used_bytes(self) -> int | None:
        """Memory that would count against the limit when it gets tight: file pages not lately used are left out."""
        directory = self._memory_directory
        if directory is None:
            return None
        used = _number(directory / "memory.current") or _number(directory / "memory.usage_in_bytes")
        if used is None:
            return None
        stat = directory / "memory.stat"
        # in version 1 the plain entry leaves the child groups out
        reclaimable = _entry(stat, "total_inactive_file") or _entry(stat, "inactive_file") or 0
        return max(0, used - reclaimable)


def read_cgroup(proc: Path = Path("/proc/self")) -> Cgroup:
    cpu = _directories(proc, "cpu")
    memory = _directories(proc, "memory")
    used_cpu = cpu if _is_version_2(cpu) else _directories(proc, "cpuacct")
    return Cgroup(
        cpu_limit_cores=_tightest([_cpu_limit(directory) for directory in cpu]),
        memory_limit_bytes=_whole(_tightest([_memory_limit(directory) for directory in memory])),
        _cpu_directory=used_cpu[0] if used_cpu else None,
        _memory_directory=memory[0] if memory else None,
    )


def _directories(proc: Path, controller: str) -> list[Path]:
    """The group's directory for a controller and those above it, up to the mount; empty where there is none."""
    groups = {}
    for line in _lines(proc / "cgroup"):
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    for version_1 in (True, False):
        group = groups.get(controller if version_1 else "")
        mount = _mount(proc, controller if version_1 else None)
        if group is None or mount is None:
            continue
        root, point = mount
        relative = group.removeprefix(root.rstrip("/")).strip("/")
        own = point / relative if (point / relative).is_dir() else point
        return [own, *(above for above in own.parents if above.is_relative_to(point))]
    return []


def _mount(proc: Path, controller: str | None) -> tuple[str, Path] | None:
    """(root within the hierarchy, mount point) of a version 1 controller, or of version 2 when it is None."""
    for line in _lines(proc / "mountinfo"):
        placed, _, kind = line.partition(" - ")
        fields, described = placed.split(), kind.split()
        if controller is None and described[0] == "cgroup2":
            return fields[3], Path(fields[4])
        if controller is not None and described[0] == "cgroup" and controller in described[-1].split(","):
            return fields[3], Path(fields[4])
    return None


def _is_version_2(directories: list[Path]) -> bool:
    return bool(directories) and (directories[0] / "cgroup.controllers").exists()


def _cpu_limit(directory: Path) -> float | None:
    words = _text(directory / "cpu.max").split()
    if len(words) == 2:
        return None if words[0] == "max" else int(words[0]) / int(words[1])
    quota, period = _number(directory / "cpu.cfs_quota_us"), _number(directory / "cpu.cfs_period_us")
    return quota / period if quota is not None and quota > 0 and period else None


def _memory_limit(directory: Path) -> int | None:
    limit = _number(directory / "memory.max") or _number(directory / "memory.limit_in_bytes")
    return limit if limit is not None and limit < _UNLIMITED_BYTES else None


def _tightest(limits: list[float | None] | list[int | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


def _entry(path: Path, key: str) -> int | None:
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _lines(path: Path) -> list[str]:
    return _text(path).splitlines()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # no such file on this system, in this version, or in this group
        return ""
