"""Processes that use a known amount of CPU time on command are read with a clock that the test controls."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from app.telemetry.host import GIB
from app.telemetry.processes import SWEEP_INTERVAL_NS, ProcessReader

pytestmark = pytest.mark.process

SECOND = 1_000_000_000
BURN_S = 0.3
WORKER = f"""
import os, sys, time
print(os.getpid(), flush=True)
for line in sys.stdin:
    end = time.process_time() + {BURN_S}
    while time.process_time() < end:
        pass
    print("done", flush=True)
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


class Program:
    """A worker process, or a parent process with a worker as its child. `worker_pid` is the PID of the worker."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.worker_pid = int(self._line())

    @property
    def pid(self) -> int:
        return self.process.pid

    def work(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("work\n")
        self.process.stdin.flush()
        assert self._line() == "done"

    def close(self) -> None:
        self.process.communicate(timeout=30)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def begin(*arguments: str) -> Program:
        programs.append(Program(*arguments))
        return programs[-1]

    yield begin
    for program in programs:
        program.close()


def read_stopped_clock() -> int:
    """A clock that does not advance, so that a sweep for children takes no time."""
    return 0


@pytest.fixture
def reader() -> ProcessReader:
    return ProcessReader(now=read_stopped_clock)


def resident_gib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / GIB


def approximate_cores(cores: float) -> object:
    return pytest.approx(cores, abs=0.04)  # processes are charged in ticks of 10 ms


def test_used_cores_are_cpu_time_over_elapsed_time(reader: ProcessReader, start: Callable[..., Program]) -> None:
    worker = start(WORKER)
    reader.watch("endpoint", worker.pid)
    assert reader.read(0) == {}
    worker.work()
    assert reader.read(SECOND // 2) == {"endpoint": approximate_cores(2 * BURN_S)}
    assert reader.read(SECOND) == {"endpoint": approximate_cores(0)}


def test_cpu_time_of_child_processes_is_included(reader: ProcessReader, start: Callable[..., Program]) -> None:
    family = start(PARENT, WORKER)
    assert family.worker_pid != family.pid
    reader.watch("endpoint", family.pid)
    reader.read(0)
    family.work()
    assert reader.read(SECOND) == {"endpoint": approximate_cores(BURN_S)}


def test_watched_child_process_is_excluded_from_parent(reader: ProcessReader, start: Callable[..., Program]) -> None:
    family = start(PARENT, WORKER)
    reader.watch("engine", family.pid)
    reader.watch("generator", family.worker_pid)
    reader.read(0)
    family.work()
    assert reader.read(SECOND) == {"engine": approximate_cores(0), "generator": approximate_cores(BURN_S)}


def test_new_child_processes_are_included_after_next_sweep(
    reader: ProcessReader, start: Callable[..., Program]
) -> None:
    reader.watch("engine", os.getpid())
    reader.read(0)
    worker = start(WORKER)
    reader.read(SWEEP_INTERVAL_NS - 1)
    before = reader.read(SWEEP_INTERVAL_NS)["engine"]
    worker.work()
    after = reader.read(SWEEP_INTERVAL_NS + SECOND)["engine"]
    assert before is not None
    assert after is not None
    assert after >= BURN_S - 0.04


def test_slow_process_sweep_is_repeated_less_often(start: Callable[..., Program]) -> None:
    clock_ns = iter(range(0, 10 * SECOND, SECOND // 10))
    reader = ProcessReader(now=lambda: next(clock_ns))  # each sweep takes 0.1 s on this clock
    reader.watch("engine", os.getpid())
    reader.read(0)
    reader.read(19 * SECOND)
    assert next(clock_ns) == 2 * SECOND // 10
    reader.read(20 * SECOND)
    assert next(clock_ns) == 5 * SECOND // 10


def test_process_memory_includes_children_except_watched_children(
    reader: ProcessReader, start: Callable[..., Program]
) -> None:
    family = start(PARENT, WORKER)
    reader.watch("endpoint", family.pid)
    assert dict(reader.iterate_readings(0)) == {}
    combined = dict(reader.iterate_readings(SECOND))["endpoint"]
    assert combined == {
        "endpoint_cpu_cores": approximate_cores(0),
        "endpoint_memory_gib": pytest.approx(resident_gib(family.pid) + resident_gib(family.worker_pid), rel=0.05),
    }
    reader.watch("generator", family.worker_pid)
    dict(reader.iterate_readings(2 * SECOND))
    separate = dict(reader.iterate_readings(3 * SECOND))
    assert separate["generator"]["generator_memory_gib"] == pytest.approx(resident_gib(family.worker_pid), rel=0.05)
    assert separate["endpoint"]["endpoint_memory_gib"] == pytest.approx(resident_gib(family.pid), rel=0.05)


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_memory_of_ended_process_is_none(
    reader: ProcessReader, start: Callable[..., Program], is_waited_for: bool
) -> None:
    worker = start(WORKER)
    reader.watch("endpoint", worker.pid)
    dict(reader.iterate_readings(0))
    worker.work()
    worker.process.kill()
    if is_waited_for:
        worker.process.wait()
    else:
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert dict(reader.iterate_readings(SECOND))["endpoint"]["endpoint_memory_gib"] is None


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_cpu_of_ended_process_is_none(
    reader: ProcessReader, start: Callable[..., Program], is_waited_for: bool
) -> None:
    worker = start(WORKER)
    reader.watch("endpoint", worker.pid)
    reader.read(0)
    worker.process.kill()
    if is_waited_for:
        worker.process.wait()
    else:
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    reader.read(SECOND)  # can still include the last CPU time of the process
    assert reader.read(2 * SECOND) == {"endpoint": None}
    assert reader.read(2 * SECOND + SWEEP_INTERVAL_NS) == {"endpoint": None}


def test_cpu_of_process_that_ended_before_watching_is_none(
    reader: ProcessReader, start: Callable[..., Program]
) -> None:
    worker = start(WORKER)
    worker.process.kill()
    worker.process.wait()
    reader.watch("endpoint", worker.pid)
    reader.read(0)
    assert reader.read(SECOND) == {"endpoint": None}


def test_telemetry_source_can_switch_to_another_process(reader: ProcessReader, start: Callable[..., Program]) -> None:
    first, second = start(WORKER), start(WORKER)
    reader.watch("endpoint", first.pid)
    reader.read(0)
    reader.watch("endpoint", second.pid)
    assert reader.read(SECOND) == {}
    second.work()
    assert reader.read(2 * SECOND) == {"endpoint": approximate_cores(BURN_S)}
