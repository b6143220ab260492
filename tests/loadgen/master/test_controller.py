"""The master controller without its sockets, in virtual time."""

from __future__ import annotations

import pyarrow as pa
import pytest

from loadgen.frames import decode_rows, encode_rows
from loadgen.records import (
    WIRE_VERSION,
    ChangeRate,
    Configure,
    Endpoint,
    ExtendStage,
    Failed,
    FirstError,
    Hello,
    Pong,
    Preflight,
    PreflightDone,
    Progress,
    Quit,
    Ready,
    RunStage,
    StageEnded,
    StagePrepared,
    StageStarted,
    StartStage,
    StopStage,
    WorkerShare,
)
from loadgen.workloads import HttpWorkload
from tests.fakes.master import VirtualMaster, batch
from tests.fakes.stage_run import plan

STAGE = plan(rate=100, lead_in_s=2.0)
INDEX = STAGE.index
PREFLIGHT = PreflightDone(None, 200, "answered", 1.0, 5)
LEAD_NS = 200_000_000 + 4 * 1_000_000
"""Lead time of a command over a network with round trips of 1 ms."""


def master_with_workers(*clients: str) -> VirtualMaster:
    master = VirtualMaster(len(clients))
    master.join(*clients)
    return master


def master_with_prepared_stage(*clients: str) -> VirtualMaster:
    master = master_with_workers(*clients)
    master.controller.execute(RunStage(STAGE))
    for client in clients:
        master.send_reports(client, StagePrepared(INDEX))
    return master


def master_with_running_stage(*clients: str) -> VirtualMaster:
    master = master_with_prepared_stage(*clients)
    for client in clients:
        master.send_reports(client, StageStarted(INDEX, 0, 50))
    return master


def end_stage(master: VirtualMaster, client: str, index: int = INDEX) -> None:
    master.send_reports(client, StageEnded(index, 0, master.clock.now_ns, 50, 0, 0.5, 3, stopped_early=False))


def encode_rows_of_share_0(count: int) -> bytes:
    numbers = {"stage": pa.array([INDEX] * count, pa.int32()), "worker": pa.array([0] * count, pa.int16())}
    return encode_rows(batch(count, **numbers))


def get_stage_ended(master: VirtualMaster) -> StageEnded:
    (report,) = master.engine.reports_of(StageEnded)
    assert isinstance(report, StageEnded)
    return report


def test_workers_are_numbered_by_host_and_pid_regardless_of_join_order() -> None:
    master = master_with_workers("b2", "a9", "b1")
    (ready,) = master.engine.reports_of(Ready)
    assert isinstance(ready, Ready)
    assert [(worker.index, worker.host, worker.pid) for worker in ready.workers] == [
        (0, "a", 9),
        (1, "b", 1),
        (2, "b", 2),
    ]
    assert (ready.pacing, ready.event_loop) == ("timerfd", "uvloop")
    assert master.joined == [0, 1, 2, 3]
    assert master.channel.enlisted == ["b2", "a9", "b1"]


def test_worker_joins_after_its_clock_offset_is_measured() -> None:
    master = VirtualMaster(1)
    master.mute.add("a1")
    master.hello("a1")
    assert master.joined == [0]
    master.mute.clear()
    master.answer_pings()
    assert master.joined == [0, 1]


def test_surplus_late_or_incompatible_worker_is_rejected_with_reason(capsys: pytest.CaptureFixture[str]) -> None:
    master = VirtualMaster(2)
    master.hello("a1", wire=WIRE_VERSION + 1)
    master.join("a2")
    master.hello("b1")
    master.hello("b2")
    assert not master.reported("b1", Quit)
    master.answer_pings()
    master.hello("b3")
    assert len(master.engine.reports_of(Ready)) == 1
    assert master.channel.enlisted == ["a2", "b1"]
    stderr = capsys.readouterr().err
    reasons = {
        "a1": "has another version",
        "b2": "was rejected, because all expected workers have joined",
        "b3": "was rejected, because all expected workers have joined",
    }
    for client, reason in reasons.items():
        assert reason in stderr
        (quit_command,) = master.reported(client, Quit)
        assert isinstance(quit_command, Quit)
        assert reason in str(quit_command.reason)


