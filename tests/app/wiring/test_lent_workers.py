"""Workers as real processes, and a master that is absent or rejects them; a complete run is in tests/seams."""

from __future__ import annotations

import os
import threading

import pytest

from app.errors import MeasurementError, UnavailableError
from app.wiring.lent_workers import LentWorkers
from loadgen.process import LoadProcess
from loadgen.records import Gather, Join, Ping, Quit
from tests.fakes.bare_master import TOKEN as MASTERS_TOKEN
from tests.fakes.bare_master import BareMaster
from tests.fakes.load_worker import FakeLoadWorker
from tests.fakes.processes import children_of, free_port, is_running

pytestmark = [
    pytest.mark.process,
    pytest.mark.usefixtures("unforked"),
]  # the tests inspect the children of this process

TOKEN = "a secret of many letters"


def test_missing_master_is_reported_and_no_worker_process_remains() -> None:
    join = Join("127.0.0.1", free_port(), TOKEN, wait_s=0.2)
    before = set(children_of(os.getpid()))
    with LentWorkers(join, 2) as workers:
        started = set(children_of(os.getpid())) - before
        with pytest.raises(UnavailableError, match=r"no master was found at 127\.0\.0\.1"):
            workers.wait(on_joined=lambda _: pytest.fail("nobody is there to be joined"))
    assert len(started) == 2
    assert not any(map(is_running, started))


def test_lent_workers_exit_at_once_after_a_stop_request() -> None:
    stop_requested = threading.Event()
    join = Join("127.0.0.1", free_port(), TOKEN, wait_s=60.0)
    before = set(children_of(os.getpid()))
    with LentWorkers(join, 1, should_continue=lambda: not stop_requested.is_set()) as workers:
        (started,) = set(children_of(os.getpid())) - before
        threading.Timer(0.1, stop_requested.set).start()
        workers.wait(on_joined=lambda _: pytest.fail("nobody is there to be joined"))
        assert is_running(started)
    assert not is_running(started)


def test_reason_of_a_rejected_worker_is_reported() -> None:
    port = free_port()
    with (
        FakeLoadWorker(port, TOKEN),
        LoadProcess(gather=Gather("127.0.0.1", port, TOKEN, local_workers=0, remote_workers=1)),
        LentWorkers(Join("127.0.0.1", port, TOKEN), 1) as workers,
        pytest.raises(UnavailableError, match="accepted no worker") as refused,
    ):
        workers.wait(on_joined=lambda _: pytest.fail("nobody is let in"))
    assert "was rejected, because all expected workers have joined" in str(refused.value.hint)


def test_accepted_worker_remains_after_another_worker_is_rejected() -> None:
    port, counts = free_port(), list[int]()
    with (
        LentWorkers(Join("127.0.0.1", port, TOKEN), 2) as workers,
        LoadProcess(gather=Gather("127.0.0.1", port, TOKEN, local_workers=0, remote_workers=1)) as load,
    ):

        def end(count: int) -> None:
            counts.append(count)
            load.close()

        workers.wait(on_joined=end)
    assert counts == [1]


def test_worker_that_the_run_continued_without_is_reported() -> None:
    with BareMaster() as master, LentWorkers(Join("127.0.0.1", master.port, MASTERS_TOKEN), 1) as workers:
        master.accept()
        master.send_commands(Ping(1))
        with pytest.raises(MeasurementError, match="continued without") as lost:
            workers.wait(on_joined=lambda _: master.send_commands(Quit("it did not respond")))
    assert "it did not respond" in str(lost.value.hint)
