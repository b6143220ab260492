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
from tests.fakes.played import plan
from tests.fakes.processes import free_port

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("forked_workers")]


class Joined:
    """A worker told to join, and how it left. It says that it is ready only once it was pinged."""

    def __init__(self, join: Join) -> None:
        self.child = start_module("loadgen.worker", "--join", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.child.stdin is not None
        self.child.stdin.write(encode_message_frame(join))
        self.child.stdin.flush()

    def __enter__(self) -> "Joined":
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.__exit__(None, None, None)

    def ending(self, within_s: float) -> tuple[int, str]:
        assert self.child.stderr is not None
        code = self.child.wait(within_s)
        return code, self.child.stderr.read().decode()


@pytest.fixture
def master() -> Iterator[BareMaster]:
    with BareMaster() as master:
        yield master


@pytest.fixture
def worker(master: BareMaster) -> Iterator[Joined]:
    with Joined(Join("127.0.0.1", master.port, TOKEN)) as worker:
        master.accept()
        yield worker


def begin(master: BareMaster, url: str, of: StagePlan) -> StageStarted:
    master.tell(Configure(Endpoint((url,)), HttpWorkload()), RunStage(of, WorkerShare(1, 2)))
    master.received(StagePrepared)
    master.tell(StartStage(of.index, perf_counter_ns() + 100_000_000))
    return master.received(StageStarted)


def test_its_first_word_is_who_it_is(master: BareMaster) -> None:
    join = Join("127.0.0.1", master.port, TOKEN, capacity_per_s=900.0, chunk_capacity_per_s=8_000.0)
    with Joined(join) as worker:
        master.pings = False
        master.accept()
        hello = master.received(Hello)
        assert master.reports == [hello]
        assert (hello.protocol_version, hello.pid, hello.clock) == (WIRE_VERSION, worker.child.pid, get_clock_id())
        assert (hello.capacity_per_s, hello.chunk_capacity_per_s) == (900.0, 8_000.0)
        assert hello.host == os.uname().nodename
        assert worker.child.stdout is not None
        assert not select.select([worker.child.stdout], [], [], 0)[0]
        master.tell(Ping(1))
        assert master.received(Pong).sent_ns == 1
        ready = read_report(worker.child.stdout)
        assert isinstance(ready, Ready)
        assert ready.pid == hello.pid


def test_it_sends_its_share_of_a_stage_for_a_master(master: BareMaster, worker: Joined) -> None:
    master.spawn()
    with ScriptedServer(Script()) as server:
        master.tell(Configure(Endpoint((server.url,)), HttpWorkload()), Preflight())
        assert master.received(PreflightDone).error is None
        started = begin(master, server.url, plan(rate=2_000, duration=1))
        ended = master.received(StageEnded)
    rows: pd.DataFrame = pa.Table.from_batches(master.batches, REQUEST_SCHEMA).to_pandas()
    assert max(batch.num_rows for batch in master.batches) <= BATCH_ROWS
    assert sorted(rows["index"]) == list(range(1, 2_000, 2))
    assert (rows["scheduled_ns"] == started.start_ns + rows["index"] * 500_000).all()
    assert set(rows["worker"]) == {1}
    assert ended.scheduled == len(rows) == 1_000
    assert master.kinds.count("rows") == len(master.batches)
    master.tell(Quit())
    assert worker.ending(5) == (0, "")


def test_stages_wait_for_the_user_and_it_is_started_whatever_a_wall_clock_says(
    master: BareMaster, worker: Joined
) -> None:
    with ScriptedServer(Script()) as server:
        master.tell(Configure(Endpoint((server.url,)), HttpWorkload()), RunStage(plan(duration=0.1)))
        master.tell(Preflight())
        master.spawn(timestamp=-3_600.0)
        master.received(StagePrepared)
        master.spawn(timestamp=-7_200.0)
        master.tell(StartStage(3, perf_counter_ns()))
        assert master.received(StageEnded).scheduled == 20
        assert master.received(PreflightDone).error is None
    assert master.kinds.count("spawning_complete") == 2


@pytest.mark.timing
def test_pings_are_answered_at_once_while_it_prepares_and_sends(master: BareMaster, worker: Joined) -> None:
    master.spawn()
    master.pings = False
    with ScriptedServer(Script()) as server:
        begin(master, server.url, plan(rate=4_000, duration=1, process="poisson"))
        round_trips_ms = []
        while not any(isinstance(report, StageEnded) for report in master.reports):
            sent_ns = perf_counter_ns()
            master.tell(Ping(sent_ns))
            pong = master.received(Pong)
            assert pong.sent_ns == sent_ns
            assert sent_ns < pong.at_ns < perf_counter_ns()
            round_trips_ms.append((perf_counter_ns() - sent_ns) / 1e6)
    assert len(round_trips_ms) > 20
    assert min(round_trips_ms) < 5


def test_a_wrong_token_finds_no_master_and_is_not_reported(master: BareMaster) -> None:
    wrong = "a token that only one of them knows"
    with Joined(Join("127.0.0.1", master.port, wrong, wait_s=1.0)) as worker:
        code, said = worker.ending(20)
    master.listen()
    assert master.kinds == []
    assert code == EXIT_NO_MASTER
    assert f"127.0.0.1:{master.port}" in said
    assert "not a master with the same token" in said
    assert "token that" not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid", "::1"])
def test_where_nobody_listens_no_master_is_found(host: str) -> None:
    with Joined(Join(host, free_port(), TOKEN, wait_s=0.5)) as worker:
        code, said = worker.ending(20)
    assert (code, said.splitlines()[-1].startswith("no master was found at ")) == (EXIT_NO_MASTER, True)
    assert host in said


def test_a_master_may_come_later_than_its_worker() -> None:
    port = free_port()
    with Joined(Join("127.0.0.1", port, TOKEN)):
        with BareMaster(token="a stranger that had the port first", port=port) as stranger:
            stranger.listen()
        with BareMaster(port=port) as master:
            master.accept()
            assert master.received(Hello).protocol_version == WIRE_VERSION
            assert master.kinds.count("client_ready") == 1


@pytest.mark.timing
def test_one_that_sends_leaves_a_master_that_says_nothing_more_within_five_seconds_and_one_that_does_not_waits(
    master: BareMaster, worker: Joined
) -> None:
    master.spawn()
    with (
        ScriptedServer(Script()) as server,
        BareMaster() as other,
        Joined(Join("127.0.0.1", other.port, TOKEN)) as idle,
    ):
        begin(master, server.url, plan(rate=20, duration=60))
        other.accept()
        other.pings = False
        other.tell(Ping(1))
        other.received(Pong)
        master.received(Progress)
        master.tell(Ping(perf_counter_ns()))
        silent_s = monotonic()
        code, said = worker.ending(10)
        left_s = monotonic()
        sent = len(server.requests)
        other.tell(Ping(2))
        assert other.received(Pong).sent_ns == 2
        assert idle.child.poll() is None
    assert 3.5 < left_s - silent_s < 5
    assert sent < 200
    assert (code, "so this worker stops" in said) == (EXIT_MASTER_LOST, True)


def test_a_worker_that_was_suspended_and_given_up_leaves_when_it_goes_on(master: BareMaster, worker: Joined) -> None:
    master.spawn()
    with ScriptedServer(Script()) as server:
        begin(master, server.url, plan(rate=20, duration=60))
        master.received(Progress)
        os.kill(worker.child.pid, signal.SIGSTOP)
        master.tell(Quit("it did not respond"))
        os.kill(worker.child.pid, signal.SIGCONT)
        assert worker.ending(5)[0] == EXIT_REJECTED


@pytest.mark.timing
def test_a_master_that_has_ended_is_left_at_once() -> None:
    with (
        ScriptedServer(Script()) as server,
        BareMaster() as master,
        Joined(Join("127.0.0.1", master.port, TOKEN)) as worker,
    ):
        master.accept()
        master.spawn()
        begin(master, server.url, plan(rate=20, duration=60))
        master.close()
        code, said = worker.ending(3)
    assert (code, "was lost, so this worker stops" in said) == (EXIT_MASTER_LOST, True)


def test_the_end_of_standard_input_ends_it(master: BareMaster, worker: Joined) -> None:
    assert worker.child.stdin is not None
    worker.child.stdin.close()
    assert worker.child.wait(30) == 0


def test_standard_input_may_end_while_it_looks_for_a_master() -> None:
    with Joined(Join("127.0.0.1", free_port(), TOKEN)) as worker:
        assert worker.child.stdin is not None
        worker.child.stdin.close()
        assert worker.child.wait(30) == 0


def test_what_goes_wrong_is_reported_to_the_master_before_it_leaves(master: BareMaster, worker: Joined) -> None:
    master.tell(Configure(Endpoint(("ftp://nowhere",)), HttpWorkload()))
    assert master.received(Failed).is_workload_invalid
    assert worker.ending(5) == (1, "")


def test_what_goes_wrong_in_a_stage_is_reported_to_the_master_before_it_leaves(
    master: BareMaster, worker: Joined
) -> None:
    master.spawn()
    master.tell(Configure(Endpoint(("http://nowhere.invalid",)), HttpWorkload()), RunStage(plan()))
    assert master.received(Failed).error == "dns"
    assert worker.ending(5)[0] == 1


def test_what_is_long_is_reported_in_pieces_that_a_master_takes(master: BareMaster, worker: Joined) -> None:
    key = KeyFile("X-Key", "x" * 4 * MAX_FRAME_BYTES)
    master.tell(Configure(Endpoint(("http://nowhere.invalid",), key_files=(key,)), HttpWorkload()))
    assert key.path in master.received(Failed).message


@pytest.mark.parametrize("why", ["was rejected, because all expected workers have joined", "it is\x1b[31m odd"])
def test_one_that_is_sent_away_says_why(master: BareMaster, worker: Joined, why: str) -> None:
    master.tell(Quit(why))
    code, said = worker.ending(5)
    assert (code, said) == (EXIT_REJECTED, f"the master rejected this worker: {sanitize_text(why)}\n")


def test_a_command_that_cannot_be_read_is_reported_of(master: BareMaster, worker: Joined) -> None:
    master.send("command", b"\xc1")
    assert "DecodeError" in master.received(Failed).message
    assert worker.ending(5)[0] == 1