def test_gathering_fails_after_timeout_when_workers_are_missing() -> None:
    master = VirtualMaster(2, wait_s=3)
    master.join("a1")
    master.pass_time(2.5)
    assert not master.failures
    master.pass_time(0.6)
    master.hello("b2", wire=WIRE_VERSION + 1)
    failed = master.failures[0]
    assert failed.message == "only 1 of 2 workers joined at 10.0.0.1:5557 within 3 s"
    assert failed.hint is not None
    assert "--master 10.0.0.1:5557" in failed.hint
    master.pass_time(0.1)
    assert "has another version" in (master.failures[-1].hint or "")


def test_worker_lost_while_gathering_may_be_replaced() -> None:
    master = VirtualMaster(2)
    master.join("a1")
    master.mute.add("a1")
    master.pass_time(9.5)
    assert master.joined == [0, 1]
    master.pass_time(0.7)
    assert master.joined == [0, 1, 0]
    master.join("b1", "b2")
    assert master.joined == [0, 1, 0, 1, 2]
    assert master.channel.enlisted == ["b1", "b2"]


def test_all_workers_are_configured_and_one_per_host_runs_preflight() -> None:
    master = master_with_workers("a1", "a2", "b1")
    master.controller.execute(Configure(Endpoint(("http://x",)), HttpWorkload()))
    master.controller.execute(Preflight())
    assert [bool(master.reported(client, Configure)) for client in ("a1", "a2", "b1")] == [True] * 3
    assert [bool(master.reported(client, Preflight)) for client in ("a1", "a2", "b1")] == [True, False, True]
    master.send_reports("b1", PREFLIGHT)
    assert not master.engine.reports_of(PreflightDone)
    master.send_reports("a1", PreflightDone("connect", None, "refused", None))
    assert master.engine.reports_of(PreflightDone) == [PreflightDone("connect", None, "from a: refused", None)]


def test_another_worker_of_host_repeats_preflight_after_loss() -> None:
    master = master_with_workers("a1", "a2", "b1")
    master.controller.execute(Preflight())
    master.send_reports("b1", PREFLIGHT)
    master.controller.evict("a1", "is odd")
    assert master.reported("a2", Preflight)
    master.controller.evict("a2", "is odd")
    (preflight_done,) = master.engine.reports_of(PreflightDone)  # from the only remaining host
    assert isinstance(preflight_done, PreflightDone)
    assert preflight_done.error is None


def test_workers_start_shared_stage_simultaneously_on_their_own_clocks() -> None:
    master = VirtualMaster(2)
    master.ahead_ns = 3_600 * 10**9
    master.join("a1")
    master.ahead_ns = 0
    master.mute.add("a1")
    master.join("b1")
    master.controller.execute(RunStage(STAGE))
    assert master.reported("a1", RunStage) == [RunStage(STAGE, WorkerShare(0, 2))]
    assert master.reported("b1", RunStage) == [RunStage(STAGE, WorkerShare(1, 2))]
    master.send_reports("b1", StagePrepared(INDEX))
    assert not master.reported("b1", StartStage)
    start_ns = master.clock.now_ns + LEAD_NS + 2_000_000_000
    master.send_reports("a1", StagePrepared(INDEX))
    assert master.reported("a1", StartStage) == [StartStage(INDEX, start_ns + 3_600 * 10**9)]
    assert master.reported("b1", StartStage) == [StartStage(INDEX, start_ns)]
    master.send_reports("a1", StageStarted(INDEX, 0, 51))
    assert not master.engine.reports_of(StageStarted)
    master.send_reports("b1", StageStarted(INDEX, 0, 50))
    assert master.engine.reports_of(StageStarted) == [StageStarted(INDEX, start_ns, 101)]


def test_rows_are_forwarded_in_order_after_all_workers_started() -> None:
    master = master_with_prepared_stage("a1", "b1")
    first, second = (encode_rows_of_share_0(count) for count in (3, 4))
    master.send_reports("a1", StageStarted(INDEX, 0, 50))
    master.controller.on_message("a1", "rows", first)
    assert not master.engine.rows
    master.send_reports("b1", StageStarted(INDEX, 0, 50))
    master.controller.on_message("a1", "rows", second)
    assert [decode_rows(body).num_rows for body in master.engine.rows] == [3, 4]


def test_merged_progress_of_workers_is_reported_four_times_per_second() -> None:
    master = master_with_running_stage("a1", "b1", "c1")
    for _ in range(40):  # two seconds
        master.pass_time(0.05)
        for client in ("a1", "b1", "c1"):
            master.send_reports(client, Progress(INDEX, 0, 10, 9, 8, 0, 1, 0.5))
    progress = master.engine.reports_of(Progress)
    assert 7 <= len(progress) <= 9
    assert isinstance(progress[-1], Progress)
    assert (progress[-1].sent, progress[-1].in_flight) == (27, 3)
    assert progress[-1].at_ns == pytest.approx(master.clock.now_ns, abs=3e8)


