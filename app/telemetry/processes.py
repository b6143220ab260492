"""What chosen processes use of the machine's cores and memory.

What is done with the cores that this process may run on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from app.telemetry.host import GIB

SWEEP_NS = 5_000_000_000
SWEEP_SHARE = 200
"""Finding children reads every process of the machine: it may use one part in so many of a core."""


class _Tree:
    """A watched process and its children: CPU between two readings of the members present at both."""

    def __init__(self, pid: int, at_ns: int) -> None:
        self.pid = pid
        self._last_ns = at_ns
        self._members: dict[psutil.Process, float] = {}
        try:
            self._root: psutil.Process | None = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._root = None

    def descendants(self) -> set[psutil.Process]:
        if self._root is None:
            return set()
        try:
            return {self._root, *self._root.children(recursive=True)}
        except psutil.Error:  # it ended, or its id is another process's now
            self._root = None
            return set()

    def follow(self, members: set[psutil.Process]) -> None:
        for process in self._members.keys() - members:
            del self._members[process]
        for process in members - self._members.keys():
            used_s = _cpu_s(process)
            if used_s is not None:
                self._members[process] = used_s

    def cpu_cores(self, at_ns: int) -> float | None:
        elapsed_s, self._last_ns = (at_ns - self._last_ns) / 1e9, at_ns
        used_s = 0.0
        for process, before_s in list(self._members.items()):
            now_s = _cpu_s(process)
            if now_s is None:
                del self._members[process]
            else:
                self._members[process] = now_s
                used_s += max(0.0, now_s - before_s)
        if used_s == 0 and self._has_ended():
            self._root = None
        if self._root not in self._members or elapsed_s <= 0:
            return None
        return used_s / elapsed_s

    def memory_gib(self) -> float | None:
        """Resident memory of the members that `cpu_cores` found; what they share counts for each of them."""
        resident = {process: _resident_bytes(process) for process in self._members}
        if self._root is None or resident.get(self._root) is None:
            return None
        return sum(one for one in resident.values() if one is not None) / GIB

    def _has_ended(self) -> bool:
        """Also true of a process that nobody has waited for yet."""
        if self._root is None:
            return True
        try:
            return self._root.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return True


def _cpu_s(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it ended, or belongs to somebody else
        return None
    return times.user + times.system


def _resident_bytes(process: psutil.Process) -> int | None:
    try:
        # one that nobody has waited for yet has none left
        return int(process.memory_info().rss) or None
    except psutil.Error:  # as above
        return None


def cpu_s_of(pid: int) -> float | None:
    """CPU that the process has used since it began; None of one that has gone."""
    try:
        return _cpu_s(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None


class ProcessReader:
    """CPU and memory of watched processes with their children. A child watched by itself counts only there.

    `watch` may be called from any thread, `read` from one.
    """

    def __init__(self, now: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._watched: dict[str, int] = {}
        self._trees: dict[str, _Tree] = {}
        self._sweep_due_ns = 0

    def watch(self, source: str, pid: int) -> None:
        with self._lock:
            self._watched[source] = pid

    def readings(self, at_ns: int) -> Iterator[tuple[str, dict[str, float | None]]]:
        """`<source>_cpu_cores` as `read` tells them, and `<source>_memory_gib` now."""
        for source, cores in self.read(at_ns).items():
            yield source, {f"{source}_cpu_cores": cores, f"{source}_memory_gib": self._trees[source].memory_gib()}

    def read(self, at_ns: int) -> dict[str, float | None]:
        """Cores kept busy since the last reading, by source: from the second reading on; None of one that ended."""
        new = self._take_up_changes(at_ns)
        readings = {source: tree.cpu_cores(at_ns) for source, tree in self._trees.items() if source not in new}
        if new or at_ns >= self._sweep_due_ns:
            self._sweep(at_ns)
        return readings

    def _take_up_changes(self, at_ns: int) -> set[str]:
        with self._lock:
            watched = dict(self._watched)
        kept = {source: tree for source, tree in self._trees.items() if watched.get(source) == tree.pid}
        new = watched.keys() - kept.keys()
        self._trees = kept | {source: _Tree(watched[source], at_ns) for source in new}
        return new

    def _sweep(self, at_ns: int) -> None:
        began_ns = self._now()
        families = {source: tree.descendants() for source, tree in self._trees.items()}
        for source, tree in self._trees.items():
            others = (family for other, family in families.items() if other != source and family < families[source])
            tree.follow(families[source].difference(*others))
        took_ns = self._now() - began_ns
        self._sweep_due_ns = at_ns + max(SWEEP_NS, SWEEP_SHARE * took_ns)


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
