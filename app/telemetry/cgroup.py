"""Read the limits and the usage of this process's control group, such as that of a container
(Linux, cgroup v1 and v2).

Also read the utilization of each core that this process may run on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


class CoreReader:
    """Reader of the utilization of each core that this process may run on. Cores are identified by
    their index among the online cores of the OS."""

    def __init__(self) -> None:
        self._last_times_s = _read_core_times()

    def read(self) -> dict[int, float | None]:
        """Return the utilization of each core in percent since the last reading, by core index;
        None if less than one tick of the OS timer has passed."""
        times_before_s, self._last_times_s = self._last_times_s, _read_core_times()
        return {
            core: None if core not in times_before_s else compute_utilization_percent(times_before_s[core], times_s)
            for core, times_s in self._last_times_s.items()
        }


def compute_utilization_percent(times_before_s: tuple[float, float], times_now_s: tuple[float, float]) -> float | None:
    """Compute the CPU utilization in percent (0 to 100) between two readings of busy and total
    core-seconds; None if no time has passed or the counters were reset."""
    busy_s, total_s = times_now_s[0] - times_before_s[0], times_now_s[1] - times_before_s[1]
    return min(100.0, max(0.0, 100 * busy_s / total_s)) if total_s > 0 else None


def sum_busy_and_total_s(times: Any) -> tuple[float, float]:
    """Return the busy and the total core-seconds, given CPU times from psutil. Idle and iowait
    times are not busy."""
    # Linux also counts guest time in `user`.
    total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total_s - times.idle - getattr(times, "iowait", 0.0), total_s


def _read_core_times() -> dict[int, tuple[float, float]]:
    times_by_core = dict(enumerate(psutil.cpu_times(percpu=True)))
    usable_cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else times_by_core.keys()
    # In a container, the affinity mask may contain higher numbers than the listed cores.
    cores = [core for core in times_by_core if core in usable_cores] or list(times_by_core)
    return {core: sum_busy_and_total_s(times_by_core[core]) for core in cores}


_UNLIMITED_BYTES = 2**60
"""Smallest memory limit in bytes that means "no limit". Without a limit, cgroup v1 reports a number
just below 2**63."""


@dataclass(frozen=True)
class Cgroup:
    """Effective limits of this process's control group: the lowest limits of the group and its
    ancestors. A limit is None if it is not set or the OS has no control groups."""

    cpu_limit_cores: float | None = None
    memory_limit_bytes: int | None = None
    _cpu_directory: Path | None = None
    _memory_directory: Path | None = None

    def read_cpu_used_s(self) -> float | None:
        """Return the CPU time in seconds that the control group has used since its creation; None
        if unknown."""
        directory = self._cpu_directory
        if directory is None:
            return None
        usage_us = _read_entry(directory / "cpu.stat", "usage_usec")
        if usage_us is not None:
            return usage_us / 1e6
        usage_ns = _read_int(directory / "cpuacct.usage")
        return None if usage_ns is None else usage_ns / 1e9

    def read_memory_used_bytes(self) -> int | None:
        """Return the memory usage of the control group in bytes; None if unknown. Inactive file
        pages are excluded, because the OS reclaims them under memory pressure."""
        directory = self._memory_directory
        if directory is None:
            return None
        used_bytes = _read_int(directory / "memory.current") or _read_int(directory / "memory.usage_in_bytes")
        if used_bytes is None:
            return None
        stat_path = directory / "memory.stat"
        # In cgroup v1, the entry without the prefix excludes child groups.
        reclaimable_bytes = (
            _read_entry(stat_path, "total_inactive_file") or _read_entry(stat_path, "inactive_file") or 0
        )
        return max(0, used_bytes - reclaimable_bytes)


def read_cgroup(proc: Path = Path("/proc/self")) -> Cgroup:
    cpu_directories = _find_directories(proc, "cpu")
    memory_directories = _find_directories(proc, "memory")
    usage_directories = cpu_directories if _is_version_2(cpu_directories) else _find_directories(proc, "cpuacct")
    return Cgroup(
        cpu_limit_cores=_find_lowest_limit([_read_cpu_limit(directory) for directory in cpu_directories]),
        memory_limit_bytes=_to_int(
            _find_lowest_limit([_read_memory_limit(directory) for directory in memory_directories])
        ),
        _cpu_directory=usage_directories[0] if usage_directories else None,
        _memory_directory=memory_directories[0] if memory_directories else None,
    )


def _find_directories(proc: Path, controller: str) -> list[Path]:
    """Return the directory of this process's control group for a controller, followed by all its
    ancestors up to the mount point; empty if the controller is not mounted."""
    path_by_controller = {}
    for line in _read_lines(proc / "cgroup"):
        _, controllers, path = line.split(":", 2)
        path_by_controller.update(dict.fromkeys(controllers.split(","), path))
    for is_version_1 in (True, False):
        group_path = path_by_controller.get(controller if is_version_1 else "")
        mount = _find_mount(proc, controller if is_version_1 else None)
        if group_path is None or mount is None:
            continue
        root, mount_point = mount
        relative_path = group_path.removeprefix(root.rstrip("/")).strip("/")
        directory = mount_point / relative_path if (mount_point / relative_path).is_dir() else mount_point
        return [directory, *(parent for parent in directory.parents if parent.is_relative_to(mount_point))]
    return []


def _find_mount(proc: Path, controller: str | None) -> tuple[str, Path] | None:
    """Return the root of the mounted hierarchy and the mount point; None if not mounted.
    `controller` is a cgroup v1 controller, or None for cgroup v2."""
    for line in _read_lines(proc / "mountinfo"):
        mount_text, _, type_text = line.partition(" - ")
        fields, type_fields = mount_text.split(), type_text.split()
        if controller is None and type_fields[0] == "cgroup2":
            return fields[3], Path(fields[4])
        if controller is not None and type_fields[0] == "cgroup" and controller in type_fields[-1].split(","):
            return fields[3], Path(fields[4])
    return None


def _is_version_2(directories: list[Path]) -> bool:
    return bool(directories) and (directories[0] / "cgroup.controllers").exists()


def _read_cpu_limit(directory: Path) -> float | None:
    fields = _read_text(directory / "cpu.max").split()
    if len(fields) == 2:
        return None if fields[0] == "max" else int(fields[0]) / int(fields[1])
    quota_us, period_us = _read_int(directory / "cpu.cfs_quota_us"), _read_int(directory / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us is not None and quota_us > 0 and period_us else None


def _read_memory_limit(directory: Path) -> int | None:
    limit_bytes = _read_int(directory / "memory.max") or _read_int(directory / "memory.limit_in_bytes")
    return limit_bytes if limit_bytes is not None and limit_bytes < _UNLIMITED_BYTES else None


def _find_lowest_limit(limits: list[float | None] | list[int | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _to_int(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


def _read_entry(path: Path, key: str) -> int | None:
    for line in _read_lines(path):
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return None


def _read_int(path: Path) -> int | None:
    text = _read_text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _read_lines(path: Path) -> list[str]:
    return _read_text(path).splitlines()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # no such file on this OS, in this version, or in this group
        return ""
