"""Locust's master with our door, in a process of its own, as it may not be imported here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from loadgen.curve import MAX_FRAME_BYTES, secure_worker_socket
from tests.fakes.load_worker import FakeLoadWorker
from tests.fakes.program import wait_until

pytestmark = pytest.mark.process

FAKES = Path(__file__).parents[2] / "fakes"
TOKEN = "a token for the tests"
PATIENCE_S = 30


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", str(FAKES / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def asked(master: subprocess.Popen[str], enlist: str = "") -> dict[str, Any]:
    assert master.stdin is not None
    assert master.stdout is not None
    master.stdin.write(f"{enlist}\n")
    master.stdin.flush()
    reported: dict[str, Any] = json.loads(master.stdout.readline())
    return reported


@contextmanager
def guarded_master() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """And its port."""
    with started("locust_master.py", TOKEN) as master:
        assert master.stdin is not None
        assert master.stdout is not None
        try:
            yield master, int(master.stdout.readline())
            master.stdin.close()
            assert master.wait(PATIENCE_S) == 0
        finally:
            master.kill()


def test_without_the_token_nobody_is_listed_or_received_and_nothing_is_given_to_them() -> None:
    with (
        guarded_master() as (master, port),
        FakeLoadWorker(port, None, pid=1) as without,
        FakeLoadWorker(port, "another token for the tests", pid=2) as wrong,
        FakeLoadWorker(port, TOKEN, pid=3) as right,
    ):
        with started("plain_locust_worker.py", str(port)) as plain:
            assert plain.communicate(timeout=PATIENCE_S)[0] == "not let in\n"
        wait_until(lambda: right.received)
        wait_until(lambda: asked(master)["heard"])
        assert asked(master) == {"listed": {}, "heard": [["fake_elsewhere_3", "report"]]}  # its Hello
        assert without.received == wrong.received == []


def test_locust_drops_nobody_for_want_of_its_heartbeats() -> None:
    with guarded_master() as (master, port), FakeLoadWorker(port, TOKEN, pid=3) as worker:
        wait_until(lambda: worker.received)
        assert asked(master, enlist="fake_elsewhere_3")["listed"] == {"fake_elsewhere_3": "ready"}
        assert worker.received == ["ack"]


def test_what_is_long_comes_in_pieces_and_is_received_whole() -> None:
    with guarded_master() as (master, port), FakeLoadWorker(port, TOKEN, pid=3) as worker:
        worker.send("rows", bytes(3 * MAX_FRAME_BYTES))
        wait_until(lambda: ["fake_elsewhere_3", "rows"] in asked(master)["heard"])


def test_what_nobody_has_read_yet_does_not_fill_the_memory() -> None:
    """Whoever says more waits, as TCP has it."""
    with started("deaf_master.py", TOKEN) as deaf, zmq.Context() as context, context.socket(zmq.DEALER) as worker:
        assert deaf.stdout is not None
        worker.linger, worker.sndhwm = 0, 10
        secure_worker_socket(worker, TOKEN)
        worker.connect(f"tcp://127.0.0.1:{int(deaf.stdout.readline())}")
        said = 0
        while worker.poll(1_000, zmq.POLLOUT):
            worker.send(bytes(MAX_FRAME_BYTES))
            said += MAX_FRAME_BYTES
            assert said < 2**29
        deaf.kill()


@pytest.mark.timing
@pytest.mark.timeout(20)
def test_one_who_never_stops_talking_does_not_keep_the_master_from_its_work() -> None:
    with guarded_master() as (master, port), FakeLoadWorker(port, TOKEN, floods=True):
        wait_until(lambda: len(asked(master)["heard"]) > 1_000)
        before_s = time.monotonic()
        asked(master)
        assert time.monotonic() - before_s < 2
