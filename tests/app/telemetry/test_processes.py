"""Processes that use a known amount of CPU when told to, read on a clock that the test moves."""

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
    """A worker, or a parent that has one as its child; `worker_pid` is the one that works."""

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


def stopped() -> int:
    """A clock that does not move, so that looking for children takes no time."""
    return 0


@pytest.fixture
def reader() -> ProcessReader:
    return ProcessReader(now=stopped)


def resident_gib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / GIB


def about(cores: float) -> object:
    return pytest.approx(cores, abs=0.04)  # processes are charged in ticks of 10 ms


def test_cores_are_cpu_over_time(reader: ProcessReader, start: Callable[..., Program]) -> None:
    worker = start(WORKER)
    reader.watch("endpoint", worker.pid)
    assert reader.read(0) == {}
    worker.work()
    assert reader.read(SECOND // 2) == {"endpoint": about(2 * BURN_S)}
    assert reader.read(SECOND) == {"endpoint": about(0)}


def test_children_count(reader: ProcessReader, start: Callable[..., Program]) -> None:
    family = start(PARENT, WORKER)
    assert family.worker_pid != family.pid
    reader.watch("endpoint", family.pid)
    reader.read(0)
    family.work()
    assert reader.read(SECOND) == {"endpoint": about(BURN_S)}


def test_a_watched_child_counts_only_for_itself(reader: ProcessReader, start: Callable[..., Program]) -> None:
    family = start(PARENT, WORKER)
    reader.watch("engine", family.pid)
    reader.watch("generator", family.worker_pid)
    reader.read(0)
    family.work()
    assert reader.read(SECOND) == {"engine": about(0), "generator": about(BURN_S)}


def test_children_born_later_are_found_at_the_next_sweep(reader: ProcessReader, start: Callable[..., Program]) -> None:
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


def test_a_slow_sweep_is_repeated_less_often(start: Callable[..., Program]) -> None:
    asked = iter(range(0, 10 * SECOND, SECOND // 10))
    reader = ProcessReader(now=lambda: next(asked))  # each sweep seems to take 0.1 s
    reader.watch("engine", os.getpid())
    reader.read(0)
    reader.read(19 * SECOND)
    assert next(asked) == 2 * SECOND // 10
    reader.read(20 * SECOND)
    assert next(asked) == 5 * SECOND // 10


def test_memory_is_of_the_whole_family_and_a_watched_child_counts_only_for_itself(
    reader: ProcessReader, start: Callable[..., Program]
) -> None:
    family = start(PARENT, WORKER)
    reader.watch("endpoint", family.pid)
    assert dict(reader.iterate_readings(0)) == {}
    both = dict(reader.iterate_readings(SECOND))["endpoint"]
    assert both == {
        "endpoint_cpu_cores": about(0),
        "endpoint_memory_gib": pytest.approx(resident_gib(family.pid) + resident_gib(family.worker_pid), rel=0.05),
    }
    reader.watch("generator", family.worker_pid)
    dict(reader.iterate_readings(2 * SECOND))
    apart = dict(reader.iterate_readings(3 * SECOND))
    assert apart["generator"]["generator_memory_gib"] == pytest.approx(resident_gib(family.worker_pid), rel=0.05)
    assert apart["endpoint"]["endpoint_memory_gib"] == pytest.approx(resident_gib(family.pid), rel=0.05)


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_memory_of_a_process_that_ended_is_none_and_never_0(
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
def test_a_process_that_ended_is_none_and_never_0(
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
    reader.read(SECOND)  # may still hold the last CPU it used
    assert reader.read(2 * SECOND) == {"endpoint": None}
    assert reader.read(2 * SECOND + SWEEP_INTERVAL_NS) == {"endpoint": None}


def test_a_process_that_never_was_is_none(reader: ProcessReader, start: Callable[..., Program]) -> None:
    worker = start(WORKER)
    worker.process.kill()
    worker.process.wait()
    reader.watch("endpoint", worker.pid)
    reader.read(0)
    assert reader.read(SECOND) == {"endpoint": None}


def test_a_source_may_move_to_another_process(reader: ProcessReader, start: Callable[..., Program]) -> None:
    first, second = start(WORKER), start(WORKER)
    reader.watch("endpoint", first.pid)
    reader.read(0)
    reader.watch("endpoint", second.pid)
    assert reader.read(SECOND) == {}
    second.work()
    assert reader.read(2 * SECOND) == {"endpoint": about(BURN_S)}