def test_stage_ends_after_all_workers_ended_stage() -> None:
    master = master_with_running_stage("a1", "b1")
    master.send_reports("a1", Progress(INDEX, 0, 50, 49, 49, 0, 0, 1.5))
    end_stage(master, "a1")
    assert not master.engine.reports_of(StageEnded)
    end_stage(master, "b1")
    report = get_stage_ended(master)
    assert (report.scheduled, report.connections_opened, report.cpu_s) == (100, 6, 1.0)
    assert [(result.worker, result.host, result.sent, result.max_lag_ms) for result in report.workers] == [
        (0, "a", 49, 1.5),
        (1, "b", 0, 0.0),
    ]
    assert [result.lost_ns for result in report.workers] == [None, None]
    assert [result.clock_residual_ms for result in report.workers] == pytest.approx([0.5, 0.5], abs=0.05)


def test_earliest_error_is_reported_on_master_clock_even_from_lost_worker() -> None:
    master = VirtualMaster(2)
    master.ahead_ns = 3_600 * 10**9
    master.join("a1")
    master.ahead_ns = 0
    master.mute.add("a1")
    master.join("b1")
    master.controller.execute(RunStage(STAGE))
    for client in ("a1", "b1"):
        master.send_reports(client, StagePrepared(INDEX))
        master.send_reports(client, StageStarted(INDEX, 0, 50))
    now_ns = master.clock.now_ns
    first = FirstError("tls", now_ns + 3_600 * 10**9, "of a")
    master.send_reports("a1", Progress(INDEX, 0, 9, 9, 8, 1, 0, 0.5, first_errors=(first,)))
    progress = master.engine.reports_of(Progress)[-1]
    assert isinstance(progress, Progress)
    assert progress.first_errors == (FirstError("tls", now_ns, "of a"),)
    master.mute.discard("b1")
    master.pass_time(3)  # in which a1 is lost
    later = (FirstError("tls", now_ns + 5, "of b"), FirstError("send", now_ns + 9, "of b"))
    master.send_reports("b1", StageEnded(INDEX, 0, now_ns + 10, 50, 0, 0.5, 3, stopped_early=False, first_errors=later))
    assert get_stage_ended(master).first_errors == (FirstError("tls", now_ns, "of a"), later[1])


def test_rate_changes_extension_and_stop_reach_all_workers() -> None:
    master = master_with_running_stage("a1", "b1")
    now_ns = master.clock.now_ns
    master.controller.execute(ChangeRate(55.0, now_ns))
    master.controller.execute(ChangeRate(66.0, now_ns + 10**9))
    master.controller.execute(ExtendStage(12.5))
    master.controller.execute(StopStage(drain=False))
    for client in ("a1", "b1"):
        assert master.reported(client, ExtendStage) == [ExtendStage(12.5)]
        assert master.reported(client, ChangeRate) == [
            ChangeRate(55.0, now_ns + LEAD_NS),
            ChangeRate(66.0, now_ns + 10**9),
        ]
        assert master.reported(client, StopStage) == [StopStage(drain=False)]


def test_silent_worker_is_lost_after_2_5_s_and_next_stage_runs_without_it() -> None:
    master = master_with_running_stage("a1", "a2", "b1")
    master.send_reports("b1", Progress(INDEX, 0, 30, 29, 29, 0, 0, 0.5))
    master.pass_time(1)
    master.mute.add("b1")
    silent_ns = master.clock.now_ns
    master.pass_time(2.2)
    assert not master.reported("a1", StopStage)
    master.pass_time(0.4)
    assert master.reported("a1", StopStage) == master.reported("a2", StopStage) == [StopStage(drain=True)]
    assert master.reported("b1", Quit) == [Quit("b (process 1) did not respond for 2.5 s")]
    master.mute.clear()
    master.send_reports("b1", Pong(0, 0))  # responds again, too late
    for client in ("a1", "a2"):
        end_stage(master, client)
    report = get_stage_ended(master)
    lost = report.workers[2]
    assert (lost.worker, lost.host, lost.sent, lost.cpu_s) == (2, "b", 29, 0.0)
    assert lost.lost_ns is not None
    assert silent_ns - 300_000_000 <= lost.lost_ns <= silent_ns
    assert report.scheduled == 150
    master.controller.execute(RunStage(STAGE))
    assert master.reported("a1", RunStage)[-1] == RunStage(STAGE, WorkerShare(0, 2))
    assert master.reported("a2", RunStage)[-1] == RunStage(STAGE, WorkerShare(1, 2))
    assert len(master.reported("b1", RunStage)) == 1


