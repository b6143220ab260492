"""Workers on two hosts, each with its own network and monotonic clock, for a run on a third host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sizewise as notebook
from loadgen.arrivals import compute_offsets_ns
from loadgen.records import OpenArrivals
from tests.fakes.forked import NAMESPACES, ForkedProcess
from tests.fakes.hosts import Host, Network, network
from tests.fakes.processes import children_of
from tests.fakes.program import SIZEWISE, Sizewise, wait_until

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
PORT = 5557
TOKEN, WRONG_TOKEN = "a secret of both sides", "a secret of one side only"
POISSON = "load.stages=[{name: steady, arrivals: poisson, rate: 200/s, duration: 2s}]"
THREE_STAGES = (
    "load.stages=[{name: first, arrivals: constant, rate: 150/s, duration: 30s}, "
    "{name: second, arrivals: constant, rate: 150/s, duration: 30s}, "
    "{name: third, arrivals: constant, rate: 100/s, duration: 1s}]"
)


class Target:
    """A server on the first host that reports when it received requests, by the clock of that host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._process = subprocess.Popen(
            [*host.enter, sys.executable, "-m", "tests.fakes.lan_server", host.address, "0.002"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.place = f"{host.address}:{int(self._process.stdout.readline())}"

    def received_ns(self) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        received: list[int] = json.loads(self._process.stdout.readline())
        return received

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network]:
    try:
        networks = network(1_000, 86_400)
        entered = networks.__enter__()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT VERIFIED: this system does not permit the test to create networks ({error})")
    yield entered
    networks.__exit__(None, None, None)


@pytest.fixture
def target(hosts: Network) -> Iterator[Target]:
    server = Target(hosts.first)
    yield server
    server.close()


@contextmanager
def started(sizewise: Sizewise, host: Host, *arguments: str, token: str = TOKEN) -> Iterator[subprocess.Popen[str]]:
    """Run `sizewise` on that host, with its output in a file of the host's name."""
    environment = {"SIZEWISE_HOME": str(sizewise.home), "SIZEWISE_TOKEN": token, NAMESPACES: host.namespaces}
    with (sizewise.cwd / f"{host.name}.err").open("w") as output:
        process = ForkedProcess(
            [SIZEWISE, *arguments],
            cwd=sizewise.cwd,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def running(sizewise: Sizewise, hosts: Network, profile: str, stages: str, workers: int) -> Iterator[Any]:
    options = ("--set", stages, "--remote-workers", str(workers), "--bind", f"{hosts.first.address}:{PORT}")
    with started(sizewise, hosts.first, "run", profile, *options, "--out", "run") as run:
        message = f"waiting for {workers} workers"
        wait_until(lambda: message in read_output(sizewise, hosts.first) or run.poll() is not None)
        assert run.poll() is None, read_output(sizewise, hosts.first)
        yield run


@contextmanager
def run_worker(sizewise: Sizewise, hosts: Network, host: Host, workers: int = 1) -> Iterator[subprocess.Popen[str]]:
    options = ("--master", f"{hosts.first.address}:{PORT}", "--workers", str(workers))
    with started(sizewise, host, "worker", *options) as lent:
        yield lent


def read_output(sizewise: Sizewise, host: Host) -> str:
    return (sizewise.cwd / f"{host.name}.err").read_text()


def check(stage: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in stage["checks"] if row["id"] == name)


def ended_ns(run: Path, stage: int) -> int | None:
    """When the engine finished the stage; None while it is running."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    ends = (
        event_record
        for event_record in events
        if event_record["type"] == "stage_finished" and event_record["index"] == stage
    )
    return next((int(event_record["at_ns"]) for event_record in ends), None)


@pytest.mark.timing
def test_two_hosts_send_one_schedule_and_unauthorized_clients_are_rejected(
    sizewise: Sizewise, profile: Callable[..., str], tmp_path: Path, hosts: Network, target: Target
) -> None:
    first, (second, third) = hosts.first, hosts.others
    with running(sizewise, hosts, profile(f"http://{target.place}/"), POISSON, 2) as run:
        assert first.listening() == {f"{first.address}:{PORT}", target.place}
        strangers = [*second.enter, sys.executable, "-m", "tests.fakes.unauthorized_client", first.address, str(PORT)]
        attempts = subprocess.run(strangers, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (attempts.stdout, attempts.stderr) == ("0\n", "")
        options = ("worker", "--master", f"{first.address}:{PORT}", "--workers", "1", "--wait", "1s")
        with started(sizewise, second, *options, token=WRONG_TOKEN) as wrong:
            assert wrong.wait(60) == 3
        assert "not a master with the same token" in read_output(sizewise, second)
        assert "has joined" not in read_output(sizewise, first)
        with run_worker(sizewise, hosts, second) as second_worker, run_worker(sizewise, hosts, third) as third_worker:
            assert run.wait(60) in (0, 4), read_output(sizewise, first)  # 4: the machine was busy
            assert (second_worker.wait(60), third_worker.wait(60)) == (0, 0)
    assert "1 worker joined" in read_output(sizewise, third)
    assert "the run has ended" in read_output(sizewise, third)
    result = sizewise.result(tmp_path / "run")
    (stage,) = result["stages"]
    assert (check(stage, "workers")["value"], check(stage, "workers")["verdict"]) == ("2 of 2", "VALID")
    assert [worker["host"] for worker in stage["workers"]] == ["host2", "host3"]
    residual_ms = check(stage, "worker_clocks")["value"]
    assert 0 < residual_ms < 50
    assert "2 workers on 2 hosts (host2: 1, host3: 1)" in (tmp_path / "run" / "report.html").read_text()

    requests = notebook.open_run(tmp_path / "run").requests.sort_values("index")
    start_ns = stage["window"]["start_ns"]
    expected = start_ns + compute_offsets_ns(OpenArrivals("poisson", ((0.0, 200.0),)), 2.0, 0.0, 7_000)
    assert np.abs(requests["scheduled_ns"].to_numpy() - expected).max() < 1_000, "a microsecond, by rounding"
    received = np.sort([at_ns for at_ns in target.received_ns() if at_ns > start_ns])
    underway_ns = received - np.sort(requests["sent_ns"].to_numpy())
    assert underway_ns.min() > -residual_ms * 1e6, "nothing was received before it was sent"
    assert underway_ns.max() < requests["end_ns"].sub(requests["sent_ns"]).max() + residual_ms * 1e6


@pytest.mark.soak  # on one host, tests/loadgen/master/test_main loses workers in the same ways
def test_lost_workers_invalidate_stage_and_remaining_workers_continue(
    sizewise: Sizewise, profile: Callable[..., str], tmp_path: Path, hosts: Network, target: Target
) -> None:
    first, (second, third) = hosts.first, hosts.others
    directory, suspended = tmp_path / "run", None
    with (
        running(sizewise, hosts, profile(f"http://{target.place}/"), THREE_STAGES, 3) as run,
        run_worker(sizewise, hosts, second, workers=2) as second_workers,
        run_worker(sizewise, hosts, third) as third_worker,
    ):
        wait_until(lambda: len(target.received_ns()) > 10 or run.poll() is not None)
        hosts.disconnect(third)
        cut_ns = time.perf_counter_ns()
        try:
            assert third_worker.wait(30) == 4
            wait_until(lambda: ended_ns(directory, 0) is not None)
            before = len(target.received_ns())
            wait_until(lambda: len(target.received_ns()) > before + 10)
            suspended = children_of(second_workers.pid)[-1]
            os.kill(suspended, signal.SIGSTOP)
            stopped_ns = time.perf_counter_ns()
            assert run.wait(90) == 4, read_output(sizewise, first)
        finally:
            hosts.reconnect(third)
            if suspended is not None:
                os.kill(suspended, signal.SIGCONT)
        assert second_workers.wait(30) in (0, 4)
    assert (ended_ns(directory, 0) or cut_ns) - cut_ns < 3e9
    assert (ended_ns(directory, 1) or stopped_ns) - stopped_ns < 3e9
    stages = sizewise.result(directory)["stages"]
    worker_checks = [check(stage, "workers") for stage in stages]
    assert [(worker_check["value"], worker_check["verdict"]) for worker_check in worker_checks] == [
        ("2 of 3", "INVALID"), ("1 of 2", "INVALID"), ("1 of 1", "VALID"),
    ]  # fmt: skip
    assert "on host3 was disconnected" in worker_checks[0]["hint"]
    assert "on host2 was disconnected" in worker_checks[1]["hint"]
    assert stages[2]["completed"] == 100
