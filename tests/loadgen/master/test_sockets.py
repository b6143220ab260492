"""Locust's master with the worker channel, in a process of its own, because Locust must not be imported here."""

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
TIMEOUT_S = 30


def start_fake(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", str(FAKES / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def query_master(master: subprocess.Popen[str], enlist: str = "") -> dict[str, Any]:
    assert master.stdin is not None
    assert master.stdout is not None
    master.stdin.write(f"{enlist}\n")
    master.stdin.flush()
    state: dict[str, Any] = json.loads(master.stdout.readline())
    return state


@contextmanager
def master_with_token() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a master that requires the token, and its port."""
    with start_fake("locust_master.py", TOKEN) as master:
        assert master.stdin is not None
        assert master.stdout is not None
        try:
            yield master, int(master.stdout.readline())
            master.stdin.close()
            assert master.wait(TIMEOUT_S) == 0
        finally:
            master.kill()


def test_workers_without_token_are_not_listed_and_exchange_no_messages() -> None:
    with (
        master_with_token() as (master, port),
        FakeLoadWorker(port, None, pid=1) as without,
        FakeLoadWorker(port, "another token for the tests", pid=2) as wrong,
        FakeLoadWorker(port, TOKEN, pid=3) as valid,
    ):
        with start_fake("plain_locust_worker.py", str(port)) as plain:
            assert plain.communicate(timeout=TIMEOUT_S)[0] == "not let in\n"
        wait_until(lambda: valid.received)
        wait_until(lambda: query_master(master)["received"])
        assert query_master(master) == {"listed": {}, "received": [["fake_elsewhere_3", "report"]]}  # its Hello
        assert without.received == wrong.received == []


def test_enlisted_worker_is_listed_as_ready_and_acknowledged() -> None:
    with master_with_token() as (master, port), FakeLoadWorker(port, TOKEN, pid=3) as worker:
        wait_until(lambda: worker.received)
        assert query_master(master, enlist="fake_elsewhere_3")["listed"] == {"fake_elsewhere_3": "ready"}
        assert worker.received == ["ack"]


def test_master_receives_message_of_three_frames() -> None:
    with master_with_token() as (master, port), FakeLoadWorker(port, TOKEN, pid=3) as worker:
        worker.send("rows", bytes(3 * MAX_FRAME_BYTES))
        wait_until(lambda: ["fake_elsewhere_3", "rows"] in query_master(master)["received"])


def test_sending_worker_is_blocked_while_master_does_not_read() -> None:
    """TCP flow control blocks the sender."""
    with (
        start_fake("unresponsive_master.py", TOKEN) as deaf,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as worker,
    ):
        assert deaf.stdout is not None
        worker.linger, worker.sndhwm = 0, 10
        secure_worker_socket(worker, TOKEN)
        worker.connect(f"tcp://127.0.0.1:{int(deaf.stdout.readline())}")
        sent_bytes = 0
        while worker.poll(1_000, zmq.POLLOUT):
            worker.send(bytes(MAX_FRAME_BYTES))
            sent_bytes += MAX_FRAME_BYTES
            assert sent_bytes < 2**29
        deaf.kill()


@pytest.mark.timing
@pytest.mark.timeout(20)
def test_flooding_worker_does_not_block_master() -> None:
    with master_with_token() as (master, port), FakeLoadWorker(port, TOKEN, floods=True):
        wait_until(lambda: len(query_master(master)["received"]) > 1_000)
        before_s = time.monotonic()
        query_master(master)
        assert time.monotonic() - before_s < 2