def test_worker_lost_between_stages_is_reported_once_and_rows_have_worker_index() -> None:
    master = master_with_workers("a1", "b1")
    master.mute.add("a1")
    master.pass_time(10.2)
    master.controller.execute(RunStage(STAGE))
    master.send_reports("b1", StagePrepared(INDEX), StageStarted(INDEX, 0, 100))
    master.controller.on_message("b1", "rows", encode_rows_of_share_0(5))
    end_stage(master, "b1")
    assert master.engine.workers_of_rows == [1]
    assert [(result.worker, result.lost_ns is None) for result in get_stage_ended(master).workers] == [
        (0, False),
        (1, True),
    ]
    master.engine.reports.clear()
    master.controller.execute(RunStage(STAGE))
    master.send_reports("b1", StagePrepared(INDEX), StageStarted(INDEX, 0, 100))
    end_stage(master, "b1")
    assert [result.worker for result in get_stage_ended(master).workers] == [1]  # reported once only


def test_worker_lost_after_end_of_stage_is_reported_with_next_stage() -> None:
    master = master_with_running_stage("a1", "b1")
    end_stage(master, "a1")
    master.controller.evict("a1", "is odd")
    assert not master.reported("b1", StopStage)
    end_stage(master, "b1")
    assert [result.lost_ns for result in get_stage_ended(master).workers] == [None, None]
    master.engine.reports.clear()
    master.controller.execute(RunStage(STAGE))
    master.send_reports("b1", StagePrepared(INDEX), StageStarted(INDEX, 0, 100))
    end_stage(master, "b1")
    assert [(result.worker, result.lost_ns is None) for result in get_stage_ended(master).workers] == [
        (0, False),
        (1, True),
    ]


def test_worker_lost_before_start_of_stage_stops_stage() -> None:
    master = master_with_workers("a1", "b1")
    master.controller.execute(RunStage(STAGE))
    master.send_reports("a1", StagePrepared(INDEX))
    master.controller.evict("b1", "is odd")
    assert [type(command) for command in master.channel.reported["a1"]] == [RunStage, StopStage, StartStage]
    master.send_reports("a1", StageStarted(INDEX, 0, 50))
    end_stage(master, "a1")
    assert [result.lost_ns is None for result in get_stage_ended(master).workers] == [True, False]


def test_stage_stopped_during_preparation_ends_without_start_command() -> None:
    """A worker that receives the stop command reports start and end immediately, without a start command."""
    master = master_with_workers("a1", "b1")
    master.controller.execute(RunStage(STAGE))
    master.controller.execute(StopStage(drain=True))
    master.send_reports("a1", StagePrepared(INDEX), StageStarted(INDEX, 0, 0))
    end_stage(master, "a1")
    master.send_reports("b1", StagePrepared(INDEX), StageStarted(INDEX, 0, 0))
    end_stage(master, "b1")
    assert not master.reported("a1", StartStage)
    assert master.engine.reports_of(StageStarted) == [StageStarted(INDEX, master.clock.now_ns, 50)]
    assert len(get_stage_ended(master).workers) == 2


def test_preparing_worker_is_not_lost_after_9_5_s_of_silence() -> None:
    """No worker sends requests yet, and reading the workload may block its interpreter for seconds."""
    master = master_with_workers("a1", "b1")
    for command, report in ((Preflight(), PREFLIGHT), (RunStage(STAGE), StagePrepared(INDEX))):
        master.controller.execute(command)
        master.send_reports("a1", report)
        master.mute.add("b1")
        master.pass_time(9.5)
        master.mute.clear()
        master.send_reports("b1", report)
    end_of_rest_ns = master.clock.now_ns
    assert not master.reported("b1", Quit)
    assert master.reported("b1", StartStage)
    master.mute.add("b1")
    master.pass_time(2.7)
    assert master.reported("b1", Quit) == [Quit("b (process 1) did not respond for 2.5 s")]
    assert master.clock.now_ns - end_of_rest_ns < 3e9


def test_worker_that_ended_stage_is_not_lost_after_9_5_s_of_silence() -> None:
    master = master_with_running_stage("a1", "b1")
    end_stage(master, "b1")
    master.mute.add("b1")
    master.pass_time(9.5)
    assert not master.reported("b1", Quit)


