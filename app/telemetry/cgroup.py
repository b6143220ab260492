"""Limits and usage of this process's control group: a container's share of its machine (Linux, v1 and v2).

Includes the utilization of each core that this process may run on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


class CoreReader:
    """Reads the utilization of cores, numbered as the OS lists those that are online."""

    def __init__(self) -> None:
        self._last_s = _core_times()

    def read(self) -> dict[int, float | None]:
        """Return the busy percentage of each core since the last reading; None within one tick of the system's
        clock."""
        before_s, self._last_s = self._last_s, _core_times()
        return {
            core: None if core not in before_s else busy_percent(before_s[core], times_s)
            for core, times_s in self._last_s.items()
        }


def busy_percent(before_s: tuple[float, float], now_s: tuple[float, float]) -> float | None:
    """Compute the busy percentage between two pairs of busy and total core-seconds; None if no time passed, or the
    counters were reset."""
    busy_s, all_s = now_s[0] - before_s[0], now_s[1] - before_s[1]
    return min(100.0, max(0.0, 100 * busy_s / all_s)) if all_s > 0 else None


def busy_and_total(times: Any) -> tuple[float, float]:
    """Return core-seconds spent on work, and in total."""
    # Linux also counts a guest's time in `user`
    total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total_s - times.idle - getattr(times, "iowait", 0.0), total_s


def _core_times() -> dict[int, tuple[float, float]]:
    by_core = dict(enumerate(psutil.cpu_times(percpu=True)))
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else by_core.keys()
    # a container may see fewer cores than the numbers in its affinity mask suggest
    cores = [core for core in by_core if core in usable] or list(by_core)
    return {core: busy_and_total(by_core[core]) for core in cores}


_UNLIMITED_BYTES = 2**60
"""Limit from which a value means "no limit": version 1 reports a number just under 2**63."""


@dataclass(frozen=True)
class Cgroup:
    """Limits of a control group, the lowest of the group and its ancestors; None without a limit, or without control
    groups."""

    cpu_limit_cores: float | None = None
    memory_limit_bytes: int | None = None
    _cpu_directory: Path | None = None
    _memory_directory: Path | None = None

    def cpu_used_s(self) -> float | None:
        """Return the CPU time used by the group since its creation, in s."""
        directory = self._cpu_directory
        if directory is None:
            return None
        usage_us = _entry(directory / "cpu.stat", "usage_usec")
        if usage_us is not None:
            return usage_us / 1e6
        usage_ns = _number(directory / "cpuacct.usage")
        return None if usage_ns is None else usage_ns / 1e9

    def memory_used_bytes(self) -> int | None:
        """Return memory in bytes that counts against the limit under pressure: file pages not used recently are
        excluded."""
        directory = self._memory_directory
        if directory is None:
            return None
        used = _number(directory / "memory.current") or _number(directory / "memory.usage_in_bytes")
        if used is None:
            return None
        stat = directory / "memory.stat"
        # in version 1 the plain entry excludes child groups
        reclaimable = _entry(stat, "total_inactive_file") or _entry(stat, "inactive_file") or 0
        return max(0, used - reclaimable)


def read_cgroup(proc: Path = Path("/proc/self")) -> Cgroup:
    cpu = _directories(proc, "cpu")
    memory = _directories(proc, "memory")
    used_cpu = cpu if _is_version_2(cpu) else _directories(proc, "cpuacct")
    return Cgroup(
        cpu_limit_cores=_tightest([_cpu_limit(directory) for directory in cpu]),
        memory_limit_bytes=_to_int(_tightest([_memory_limit(directory) for directory in memory])),
        _cpu_directory=used_cpu[0] if used_cpu else None,
        _memory_directory=memory[0] if memory else None,
    )


def _directories(proc: Path, controller: str) -> list[Path]:
    """Return the group's directory for a controller and its ancestors, up to the mount; empty if there is none."""
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
        directory = point / relative if (point / relative).is_dir() else point
        return [directory, *(parent for parent in directory.parents if parent.is_relative_to(point))]
    return []


def _mount(proc: Path, controller: str | None) -> tuple[str, Path] | None:
    """Find (root within the hierarchy, mount point) of a version 1 controller, or of version 2 if `controller` is
    None."""
    for line in _lines(proc / "mountinfo"):
        mount_fields, _, kind = line.partition(" - ")
        fields, type_fields = mount_fields.split(), kind.split()
        if controller is None and type_fields[0] == "cgroup2":
            return fields[3], Path(fields[4])
        if controller is not None and type_fields[0] == "cgroup" and controller in type_fields[-1].split(","):
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


def _to_int(limit: float | None) -> int | None:
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
    except OSError:  # no such file on this OS, in this version, or in this group
        return ""
