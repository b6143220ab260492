import os
import select
import signal
import subprocess
from collections.abc import Iterator
from time import monotonic, perf_counter_ns

import pandas as pd
import pyarrow as pa
import pytest

from loadgen.child import start_module
from loadgen.curve import MAX_FRAME_BYTES
from loadgen.frames import encode_message_frame, read_report
from loadgen.machine import get_clock_id
from loadgen.records import (
    BATCH_ROWS,
    EXIT_MASTER_LOST,
    EXIT_NO_MASTER,
    EXIT_REJECTED,
    REQUEST_SCHEMA,
    WIRE_VERSION,
    Configure,
    Endpoint,
    Failed,
    Hello,
    Join,
    KeyFile,
    Ping,
    Pong,
    Preflight,
    PreflightDone,
    Progress,
    Quit,
    Ready,
    RunStage,
    StageEnded,
    StagePlan,
    StagePrepared,
    StageStarted,
    StartStage,
    WorkerShare,
)
from loadgen.reference.scripted import Script, ScriptedServer
from loadgen.sanitizing import sanitize_text
from loadgen.workloads import HttpWorkload
from tests.fakes.bare_master import TOKEN, BareMaster
from tests.fakes.processes import free_port
from tests.fakes.stage_run import plan

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("forked_workers")]


