"""The master as a process, with workers that are processes or fakes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest

from loadgen.arrivals import compute_offsets_ns
from loadgen.child import start_module
from loadgen.frames import encode_message_frame, read_report
from loadgen.process import LoadError, LoadProcess
from loadgen.records import (
    BATCH_ROWS,
    Configure,
    Endpoint,
    Gather,
    Joining,
    OpenArrivals,
    Progress,
    Quit,
    Ready,
    RunStage,
    StageStarted,
)
from loadgen.reference.scripted import Script, ScriptedServer
from loadgen.workloads import HttpWorkload
from tests.fakes.load_worker import FakeLoadWorker
from tests.fakes.processes import free_port, is_running
from tests.fakes.program import wait_until
from tests.fakes.sockets import listening_of
from tests.fakes.stage_run import StageRun, plan

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("forked_workers")]

TOKEN = "a token for the tests"
EXIT_TIMEOUT_S = 5.0
LOSS_TIMEOUT_S = 3.0


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(Script(), stores_requests=False) as server:
        yield server


@pytest.fixture(scope="module")
def load(server: ScriptedServer, forked_workers: None) -> Iterator[LoadProcess]:
    with LoadProcess(gather=Gather(local_workers=3)) as load:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        yield load


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[1:-1]


def gather_fake_workers(port: int, count: int = 2) -> LoadProcess:
    return LoadProcess(gather=Gather("127.0.0.1", port, TOKEN, local_workers=0, remote_workers=count, wait_s=20))


def test_three_workers_send_same_schedule_as_one_worker(load: LoadProcess) -> None:
    stage = plan(500, 1.5, "poisson", lead_in_s=0.5)
    stage_run = StageRun(load, stage)
    (started,) = stage_run.started
    assert isinstance(stage.load.arrivals, OpenArrivals)
    offsets = compute_offsets_ns(stage.load.arrivals, stage.load.duration_s, stage.load.lead_in_s, stage.seed)
    rows = stage_run.rows.sort_values("index")
    assert np.array_equal(rows["index"], np.arange(len(offsets)))
    assert np.array_equal(rows["scheduled_ns"], started.start_ns + offsets)
    assert np.array_equal(rows["worker"], rows["index"] % 3)
    assert rows["error"].isna().all()
    assert max(batch.num_rows for batch in stage_run.batches) <= BATCH_ROWS
    assert started.scheduled == stage_run.ended.scheduled == len(offsets)
    ended = stage_run.ended
    assert [(result.worker, result.pid) for result in ended.workers] == [
        (worker.index, worker.pid) for worker in load.workers
    ]
    assert sum(result.sent for result in ended.workers) == len(offsets)
    assert ended.cpu_s == pytest.approx(sum(result.cpu_s for result in ended.workers))
    assert [(result.lost_ns, result.clock_residual_ms) for result in ended.workers] == [(None, None)] * 3
    last_progress = stage_run.progress[-1]
    assert last_progress.sent == last_progress.completed + last_progress.failed + (last_progress.in_flight or 0)


def test_preflight_sends_one_request_per_host(load: LoadProcess, server: ScriptedServer) -> None:
    requests_before = len(server.received_ns)
    preflight = load.preflight()
    assert preflight.error is None
    assert preflight.end_ns is not None
    assert len(server.received_ns) == requests_before + 1


@pytest.mark.timing
def test_stop_and_rate_change_apply_to_all_workers_at_once(load: LoadProcess) -> None:
    def schedule_commands() -> None:
        threading.Timer(0.5, load.change_rate, (600.0,)).start()
        threading.Timer(1.4, load.stop, (True,)).start()

    stage_run = StageRun(load, plan(100, 30), on_started=schedule_commands)
    (started,) = stage_run.started
    # until the first worker stopped
    until_ns = stage_run.rows.groupby("worker")["scheduled_ns"].max().min()
    offsets = np.sort(stage_run.rows["scheduled_ns"][stage_run.rows["scheduled_ns"] <= until_ns]) - started.start_ns
    assert stage_run.ended.stopped_early
    (_, initial_rate), (at_s, rate_until_change), (changed_s, rate_after_change), *_ = stage_run.ended.rates
    assert (initial_rate, rate_until_change, rate_after_change) == (100.0, 100.0, 600.0)
    assert at_s == changed_s
    offsets_after_change = offsets[offsets > at_s * 1e9]
    assert len(offsets[offsets <= at_s * 1e9]) == pytest.approx(at_s * 100, abs=2)
    assert np.diff(offsets_after_change).max() < 1.1e9 / 600  # all three changed at one moment


@pytest.mark.timing
def test_extension_applies_to_all_workers_without_missed_arrival(load: LoadProcess) -> None:
    extend = threading.Timer(0.3, load.extend, (2.0,))
    stage_run = StageRun(load, plan(300, 1.2), on_started=extend.start)
    offsets = np.sort(stage_run.rows["scheduled_ns"]) - stage_run.ended.start_ns
    assert stage_run.ended.duration_s == 2.0
    assert np.diff(offsets) == pytest.approx(1e9 / 300, abs=2)
    assert len(offsets) == 600
    assert sorted(stage_run.rows["index"]) == list(range(600))
    assert stage_run.rows["worker"].nunique() == len(load.workers)


@pytest.mark.timing
def test_stop_without_drain_ends_stage_within_5_s(load: LoadProcess) -> None:
    with ScriptedServer(Script(delay_s=20)) as slow:
        load.configure(Endpoint((slow.url,)), HttpWorkload())
        began_s = time.monotonic()
        stage_run = StageRun(load, plan(50, 30), continues=False)
    assert time.monotonic() - began_s < 5
    assert set(stage_run.rows["error"]) <= {"timeout"}
    assert stage_run.ended.stopped_early


def test_only_master_listens_and_only_on_loopback(load: LoadProcess) -> None:
    (address,) = listening_of([load.pid, *(worker.pid for worker in load.workers)])
    assert address.startswith("127.0.0.1:")


@pytest.mark.usefixtures("unforked")
def test_generated_worker_token_is_in_no_command_line() -> None:
    with LoadProcess(gather=Gather(local_workers=2)) as load:
        lines = [command_line(pid) for pid in (load.pid, *(worker.pid for worker in load.workers))]
    assert lines == [["-P", "-m", "loadgen.master"], *[["-P", "-m", "loadgen.worker", "--join"]] * 2]


@pytest.mark.timing
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_lost_worker_is_detected_within_3_s_and_other_worker_continues(
    server: ScriptedServer, signal_number: signal.Signals
) -> None:
    with LoadProcess(gather=Gather(local_workers=2)) as load:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        victim, survivor = load.workers
        killed_ns: list[int] = []

        def kill_worker(progress: Progress) -> bool:
            if progress.sent > 100 and not killed_ns:
                killed_ns.append(time.perf_counter_ns())
                os.kill(victim.pid, signal_number)
            return True

        ended = load.run_stage(plan(200, 60), lambda _: None, lambda _: None, kill_worker)
        lost, survived = ended.workers
        assert ended.end_ns - killed_ns[0] < LOSS_TIMEOUT_S * 1e9
        assert lost.lost_ns is not None
        assert abs(lost.lost_ns - killed_ns[0]) < 0.5e9
        assert (survived.lost_ns, survived.pid) == (None, survivor.pid)
        assert 0 < lost.sent < survived.sent
        wait_until(lambda: not is_running(victim.pid))
        next_stage = StageRun(load, plan(200, 0.5))
        assert set(next_stage.rows["worker"]) == {survivor.index}
        assert sorted(next_stage.rows["index"]) == list(range(100))
        assert [result.worker for result in next_stage.ended.workers] == [survivor.index]


def test_master_fails_when_all_workers_are_lost(server: ScriptedServer) -> None:
    with LoadProcess(gather=Gather(local_workers=1)) as load:
        load.configure(Endpoint((server.url,)), HttpWorkload())
        threading.Timer(0.5, os.kill, (load.workers[0].pid, signal.SIGKILL)).start()
        with pytest.raises(LoadError, match="the load worker was lost") as error:
            StageRun(load, plan(200, 60))
    assert "was killed by SIGKILL" in str(error.value.hint)


@pytest.mark.timing
def test_worker_times_are_converted_to_master_clock() -> None:
    port, hour_ns = free_port(), 3_600 * 10**9
    with (
        FakeLoadWorker(port, TOKEN, pid=1, ahead_ns=hour_ns, drift=50e-6),
        FakeLoadWorker(port, TOKEN, pid=2, ahead_ns=-hour_ns, drift=-50e-6),
        gather_fake_workers(port) as load,
    ):
        stage_run = StageRun(load, plan(100, 1))
        now_ns = time.perf_counter_ns()
    (started,) = stage_run.started
    assert 0 < now_ns - started.start_ns + 1e9 < 5e9
    rows = stage_run.rows
    assert len(rows) == 100
    scheduled = rows["scheduled_ns"] - (started.start_ns + rows["index"] * 10_000_000)
    assert abs(scheduled).max() < 200_000  # a clock that gains 50 ppm is 50 µs off after the second
    assert ((rows["sent_ns"] - rows["scheduled_ns"]) / 1e6).to_numpy() == pytest.approx(0.3, abs=0.001)
    assert (rows["chunk_ns"].str[0] - rows["scheduled_ns"] == 1_000_000).mean() > 0.9
    for result in stage_run.ended.workers:
        assert result.clock_residual_ms is not None
        assert 0 < result.clock_residual_ms < 20
        assert result.sent == 50
        assert result.max_lag_ms == pytest.approx(0.3)


def test_workers_without_token_or_beyond_expected_count_are_rejected() -> None:
    port = free_port()
    joinings: list[Joining] = []
    with (
        FakeLoadWorker(port, None, pid=6) as without,
        FakeLoadWorker(port, "another token for the tests", pid=7) as wrong,
        FakeLoadWorker(port, TOKEN, pid=8),
        LoadProcess(
            gather=Gather("127.0.0.1", port, TOKEN, local_workers=0, remote_workers=1), on_joining=joinings.append
        ) as load,
        FakeLoadWorker(port, TOKEN, pid=9) as late,
    ):
        late.wait_for_command(Quit)
        assert [worker.pid for worker in load.workers] == [8]
        assert without.received == wrong.received == []
    assert joinings[0] == Joining(f"127.0.0.1:{port}", 0, 1)
    assert joinings[-1] == Joining(f"127.0.0.1:{port}", 1, 1)


GARBAGE = [
    b"",
    b"\xff\xff\xff",
    b"\x91" * 3_000,
    *map(
        msgpack.packb,
        [
            1,
            ("report",),
            ("report", None, "x"),
            ("report", "text", "x"),
            ("report", b"\xc1", "x"),
            ("rows", b"garbage", "x"),
            ("rows", {"__datetime__": True, "as_str": "never"}, "x"),
            ("spawning_complete", {"user_classes_count": {"ArrivalUser": "many"}}, "x"),
            ("client_ready", 5, "x"),
            ("heartbeat", None, "x"),
            ("locustfile", {}, "x"),
            (b"\xff", b"", b"\xff"),
            ({}, [], {}),
        ],
    ),
]


def test_garbage_from_worker_with_token_evicts_only_that_worker() -> None:
    port = free_port()
    with (
        FakeLoadWorker(port, TOKEN, pid=1),
        FakeLoadWorker(port, TOKEN, pid=2, ends_stages=False) as hostile,
        gather_fake_workers(port) as load,
    ):

        def send_garbage() -> None:
            for message in GARBAGE:
                hostile.send_bytes(message)

        stage_run = StageRun(load, plan(100, 5), on_started=threading.Timer(0.5, send_garbage).start)
        hostile.wait_for_command(Quit)
        send_garbage()
        next_stage = StageRun(load, plan(100, 1))
    assert [result.lost_ns is None for result in stage_run.ended.workers] == [True, False]
    assert [(result.worker, result.lost_ns) for result in next_stage.ended.workers] == [(0, None)]
    assert len(next_stage.rows) == 100


@pytest.mark.parametrize(
    ("gather", "message"),
    [
        (Gather("192.0.2.1", 0, TOKEN, local_workers=1), "192.0.2.1:0 is not an address of this machine"),
        (Gather("0.0.0.0", local_workers=1), "a token is required"),
        (Gather("127.0.0.1", 0, "short", local_workers=1), "too short"),
    ],
)
def test_invalid_listen_address_or_token_is_reported_as_invalid_workload(gather: Gather, message: str) -> None:
    with pytest.raises(LoadError, match=message) as error:
        LoadProcess(gather=gather)
    assert error.value.is_workload_invalid


def test_port_in_use_is_reported(load: LoadProcess) -> None:
    (address,) = listening_of([load.pid])
    with pytest.raises(LoadError, match=f"{address} is already in use") as error:
        LoadProcess(gather=Gather("127.0.0.1", int(address.rpartition(":")[2]), local_workers=1))
    assert error.value.is_workload_invalid
    assert error.value.hint


def start_master_with_stage(server: ScriptedServer) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start a master and a stage; return the master and the PIDs of its workers."""
    master = start_module("loadgen.master", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert master.stdin is not None
    assert master.stdout is not None
    for command in (
        Gather(local_workers=2),
        Configure(Endpoint((server.url,)), HttpWorkload()),
        RunStage(plan(100, 60)),
    ):
        master.stdin.write(encode_message_frame(command))
        master.stdin.flush()
        if isinstance(command, Gather):
            ready = read_report(master.stdout)
            assert isinstance(ready, Ready)
            pids = [worker.pid for worker in ready.workers]
    assert isinstance(read_report(master.stdout), StageStarted)
    return master, pids


@pytest.mark.timing
@pytest.mark.parametrize("killed", ["engine", "master"])
def test_workers_exit_when_engine_or_master_exits(server: ScriptedServer, killed: str) -> None:
    master, workers = start_master_with_stage(server)
    with master:
        os.kill(workers[0], signal.SIGSTOP)  # a suspended worker must exit, too
        start_s = time.monotonic()
        if killed == "master":
            os.kill(workers[0], signal.SIGCONT)
            master.kill()
        elif master.stdin is not None:
            master.stdin.close()  # like an exit of the engine
        master.wait(EXIT_TIMEOUT_S)
        wait_until(lambda: not any(map(is_running, workers)), within_s=EXIT_TIMEOUT_S)
        assert time.monotonic() - start_s < EXIT_TIMEOUT_S
