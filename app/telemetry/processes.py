"""CPU and memory use of chosen processes, and the use of the cores that this process may run on."""

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
"""Finding children reads every process of the machine: it may use at most 1/SWEEP_SHARE of a core."""


class _Tree:
    """A watched process and its children: CPU between two readings, of the members present at both."""

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
        except psutil.Error:  # it ended, or its id now belongs to another process
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
        """Return the resident memory of the members that `cpu_cores` found; shared memory counts for each of them."""
        resident = {process: _resident_bytes(process) for process in self._members}
        if self._root is None or resident.get(self._root) is None:
            return None
        return sum(size_bytes for size_bytes in resident.values() if size_bytes is not None) / GIB

    def _has_ended(self) -> bool:
        """Return True if the process has ended, including a process that its parent has not waited for yet."""
        if self._root is None:
            return True
        try:
            return self._root.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return True


def _cpu_s(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it ended, or belongs to another user
        return None
    return times.user + times.system


def _resident_bytes(process: psutil.Process) -> int | None:
    try:
        # a process that its parent has not waited for yet has none left
        return int(process.memory_info().rss) or None
    except psutil.Error:  # see `_cpu_s`
        return None


def read_cpu_s(pid: int) -> float | None:
    """Return the CPU time of the process since its start, in s; None if it has ended."""
    try:
        return _cpu_s(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None


class ProcessReader:
    """Reads CPU and memory of watched processes with their children. A child that is watched itself counts only there.

    `watch` may be called from any thread, `read` from only one.
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
        """Yield `<source>_cpu_cores` as `read` returns it, and the current `<source>_memory_gib`."""
        for source, cores in self.read(at_ns).items():
            yield source, {f"{source}_cpu_cores": cores, f"{source}_memory_gib": self._trees[source].memory_gib()}

    def read(self, at_ns: int) -> dict[str, float | None]:
        """Return the cores used since the last reading, by source: from the second reading on; None for a process that
        ended."""
        new = self._update_trees(at_ns)
        readings = {source: tree.cpu_cores(at_ns) for source, tree in self._trees.items() if source not in new}
        if new or at_ns >= self._sweep_due_ns:
            self._sweep(at_ns)
        return readings

    def _update_trees(self, at_ns: int) -> set[str]:
        with self._lock:
            watched = dict(self._watched)
        retained = {source: tree for source, tree in self._trees.items() if watched.get(source) == tree.pid}
        new = watched.keys() - retained.keys()
        self._trees = retained | {source: _Tree(watched[source], at_ns) for source in new}
        return new

    def _sweep(self, at_ns: int) -> None:
        start_ns = self._now()
        families = {source: tree.descendants() for source, tree in self._trees.items()}
        for source, tree in self._trees.items():
            nested = (
                family
                for other_source, family in families.items()
                if other_source != source and family < families[source]
            )
            tree.follow(families[source].difference(*nested))
        duration_ns = self._now() - start_ns
        self._sweep_due_ns = at_ns + max(SWEEP_NS, SWEEP_SHARE * duration_ns)


_NON_PROCESS_TIMES = ("idle", "iowait", "irq", "softirq", "interrupt", "dpc", "guest", "guest_nice")
"""CPU times that belong to no process. Interrupts, under load, are mostly for the packets of the load itself. Linux
also counts a guest's time in `user`."""


@dataclass(frozen=True)
class CoreUse:
    """Core-seconds since an arbitrary earlier time: of all processes, including those stolen by other virtual machines
    of the host; idle; and of this process and the requested ones, None if one of them cannot be read."""

    at_ns: int
    busy_s: float
    idle_s: float
    own_s: float | None


def read_core_use(pids: Collection[int]) -> CoreUse:
    own_times = [read_cpu_s(pid) for pid in {os.getpid(), *pids}]
    known = [used_s for used_s in own_times if used_s is not None]
    times = _core_times()
    return CoreUse(
        at_ns=time.perf_counter_ns(),
        busy_s=sum(
            sum(core_times) - sum(getattr(core_times, name, 0.0) for name in _NON_PROCESS_TIMES) for core_times in times
        ),
        idle_s=sum(core_times.idle + getattr(core_times, "iowait", 0.0) for core_times in times),
        own_s=sum(known) if len(known) == len(own_times) else None,
    )


def _core_times() -> list[Any]:
    all_cores = psutil.cpu_times(percpu=True)
    if not hasattr(os, "sched_getaffinity"):
        return all_cores
    usable = [all_cores[core] for core in os.sched_getaffinity(0) if core < len(all_cores)]
    return usable or all_cores