class JoinedWorker:
    """A worker process that joins a master. It reports that it is ready after its first ping."""

    def __init__(self, join: Join) -> None:
        self.child = start_module("loadgen.worker", "--join", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.child.stdin is not None
        self.child.stdin.write(encode_message_frame(join))
        self.child.stdin.flush()

    def __enter__(self) -> "JoinedWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.__exit__(None, None, None)

    def wait_for_exit(self, within_s: float) -> tuple[int, str]:
        assert self.child.stderr is not None
        exit_code = self.child.wait(within_s)
        return exit_code, self.child.stderr.read().decode()


@pytest.fixture
def master() -> Iterator[BareMaster]:
    with BareMaster() as master:
        yield master


@pytest.fixture
def worker(master: BareMaster) -> Iterator[JoinedWorker]:
    with JoinedWorker(Join("127.0.0.1", master.port, TOKEN)) as worker:
        master.accept()
        yield worker


def start_stage(master: BareMaster, url: str, stage_plan: StagePlan) -> StageStarted:
    master.send_commands(Configure(Endpoint((url,)), HttpWorkload()), RunStage(stage_plan, WorkerShare(1, 2)))
    master.receive(StagePrepared)
    master.send_commands(StartStage(stage_plan.index, perf_counter_ns() + 100_000_000))
    return master.receive(StageStarted)


def test_hello_of_worker_precedes_first_ping_and_identifies_worker(master: BareMaster) -> None:
    join = Join("127.0.0.1", master.port, TOKEN, capacity_per_s=900.0, chunk_capacity_per_s=8_000.0)
    with JoinedWorker(join) as worker:
        master.pings = False
        master.accept()
        hello = master.receive(Hello)
        assert master.reports == [hello]
        assert (hello.protocol_version, hello.pid, hello.clock) == (WIRE_VERSION, worker.child.pid, get_clock_id())
        assert (hello.capacity_per_s, hello.chunk_capacity_per_s) == (900.0, 8_000.0)
        assert hello.host == os.uname().nodename
        assert worker.child.stdout is not None
        assert not select.select([worker.child.stdout], [], [], 0)[0]
        master.send_commands(Ping(1))
        assert master.receive(Pong).sent_ns == 1
        ready = read_report(worker.child.stdout)
        assert isinstance(ready, Ready)
        assert ready.pid == hello.pid


def test_worker_sends_its_share_of_stage_for_master(master: BareMaster, worker: JoinedWorker) -> None:
    master.spawn()
    with ScriptedServer(Script()) as server:
        master.send_commands(Configure(Endpoint((server.url,)), HttpWorkload()), Preflight())
        assert master.receive(PreflightDone).error is None
        started = start_stage(master, server.url, plan(rate=2_000, duration=1))
        ended = master.receive(StageEnded)
    rows: pd.DataFrame = pa.Table.from_batches(master.batches, REQUEST_SCHEMA).to_pandas()
    assert max(batch.num_rows for batch in master.batches) <= BATCH_ROWS
    assert sorted(rows["index"]) == list(range(1, 2_000, 2))
    assert (rows["scheduled_ns"] == started.start_ns + rows["index"] * 500_000).all()
    assert set(rows["worker"]) == {1}
    assert ended.scheduled == len(rows) == 1_000
    assert master.kinds.count("rows") == len(master.batches)
    master.send_commands(Quit())
    assert worker.wait_for_exit(5) == (0, "")


def test_stage_waits_for_spawn_command_regardless_of_wall_clock(master: BareMaster, worker: JoinedWorker) -> None:
    with ScriptedServer(Script()) as server:
        master.send_commands(Configure(Endpoint((server.url,)), HttpWorkload()), RunStage(plan(duration=0.1)))
        master.send_commands(Preflight())
        master.spawn(timestamp=-3_600.0)
        master.receive(StagePrepared)
        master.spawn(timestamp=-7_200.0)
        master.send_commands(StartStage(3, perf_counter_ns()))
        assert master.receive(StageEnded).scheduled == 20
        assert master.receive(PreflightDone).error is None
    assert master.kinds.count("spawning_complete") == 2


@pytest.mark.timing
def test_pings_are_answered_promptly_during_stage(master: BareMaster, worker: JoinedWorker) -> None:
    master.spawn()
    master.pings = False
    with ScriptedServer(Script()) as server:
        start_stage(master, server.url, plan(rate=4_000, duration=1, process="poisson"))
        round_trips_ms = []
        while not any(isinstance(report, StageEnded) for report in master.reports):
            sent_ns = perf_counter_ns()
            master.send_commands(Ping(sent_ns))
            pong = master.receive(Pong)
            assert pong.sent_ns == sent_ns
            assert sent_ns < pong.at_ns < perf_counter_ns()
            round_trips_ms.append((perf_counter_ns() - sent_ns) / 1e6)
    assert len(round_trips_ms) > 20
    assert min(round_trips_ms) < 5


def test_wrong_token_exits_without_master_and_is_not_printed(master: BareMaster) -> None:
    wrong_token = "a token that only one of them knows"
    with JoinedWorker(Join("127.0.0.1", master.port, wrong_token, wait_s=1.0)) as worker:
        exit_code, stderr = worker.wait_for_exit(20)
    master.listen()
    assert master.kinds == []
    assert exit_code == EXIT_NO_MASTER
    assert f"127.0.0.1:{master.port}" in stderr
    assert "not a master with the same token" in stderr
    assert "token that" not in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid", "::1"])
def test_unreachable_master_exits_with_no_master(host: str) -> None:
    with JoinedWorker(Join(host, free_port(), TOKEN, wait_s=0.5)) as worker:
        exit_code, stderr = worker.wait_for_exit(20)
    assert (exit_code, stderr.splitlines()[-1].startswith("no master was found at ")) == (EXIT_NO_MASTER, True)
    assert host in stderr


def test_worker_waits_for_master_that_starts_later() -> None:
    port = free_port()
    with JoinedWorker(Join("127.0.0.1", port, TOKEN)):
        with BareMaster(token="a stranger that had the port first", port=port) as stranger:
            stranger.listen()
        with BareMaster(port=port) as master:
            master.accept()
            assert master.receive(Hello).protocol_version == WIRE_VERSION
            assert master.kinds.count("client_ready") == 1


@pytest.mark.timing
def test_sending_worker_exits_5_s_after_silence_of_master_and_idle_worker_waits(
    master: BareMaster, worker: JoinedWorker
) -> None:
    master.spawn()
    with (
        ScriptedServer(Script()) as server,
        BareMaster() as other_master,
        JoinedWorker(Join("127.0.0.1", other_master.port, TOKEN)) as idle,
    ):
        start_stage(master, server.url, plan(rate=20, duration=60))
        other_master.accept()
        other_master.pings = False
        other_master.send_commands(Ping(1))
        other_master.receive(Pong)
        master.receive(Progress)
        master.send_commands(Ping(perf_counter_ns()))
        silent_s = monotonic()
        exit_code, stderr = worker.wait_for_exit(10)
        left_s = monotonic()
        sent = len(server.requests)
        other_master.send_commands(Ping(2))
        assert other_master.receive(Pong).sent_ns == 2
        assert idle.child.poll() is None
    assert 3.5 < left_s - silent_s < 5
    assert sent < 200
    assert (exit_code, "so this worker stops" in stderr) == (EXIT_MASTER_LOST, True)


def test_evicted_worker_exits_when_resumed(master: BareMaster, worker: JoinedWorker) -> None:
    master.spawn()
    with ScriptedServer(Script()) as server:
        start_stage(master, server.url, plan(rate=20, duration=60))
        master.receive(Progress)
        os.kill(worker.child.pid, signal.SIGSTOP)
        master.send_commands(Quit("it did not respond"))
        os.kill(worker.child.pid, signal.SIGCONT)
        assert worker.wait_for_exit(5)[0] == EXIT_REJECTED


@pytest.mark.timing
def test_worker_exits_when_master_has_ended() -> None:
    with (
        ScriptedServer(Script()) as server,
        BareMaster() as master,
        JoinedWorker(Join("127.0.0.1", master.port, TOKEN)) as worker,
    ):
        master.accept()
        master.spawn()
        start_stage(master, server.url, plan(rate=20, duration=60))
        master.close()
        exit_code, stderr = worker.wait_for_exit(3)
    assert (exit_code, "was lost, so this worker stops" in stderr) == (EXIT_MASTER_LOST, True)


def test_worker_exits_when_stdin_closes(master: BareMaster, worker: JoinedWorker) -> None:
    assert worker.child.stdin is not None
    worker.child.stdin.close()
    assert worker.child.wait(30) == 0


def test_worker_exits_when_stdin_closes_before_connection_to_master() -> None:
    with JoinedWorker(Join("127.0.0.1", free_port(), TOKEN)) as worker:
        assert worker.child.stdin is not None
        worker.child.stdin.close()
        assert worker.child.wait(30) == 0


def test_invalid_workload_is_reported_to_master_before_exit(master: BareMaster, worker: JoinedWorker) -> None:
    master.send_commands(Configure(Endpoint(("ftp://nowhere",)), HttpWorkload()))
    assert master.receive(Failed).is_workload_invalid
    assert worker.wait_for_exit(5) == (1, "")


def test_error_in_stage_is_reported_to_master_before_exit(master: BareMaster, worker: JoinedWorker) -> None:
    master.spawn()
    master.send_commands(Configure(Endpoint(("http://nowhere.invalid",)), HttpWorkload()), RunStage(plan()))
    assert master.receive(Failed).error == "dns"
    assert worker.wait_for_exit(5)[0] == 1


def test_report_longer_than_frame_limit_is_received_by_master(master: BareMaster, worker: JoinedWorker) -> None:
    key = KeyFile("X-Key", "x" * 4 * MAX_FRAME_BYTES)
    master.send_commands(Configure(Endpoint(("http://nowhere.invalid",), key_files=(key,)), HttpWorkload()))
    assert key.path in master.receive(Failed).message


@pytest.mark.parametrize("reason", ["was rejected, because all expected workers have joined", "it is\x1b[31m odd"])
def test_rejected_worker_prints_sanitized_reason(master: BareMaster, worker: JoinedWorker, reason: str) -> None:
    master.send_commands(Quit(reason))
    exit_code, stderr = worker.wait_for_exit(5)
    assert (exit_code, stderr) == (EXIT_REJECTED, f"the master rejected this worker: {sanitize_text(reason)}\n")


def test_undecodable_command_is_reported_to_master(master: BareMaster, worker: JoinedWorker) -> None:
    master.send("command", b"\xc1")
    assert "DecodeError" in master.receive(Failed).message
    assert worker.wait_for_exit(5)[0] == 1
