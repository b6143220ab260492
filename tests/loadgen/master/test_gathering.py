from __future__ import annotations

import os
import socket

import pytest

from loadgen.machine import get_clock_id
from loadgen.master.gathering import JoinCriteria
from loadgen.master.worker_pool import RemoteWorker, WorkerPool
from loadgen.records import WIRE_VERSION, Gather, Hello


class FakeLocalWorker:
    """A worker process of this machine, which runs until `end` is set."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.end: str | None = None
        self.stderr_tail = "out of memory"
        self.is_suspended = False
        self.cpu_s = 7.0

    def describe_exit(self) -> str | None:
        return self.end


def hello(pid: int, host: str | None = None, clock: str | None = None) -> Hello:
    return Hello(WIRE_VERSION, host or socket.gethostname(), pid, clock or get_clock_id(), "timerfd", "uvloop")


def make_join_criteria(local: FakeLocalWorker, remote: int = 0) -> JoinCriteria:
    return JoinCriteria(Gather(local_workers=1, remote_workers=remote, wait_s=5), "127.0.0.1:1", (local,), 0)  # type: ignore[arg-type]


@pytest.fixture
def local() -> FakeLocalWorker:
    return FakeLocalWorker(os.getpid())


def test_local_worker_is_recognized_by_pid_and_has_no_clock_offset(local: FakeLocalWorker) -> None:
    worker = make_join_criteria(local).check_join("a", hello(local.pid), WorkerPool(), 0)
    assert isinstance(worker, RemoteWorker)
    assert worker.load_worker.is_local
    assert worker.clock is None


@pytest.mark.parametrize(
    ("host", "clock"), [("elsewhere", None), (None, "another clock")], ids=["of another host", "of another clock"]
)
def test_same_pid_on_other_host_or_clock_is_not_local_worker(
    local: FakeLocalWorker, host: str | None, clock: str | None
) -> None:
    stranger = hello(local.pid, host, clock)
    assert "was rejected, because all expected workers have joined" in str(
        make_join_criteria(local).check_join("a", stranger, WorkerPool(), 0)
    )
    worker = make_join_criteria(local, remote=1).check_join("a", stranger, WorkerPool(), 0)
    assert isinstance(worker, RemoteWorker)
    assert not worker.load_worker.is_local


def test_worker_process_cannot_join_twice(local: FakeLocalWorker) -> None:
    pool, criteria = WorkerPool(), make_join_criteria(local)
    worker = criteria.check_join("a", hello(local.pid), pool, 0)
    assert isinstance(worker, RemoteWorker)
    pool.add(worker)
    assert criteria.is_complete(pool)
    assert "has already joined" in str(criteria.check_join("b", hello(local.pid), pool, 0))


def test_gathering_fails_when_local_worker_exits(local: FakeLocalWorker) -> None:
    criteria = make_join_criteria(local)
    assert criteria.find_failure(WorkerPool(), 4_900_000_000) is None
    local.end = "exited with code 1"
    failed = criteria.find_failure(WorkerPool(), 0)
    assert failed is not None
    assert "exited with code 1" in failed.message
    assert failed.hint == local.stderr_tail


def test_gathering_fails_when_local_worker_is_suspended_for_2_5_s(local: FakeLocalWorker) -> None:
    criteria = make_join_criteria(local)
    local.is_suspended = True
    assert criteria.find_failure(WorkerPool(), 0) is None
    local.is_suspended = False
    assert criteria.find_failure(WorkerPool(), 1_000_000_000) is None
    local.is_suspended = True
    assert criteria.find_failure(WorkerPool(), 2_000_000_000) is None, "suspended only for a moment"
    assert criteria.find_failure(WorkerPool(), 4_400_000_000) is None
    failed = criteria.find_failure(WorkerPool(), 4_500_000_000)
    assert failed is not None
    assert f"process {local.pid}" in failed.message


def test_suspended_idle_local_worker_is_lost_after_2_5_s(local: FakeLocalWorker) -> None:
    worker = make_join_criteria(local).check_join("a", hello(local.pid), WorkerPool(), 0)
    assert isinstance(worker, RemoteWorker)
    assert worker.find_loss_reason(9_900_000_000) is None, "it may be busy"
    local.is_suspended = True
    assert worker.find_loss_reason(2_400_000_000) is None
    assert worker.find_loss_reason(2_500_000_000) == "did not respond for 2.5 s: the worker's process is suspended"


def test_sending_local_worker_is_lost_after_2_5_s_unless_starved_of_cpu(local: FakeLocalWorker) -> None:
    worker = make_join_criteria(local).check_join("a", hello(local.pid), WorkerPool(), 0)
    assert isinstance(worker, RemoteWorker)
    worker.is_sending = True
    assert worker.find_loss_reason(1_300_000_000) is None
    local.cpu_s += 0.3
    assert worker.find_loss_reason(2_500_000_000) is None
    assert worker.find_loss_reason(9_900_000_000) is None
    assert worker.find_loss_reason(10_000_000_000) == "did not respond for 10 s"
    local.cpu_s += 0.95
    assert worker.find_loss_reason(2_600_000_000) == "did not respond for 2.5 s", "the process had CPU time all along"
    worker.last_received_ns = 10_000_000_000
    assert worker.find_loss_reason(10_100_000_000) is None
    assert worker.find_loss_reason(11_300_000_000) is None
    assert worker.find_loss_reason(12_500_000_000) == "did not respond for 2.5 s"


def test_failure_without_remote_workers_has_no_hint_to_start_them(local: FakeLocalWorker) -> None:
    failed = make_join_criteria(local).find_failure(WorkerPool(), 5_000_000_000)
    assert failed is not None
    assert "0 of 1 worker" in failed.message
    assert failed.hint is None
