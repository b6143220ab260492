"""Read the CPU and memory usage of watched processes, and the CPU usage of the cores that this
process may run on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from app.telemetry.host import GIB

SWEEP_INTERVAL_NS = 5_000_000_000
SWEEP_CPU_DIVISOR = 200
"""Divisor that limits the CPU usage of the search for child processes, which reads every process of
the machine: the search may use at most 1/SWEEP_CPU_DIVISOR of a core."""


class _ProcessTree:
    """A watched process and its descendants. CPU usage includes only the processes that exist at
    two consecutive readings."""

    def __init__(self, pid: int, at_ns: int) -> None:
        self.pid = pid
        self._last_ns = at_ns
        self._cpu_s_by_process: dict[psutil.Process, float] = {}
        try:
            self._root: psutil.Process | None = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._root = None

    def find_processes(self) -> set[psutil.Process]:
        if self._root is None:
            return set()
        try:
            return {self._root, *self._root.children(recursive=True)}
        except psutil.Error:  # the process has ended, or its PID now belongs to a different process
            self._root = None
            return set()

    def set_processes(self, processes: set[psutil.Process]) -> None:
        for process in self._cpu_s_by_process.keys() - processes:
            del self._cpu_s_by_process[process]
        for process in processes - self._cpu_s_by_process.keys():
            cpu_s = _read_cpu_s(process)
            if cpu_s is not None:
                self._cpu_s_by_process[process] = cpu_s

    def compute_cpu_cores(self, at_ns: int) -> float | None:
        elapsed_s, self._last_ns = (at_ns - self._last_ns) / 1e9, at_ns
        used_s = 0.0
        for process, before_s in list(self._cpu_s_by_process.items()):
            cpu_s = _read_cpu_s(process)
            if cpu_s is None:
                del self._cpu_s_by_process[process]
            else:
                self._cpu_s_by_process[process] = cpu_s
                used_s += max(0.0, cpu_s - before_s)
        if used_s == 0 and self._has_ended():
            self._root = None
        if self._root not in self._cpu_s_by_process or elapsed_s <= 0:
            return None
        return used_s / elapsed_s

    def read_memory_gib(self) -> float | None:
        """Return the resident memory of a watched process and its descendants in GiB; None if the
        watched process has ended. Shared memory counts for each process."""
        bytes_by_process = {process: _read_resident_bytes(process) for process in self._cpu_s_by_process}
        if self._root is None or bytes_by_process.get(self._root) is None:
            return None
        return sum(size_bytes for size_bytes in bytes_by_process.values() if size_bytes is not None) / GIB

    def _has_ended(self) -> bool:
        """Return True if the watched process has exited, even if it is still a zombie that its
        parent has not reaped."""
        if self._root is None:
            return True
        try:
            return self._root.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return True


def _read_cpu_s(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
    except psutil.Error:  # the process has ended, or belongs to a different user
        return None
    return times.user + times.system


def _read_resident_bytes(process: psutil.Process) -> int | None:
    try:
        # A process that has ended but that its parent has not waited for yet has 0 bytes.
        return int(process.memory_info().rss) or None
    except psutil.Error:  # the process has ended, or belongs to a different user
        return None


def read_cpu_s(pid: int) -> float | None:
    """Return the CPU time in seconds that a process has used since its start; None if the process
    has ended."""
    try:
        return _read_cpu_s(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None


class ProcessReader:
    """Reader of the CPU and memory usage of watched processes, including their descendants. A
    descendant that is itself watched is not included in the usage of its parent.

    `watch` may be called from any thread, `read` from a single thread only."""

    def __init__(self, now: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._pid_by_source: dict[str, int] = {}
        self._tree_by_source: dict[str, _ProcessTree] = {}
        self._sweep_due_ns = 0

    def watch(self, source: str, pid: int) -> None:
        with self._lock:
            self._pid_by_source[source] = pid

    def iterate_readings(self, at_ns: int) -> Iterator[tuple[str, dict[str, float | None]]]:
        """Yield each source with its readings: the number of cores used since the last reading
        (`<source>_cpu_cores`), and the current memory usage (`<source>_memory_gib`)."""
        for source, cores in self.read(at_ns).items():
            yield (
                source,
                {f"{source}_cpu_cores": cores, f"{source}_memory_gib": self._tree_by_source[source].read_memory_gib()},
            )

    def read(self, at_ns: int) -> dict[str, float | None]:
        """Return the number of cores used since the last reading, by source; None for a process
        that has ended. A new source has its first value at its second reading."""
        new_sources = self._update_trees(at_ns)
        cores_by_source = {
            source: tree.compute_cpu_cores(at_ns)
            for source, tree in self._tree_by_source.items()
            if source not in new_sources
        }
        if new_sources or at_ns >= self._sweep_due_ns:
            self._sweep(at_ns)
        return cores_by_source

    def _update_trees(self, at_ns: int) -> set[str]:
        with self._lock:
            pid_by_source = dict(self._pid_by_source)
        retained_tree_by_source = {
            source: tree for source, tree in self._tree_by_source.items() if pid_by_source.get(source) == tree.pid
        }
        new_sources = pid_by_source.keys() - retained_tree_by_source.keys()
        self._tree_by_source = retained_tree_by_source | {
            source: _ProcessTree(pid_by_source[source], at_ns) for source in new_sources
        }
        return new_sources

    def _sweep(self, at_ns: int) -> None:
        start_ns = self._now()
        processes_by_source = {source: tree.find_processes() for source, tree in self._tree_by_source.items()}
        for source, tree in self._tree_by_source.items():
            nested_processes = (
                processes
                for other_source, processes in processes_by_source.items()
                if other_source != source and processes < processes_by_source[source]
            )
            tree.set_processes(processes_by_source[source].difference(*nested_processes))
        duration_ns = self._now() - start_ns
        self._sweep_due_ns = at_ns + max(SWEEP_INTERVAL_NS, SWEEP_CPU_DIVISOR * duration_ns)


_NON_PROCESS_TIMES = ("idle", "iowait", "irq", "softirq", "interrupt", "dpc", "guest", "guest_nice")
"""CPU times of psutil that are not attributed to processes. Interrupts are excluded because, under
load, they mostly handle packets of the load itself. Guest times are excluded because Linux also
counts them in `user`."""


@dataclass(frozen=True)
class CoreUsage:
    """Core-seconds on the cores that this process may run on, since an arbitrary reference time.

    `used_s` is the time used by all processes, including time stolen by other virtual machines.
    `idle_s` is the idle time. `own_s` is the time used by this process and the requested processes;
    None if one of the processes cannot be read."""

    at_ns: int
    used_s: float
    idle_s: float
    own_s: float | None


def read_core_use(pids: Collection[int]) -> CoreUsage:
    own_times_s = [read_cpu_s(pid) for pid in {os.getpid(), *pids}]
    known_times_s = [cpu_s for cpu_s in own_times_s if cpu_s is not None]
    times = _read_core_times()
    return CoreUsage(
        at_ns=time.perf_counter_ns(),
        used_s=sum(
            sum(core_times) - sum(getattr(core_times, name, 0.0) for name in _NON_PROCESS_TIMES) for core_times in times
        ),
        idle_s=sum(core_times.idle + getattr(core_times, "iowait", 0.0) for core_times in times),
        own_s=sum(known_times_s) if len(known_times_s) == len(own_times_s) else None,
    )


def _read_core_times() -> list[Any]:
    all_core_times = psutil.cpu_times(percpu=True)
    if not hasattr(os, "sched_getaffinity"):
        return all_core_times
    usable_core_times = [all_core_times[core] for core in os.sched_getaffinity(0) if core < len(all_core_times)]
    return usable_core_times or all_core_times
