"""Workers as real processes, and a master that is not there or not theirs; a run with one is in tests/seams."""

from __future__ import annotations

import os
import threading

import pytest

from app.errors import UnavailableError
from app.wiring.joined import JoinedWorkers
from loadgen.records import Join
from tests.fakes.processes import children_of, free_port, is_running

TOKEN = "a secret of many letters"


def test_a_master_that_is_not_there_is_told_and_no_worker_is_left() -> None:
    join = Join("127.0.0.1", free_port(), TOKEN, wait_s=0.2)
    before = set(children_of(os.getpid()))
    with JoinedWorkers(join, 2) as workers:
        started = set(children_of(os.getpid())) - before
        with pytest.raises(UnavailableError, match=r"no master was found at 127\.0\.0\.1"):
            workers.follow(on_joined=lambda _: pytest.fail("nobody is there to be joined"))
    assert len(started) == 2
    assert not any(map(is_running, started))


def test_workers_that_are_not_wanted_any_more_leave_at_once() -> None:
    unwanted = threading.Event()
    join = Join("127.0.0.1", free_port(), TOKEN, wait_s=60.0)
    before = set(children_of(os.getpid()))
    with JoinedWorkers(join, 1, is_wanted=lambda: not unwanted.is_set()) as workers:
        (started,) = set(children_of(os.getpid())) - before
        threading.Timer(0.1, unwanted.set).start()
        workers.follow(on_joined=lambda _: pytest.fail("nobody is there to be joined"))
        assert is_running(started)
    assert not is_running(started)