def test_preparing_worker_is_lost_after_10_s_of_silence() -> None:
    master = master_with_workers("a1", "b1")
    master.controller.execute(RunStage(STAGE))
    master.send_reports("a1", StagePrepared(INDEX))
    master.mute.add("b1")
    master.pass_time(10.2)
    assert master.reported("b1", Quit) == [Quit("b (process 1) did not respond for 10 s")]
    master.send_reports("a1", StageStarted(INDEX, 0, 50))
    end_stage(master, "a1")
    assert [result.lost_ns is None for result in get_stage_ended(master).workers] == [True, False]


def test_master_fails_with_reasons_when_all_workers_are_lost() -> None:
    master = master_with_running_stage("a1", "b1")
    master.send_reports("a1", Failed("out of memory"))
    master.mute.add("b1")
    master.pass_time(2.7)
    failed = master.failures[0]
    assert failed.message == "all 2 load workers were lost"
    assert failed.hint == "a (process 1) failed: out of memory; b (process 1) did not respond for 2.5 s."


def test_workload_and_target_failures_are_forwarded_with_host() -> None:
    master = master_with_workers("a1", "b1")
    master.send_reports("b1", Failed("no such file", is_workload_invalid=True))
    assert master.failures == [Failed("from b: no such file", is_workload_invalid=True)]
    master = master_with_workers("a1", "a2")
    master.send_reports("a2", Failed("no such host", error="dns"))
    assert master.failures == [Failed("no such host", error="dns")]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("report", b"\xff\x00garbage"),
        ("rows", b"garbage"),
        ("rows", encode_rows(batch(5))),  # of another stage
        ("report", b""),
    ],
)
def test_worker_with_undecodable_message_is_evicted_and_stage_continues(kind: str, body: bytes) -> None:
    master = master_with_running_stage("a1", "b1")
    master.controller.on_message("b1", kind, body)
    assert master.reported("b1", Quit)
    end_stage(master, "a1")
    assert [result.lost_ns is None for result in get_stage_ended(master).workers] == [True, False]
    assert not master.failures


def test_worker_with_unexpected_report_is_evicted() -> None:
    for report in (
        StagePrepared(INDEX),
        PREFLIGHT,
        Progress(INDEX, 0, 1, 1, 1, 0, 0, 0.0),
        Hello(WIRE_VERSION, "c", 5, "another clock", "timerfd", "uvloop"),
    ):
        master = master_with_workers("a1", "b1")
        master.send_reports("b1", report)
        assert master.reported("b1", Quit)
    master = master_with_running_stage("a1", "b1")
    master.send_reports("b1", Progress(INDEX + 1, 0, 1, 1, 1, 0, 0, 0.0))
    assert master.reported("b1", Quit)


def test_messages_of_unknown_client_are_ignored_and_client_receives_quit() -> None:
    master = master_with_running_stage("a1", "b1")
    master.send_reports("z1", StageEnded(INDEX, 0, 0, 0, 0, 0.0, 0, stopped_early=False), Failed("no", error="dns"))
    master.controller.on_message("z1", "rows", encode_rows(batch(5)))
    master.controller.on_message("z1", "report", b"\xff")
    assert master.reported("z1", Quit)
    assert not master.reported("z1", RunStage)
    assert not master.failures
    assert not master.engine.rows
    master.pass_time(5)
    assert "z1" not in master.channel.pings


def test_resumed_master_evicts_no_worker_for_time_of_suspension() -> None:
    """A master that was suspended for a minute reads the messages of that time after its check for silent workers."""
    master = master_with_running_stage("a1", "b1")
    master.pass_time(1)
    master.clock.now_ns += 60 * 10**9
    master.controller.tick()
    master.answer_pings()
    master.pass_time(3)
    assert not master.reported("a1", Quit)
    master.mute.add("a1")
    master.pass_time(2.7)
    assert master.reported("a1", Quit)


def test_pings_are_sent_four_times_per_second() -> None:
    master = master_with_workers("a1")
    master.mute.add("a1")
    master.channel.pings.clear()
    master.pass_time(2)
    assert 7 <= len(master.channel.pings["a1"]) <= 9


def test_quit_workers_sends_quit_to_all_workers() -> None:
    master = master_with_workers("a1", "b1")
    master.controller.quit_workers()
    assert master.reported("a1", Quit) == master.reported("b1", Quit) == [Quit()]
