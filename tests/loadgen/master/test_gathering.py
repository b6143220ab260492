from __future__ import annotations

import os
import socket

import pytest

from loadgen.machine import get_clock_id
from loadgen.master.gathering import JoinCriteria
from loadgen.master.worker_pool import RemoteWorker, WorkerPool
from loadgen.records import WIRE_VERSION, Failed, Gather, Hello


class Started:
    """A worker of this machine, which runs until it has an `ending`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.end: str | None = None
        self.stderr_tail = "it was too dark"
        self.is_suspended = False
        self.cpu_s = 7.0

    def describe_exit(self) -> str | None:
        return self.end


def hello(pid: int, host: str | None = None, clock: str | None = None) -> Hello:
    return Hello(WIRE_VERSION, host or socket.gethostname(), pid, clock or get_clock_id(), "timerfd", "uvloop")


def gathering(local: Started, remote: int = 0) -> JoinCriteria:
    return JoinCriteria(Gather(local_workers=1, remote_workers=remote, wait_s=5), "127.0.0.1:1", (local,), 0)  # type: ignore[arg-type]


@pytest.fixture
def local() -> Started:
    return Started(os.getpid())


def test_one_that_was_started_here_is_known_by_its_process_and_needs_no_offset(local: Started) -> None:
    member = gathering(local).check_join("a", hello(local.pid), WorkerPool(), 0)
    assert isinstance(member, RemoteWorker)
    assert member.load_worker.is_local
    assert member.clock is None


@pytest.mark.parametrize(
    ("host", "clock"), [("elsewhere", None), (None, "another clock")], ids=["of another host", "of another clock"]
)
def test_another_process_of_that_number_is_not_the_one_that_was_started(
    local: Started, host: str | None, clock: str | None
) -> None:
    stranger = hello(local.pid, host, clock)
    assert "was rejected, because all expected workers have joined" in str(
        gathering(local).check_join("a", stranger, WorkerPool(), 0)
    )
    member = gathering(local, remote=1).check_join("a", stranger, WorkerPool(), 0)
    assert isinstance(member, RemoteWorker)
    assert not member.load_worker.is_local


def test_nobody_joins_twice(local: Started) -> None:
    pool, one = WorkerPool(), gathering(local)
    member = one.check_join("a", hello(local.pid), pool, 0)
    assert isinstance(member, RemoteWorker)
    pool.add(member)
    assert one.is_complete(pool)
    assert "has already joined" in str(one.check_join("b", hello(local.pid), pool, 0))


def test_when_one_of_ours_ends_nobody_waits_for_it(local: Started) -> None:
    one = gathering(local)
    assert one.find_failure(WorkerPool(), 4_900_000_000) is None
    local.end = "exited with code 1"
    assert one.find_failure(WorkerPool(), 0) == Failed(
        "a load worker on this machine exited with code 1 before all workers had joined", hint="it was too dark"
    )


def test_when_one_of_ours_is_stopped_nobody_waits_for_it(local: Started) -> None:
    one = gathering(local)
    local.is_suspended = True
    assert one.find_failure(WorkerPool(), 0) is None
    local.is_suspended = False
    assert one.find_failure(WorkerPool(), 1_000_000_000) is None
    local.is_suspended = True
    assert one.find_failure(WorkerPool(), 2_000_000_000) is None, "only in between"
    assert one.find_failure(WorkerPool(), 4_400_000_000) is None
    failed = one.find_failure(WorkerPool(), 4_500_000_000)
    assert failed is not None
    assert failed.message == f"process {local.pid}, a load worker on this machine, is suspended"


def test_one_of_ours_that_is_stopped_before_it_sends_is_lost_within_seconds(local: Started) -> None:
    member = gathering(local).check_join("a", hello(local.pid), WorkerPool(), 0)
    assert isinstance(member, RemoteWorker)
    assert member.find_loss_reason(9_900_000_000) is None, "it may be busy"
    local.is_suspended = True
    assert member.find_loss_reason(2_400_000_000) is None
    assert member.find_loss_reason(2_500_000_000) == "did not respond for 2.5 s: the worker's process is suspended"


def test_one_of_ours_that_sends_is_lost_unless_it_gets_too_little_of_the_processor(local: Started) -> None:
    member = gathering(local).check_join("a", hello(local.pid), WorkerPool(), 0)
    assert isinstance(member, RemoteWorker)
    member.is_sending = True
    assert member.find_loss_reason(1_300_000_000) is None
    local.cpu_s += 0.3
    assert member.find_loss_reason(2_500_000_000) is None
    assert member.find_loss_reason(9_900_000_000) is None
    assert member.find_loss_reason(10_000_000_000) == "did not respond for 10 s"
    local.cpu_s += 0.95
    assert member.find_loss_reason(2_600_000_000) == "did not respond for 2.5 s", (
        "it has had the processor all the time"
    )
    member.last_received_ns = 10_000_000_000
    assert member.find_loss_reason(10_100_000_000) is None
    assert member.find_loss_reason(11_300_000_000) is None
    assert member.find_loss_reason(12_500_000_000) == "did not respond for 2.5 s"


def test_without_remote_workers_nobody_is_reported_to_start_any(local: Started) -> None:
    assert gathering(local).find_failure(WorkerPool(), 5_000_000_000) == Failed(
        "only 0 of 1 worker joined at 127.0.0.1:1 within 5 s"
    )
