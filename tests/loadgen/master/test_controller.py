"""The whole of a master but its sockets, in virtual time."""

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
from tests.fakes.master import Conducted, batch
from tests.fakes.played import plan

STAGE = plan(rate=100, lead_in_s=2.0)
INDEX = STAGE.index
PREFLIGHT = PreflightDone(None, 200, "answered", 1.0, 5)
LEAD_NS = 200_000_000 + 4 * 1_000_000
"""Over a network, with round trips of a millisecond."""


def gathered(*clients: str) -> Conducted:
    conducted = Conducted(len(clients))
    conducted.join(*clients)
    return conducted


def prepared(*clients: str) -> Conducted:
    conducted = gathered(*clients)
    conducted.conductor.execute(RunStage(STAGE))
    for client in clients:
        conducted.say(client, StagePrepared(INDEX))
    return conducted


def running(*clients: str) -> Conducted:
    conducted = prepared(*clients)
    for client in clients:
        conducted.say(client, StageStarted(INDEX, 0, 50))
    return conducted


def end(conducted: Conducted, client: str, index: int = INDEX) -> None:
    conducted.say(client, StageEnded(index, 0, conducted.clock.now_ns, 50, 0, 0.5, 3, stopped_early=False))


def rows_of_share_0(count: int) -> bytes:
    numbers = {"stage": pa.array([INDEX] * count, pa.int32()), "worker": pa.array([0] * count, pa.int16())}
    return encode_rows(batch(count, **numbers))


def ended(conducted: Conducted) -> StageEnded:
    (report,) = conducted.engine.of(StageEnded)
    assert isinstance(report, StageEnded)
    return report


def test_workers_are_numbered_by_host_and_process_whoever_came_first() -> None:
    conducted = gathered("b2", "a9", "b1")
    (ready,) = conducted.engine.of(Ready)
    assert isinstance(ready, Ready)
    assert [(worker.index, worker.host, worker.pid) for worker in ready.workers] == [
        (0, "a", 9),
        (1, "b", 1),
        (2, "b", 2),
    ]
    assert (ready.pacing, ready.event_loop) == ("timerfd", "uvloop")
    assert conducted.joined == [0, 1, 2, 3]
    assert conducted.door.enlisted == ["b2", "a9", "b1"]


def test_a_worker_has_joined_once_its_clock_was_read_several_times() -> None:
    conducted = Conducted(1)
    conducted.mute.add("a1")
    conducted.hello("a1")
    assert conducted.joined == [0]
    conducted.mute.clear()
    conducted.answer_pings()
    assert conducted.joined == [0, 1]


def test_who_is_too_many_too_late_or_of_another_version_is_sent_away(capsys: pytest.CaptureFixture[str]) -> None:
    conducted = Conducted(2)
    conducted.hello("a1", wire=WIRE_VERSION + 1)
    conducted.join("a2")
    conducted.hello("b1")
    conducted.hello("b2")
    assert not conducted.reported("b1", Quit)
    conducted.answer_pings()
    conducted.hello("b3")
    assert len(conducted.engine.of(Ready)) == 1
    assert conducted.door.enlisted == ["a2", "b1"]
    said = capsys.readouterr().err
    whys = {
        "a1": "has another version",
        "b2": "was rejected, because all expected workers have joined",
        "b3": "was rejected, because all expected workers have joined",
    }
    for client, why in whys.items():
        assert why in said
        (leave,) = conducted.reported(client, Quit)
        assert isinstance(leave, Quit)
        assert why in str(leave.reason)


def test_gathering_ends_when_nobody_comes() -> None:
    conducted = Conducted(2, wait_s=3)
    conducted.join("a1")
    conducted.pass_time(2.5)
    assert not conducted.failures
    conducted.pass_time(0.6)
    conducted.hello("b2", wire=WIRE_VERSION + 1)
    failed = conducted.failures[0]
    assert failed.message == "only 1 of 2 workers joined at 10.0.0.1:5557 within 3 s"
    assert failed.hint is not None
    assert "--master 10.0.0.1:5557" in failed.hint
    conducted.pass_time(0.1)
    assert "has another version" in (conducted.failures[-1].hint or "")


def test_one_that_leaves_while_others_are_waited_for_may_be_followed_by_another() -> None:
    conducted = Conducted(2)
    conducted.join("a1")
    conducted.mute.add("a1")
    conducted.pass_time(9.5)
    assert conducted.joined == [0, 1]
    conducted.pass_time(0.7)
    assert conducted.joined == [0, 1, 0]
    conducted.join("b1", "b2")
    assert conducted.joined == [0, 1, 0, 1, 2]
    assert conducted.door.enlisted == ["b1", "b2"]


def test_all_are_configured_and_one_of_each_host_asks_the_target() -> None:
    conducted = gathered("a1", "a2", "b1")
    conducted.conductor.execute(Configure(Endpoint(("http://x",)), HttpWorkload()))
    conducted.conductor.execute(Preflight())
    assert [bool(conducted.reported(client, Configure)) for client in ("a1", "a2", "b1")] == [True] * 3
    assert [bool(conducted.reported(client, Preflight)) for client in ("a1", "a2", "b1")] == [True, False, True]
    conducted.say("b1", PREFLIGHT)
    assert not conducted.engine.of(PreflightDone)
    conducted.say("a1", PreflightDone("connect", None, "refused", None))
    assert conducted.engine.of(PreflightDone) == [PreflightDone("connect", None, "from a: refused", None)]


def test_when_it_is_lost_that_asks_another_of_its_host_does() -> None:
    conducted = gathered("a1", "a2", "b1")
    conducted.conductor.execute(Preflight())
    conducted.say("b1", PREFLIGHT)
    conducted.conductor.evict("a1", "is odd")
    assert conducted.reported("a2", Preflight)
    conducted.conductor.evict("a2", "is odd")
    (done,) = conducted.engine.of(PreflightDone)  # of the one host that is left
    assert isinstance(done, PreflightDone)
    assert done.error is None


def test_a_stage_is_shared_and_starts_for_all_at_one_moment_on_each_one_s_clock() -> None:
    conducted = Conducted(2)
    conducted.ahead_ns = 3_600 * 10**9
    conducted.join("a1")
    conducted.ahead_ns = 0
    conducted.mute.add("a1")
    conducted.join("b1")
    conducted.conductor.execute(RunStage(STAGE))
    assert conducted.reported("a1", RunStage) == [RunStage(STAGE, WorkerShare(0, 2))]
    assert conducted.reported("b1", RunStage) == [RunStage(STAGE, WorkerShare(1, 2))]
    conducted.say("b1", StagePrepared(INDEX))
    assert not conducted.reported("b1", StartStage)
    start_ns = conducted.clock.now_ns + LEAD_NS + 2_000_000_000
    conducted.say("a1", StagePrepared(INDEX))
    assert conducted.reported("a1", StartStage) == [StartStage(INDEX, start_ns + 3_600 * 10**9)]
    assert conducted.reported("b1", StartStage) == [StartStage(INDEX, start_ns)]
    conducted.say("a1", StageStarted(INDEX, 0, 51))
    assert not conducted.engine.of(StageStarted)
    conducted.say("b1", StageStarted(INDEX, 0, 50))
    assert conducted.engine.of(StageStarted) == [StageStarted(INDEX, start_ns, 101)]


def test_rows_wait_until_all_have_started_and_keep_their_order() -> None:
    conducted = prepared("a1", "b1")
    first, second = (rows_of_share_0(count) for count in (3, 4))
    conducted.say("a1", StageStarted(INDEX, 0, 50))
    conducted.conductor.on_message("a1", "rows", first)
    assert not conducted.engine.rows
    conducted.say("b1", StageStarted(INDEX, 0, 50))
    conducted.conductor.on_message("a1", "rows", second)
    assert [decode_rows(body).num_rows for body in conducted.engine.rows] == [3, 4]


def test_progress_is_reported_four_times_a_second_however_many_report_it() -> None:
    conducted = running("a1", "b1", "c1")
    for _ in range(40):  # two seconds
        conducted.pass_time(0.05)
        for client in ("a1", "b1", "c1"):
            conducted.say(client, Progress(INDEX, 0, 10, 9, 8, 0, 1, 0.5))
    reported = conducted.engine.of(Progress)
    assert 7 <= len(reported) <= 9
    assert isinstance(reported[-1], Progress)
    assert (reported[-1].sent, reported[-1].in_flight) == (27, 3)
    assert reported[-1].at_ns == pytest.approx(conducted.clock.now_ns, abs=3e8)


def test_a_stage_ends_when_all_have_ended_it() -> None:
    conducted = running("a1", "b1")
    conducted.say("a1", Progress(INDEX, 0, 50, 49, 49, 0, 0, 1.5))
    end(conducted, "a1")
    assert not conducted.engine.of(StageEnded)
    end(conducted, "b1")
    report = ended(conducted)
    assert (report.scheduled, report.connections_opened, report.cpu_s) == (100, 6, 1.0)
    assert [(part.worker, part.host, part.sent, part.max_lag_ms) for part in report.workers] == [
        (0, "a", 49, 1.5),
        (1, "b", 0, 0.0),
    ]
    assert [part.lost_ns for part in report.workers] == [None, None]
    assert [part.clock_residual_ms for part in report.workers] == pytest.approx([0.5, 0.5], abs=0.05)


def test_the_first_error_of_all_is_reported_on_the_master_s_clock_also_of_one_that_was_lost() -> None:
    conducted = Conducted(2)
    conducted.ahead_ns = 3_600 * 10**9
    conducted.join("a1")
    conducted.ahead_ns = 0
    conducted.mute.add("a1")
    conducted.join("b1")
    conducted.conductor.execute(RunStage(STAGE))
    for client in ("a1", "b1"):
        conducted.say(client, StagePrepared(INDEX))
        conducted.say(client, StageStarted(INDEX, 0, 50))
    now_ns = conducted.clock.now_ns
    first = FirstError("tls", now_ns + 3_600 * 10**9, "of a")
    conducted.say("a1", Progress(INDEX, 0, 9, 9, 8, 1, 0, 0.5, first_errors=(first,)))
    reported = conducted.engine.of(Progress)[-1]
    assert isinstance(reported, Progress)
    assert reported.first_errors == (FirstError("tls", now_ns, "of a"),)
    conducted.mute.discard("b1")
    conducted.pass_time(3)  # in which the first is lost
    later = (FirstError("tls", now_ns + 5, "of b"), FirstError("send", now_ns + 9, "of b"))
    conducted.say("b1", StageEnded(INDEX, 0, now_ns + 10, 50, 0, 0.5, 3, stopped_early=False, first_errors=later))
    assert ended(conducted).first_errors == (FirstError("tls", now_ns, "of a"), later[1])


def test_stops_and_changes_of_rate_reach_all_on_their_clocks() -> None:
    conducted = running("a1", "b1")
    now_ns = conducted.clock.now_ns
    conducted.conductor.execute(ChangeRate(55.0, now_ns))
    conducted.conductor.execute(ChangeRate(66.0, now_ns + 10**9))
    conducted.conductor.execute(ExtendStage(12.5))
    conducted.conductor.execute(StopStage(drain=False))
    for client in ("a1", "b1"):
        assert conducted.reported(client, ExtendStage) == [ExtendStage(12.5)]
        assert conducted.reported(client, ChangeRate) == [
            ChangeRate(55.0, now_ns + LEAD_NS),
            ChangeRate(66.0, now_ns + 10**9),
        ]
        assert conducted.reported(client, StopStage) == [StopStage(drain=False)]


def test_a_silent_worker_is_lost_after_two_and_a_half_seconds_and_the_others_stop_and_go_on_without_it() -> None:
    conducted = running("a1", "a2", "b1")
    conducted.say("b1", Progress(INDEX, 0, 30, 29, 29, 0, 0, 0.5))
    conducted.pass_time(1)
    conducted.mute.add("b1")
    silent_ns = conducted.clock.now_ns
    conducted.pass_time(2.2)
    assert not conducted.reported("a1", StopStage)
    conducted.pass_time(0.4)
    assert conducted.reported("a1", StopStage) == conducted.reported("a2", StopStage) == [StopStage(drain=True)]
    assert conducted.reported("b1", Quit) == [Quit("b (process 1) did not respond for 2.5 s")]
    conducted.mute.clear()
    conducted.say("b1", Pong(0, 0))  # it is back, too late
    for client in ("a1", "a2"):
        end(conducted, client)
    report = ended(conducted)
    lost = report.workers[2]
    assert (lost.worker, lost.host, lost.sent, lost.cpu_s) == (2, "b", 29, 0.0)
    assert lost.lost_ns is not None
    assert silent_ns - 300_000_000 <= lost.lost_ns <= silent_ns
    assert report.scheduled == 150
    conducted.conductor.execute(RunStage(STAGE))
    assert conducted.reported("a1", RunStage)[-1] == RunStage(STAGE, WorkerShare(0, 2))
    assert conducted.reported("a2", RunStage)[-1] == RunStage(STAGE, WorkerShare(1, 2))
    assert len(conducted.reported("b1", RunStage)) == 1


def test_one_lost_between_stages_is_reported_with_the_next_and_rows_have_the_survivor_s_own_number() -> None:
    conducted = gathered("a1", "b1")
    conducted.mute.add("a1")
    conducted.pass_time(10.2)
    conducted.conductor.execute(RunStage(STAGE))
    conducted.say("b1", StagePrepared(INDEX), StageStarted(INDEX, 0, 100))
    conducted.conductor.on_message("b1", "rows", rows_of_share_0(5))
    end(conducted, "b1")
    assert conducted.engine.workers_of_rows == [1]
    assert [(part.worker, part.lost_ns is None) for part in ended(conducted).workers] == [(0, False), (1, True)]
    conducted.engine.reports.clear()
    conducted.conductor.execute(RunStage(STAGE))
    conducted.say("b1", StagePrepared(INDEX), StageStarted(INDEX, 0, 100))
    end(conducted, "b1")
    assert [part.worker for part in ended(conducted).workers] == [1]  # once is enough


def test_one_lost_after_it_ended_its_part_spoils_nothing_of_this_stage() -> None:
    conducted = running("a1", "b1")
    end(conducted, "a1")
    conducted.conductor.evict("a1", "is odd")
    assert not conducted.reported("b1", StopStage)
    end(conducted, "b1")
    assert [part.lost_ns for part in ended(conducted).workers] == [None, None]
    conducted.engine.reports.clear()
    conducted.conductor.execute(RunStage(STAGE))
    conducted.say("b1", StagePrepared(INDEX), StageStarted(INDEX, 0, 100))
    end(conducted, "b1")
    assert [(part.worker, part.lost_ns is None) for part in ended(conducted).workers] == [(0, False), (1, True)]


def test_one_lost_before_the_stage_began_stops_it_too() -> None:
    conducted = gathered("a1", "b1")
    conducted.conductor.execute(RunStage(STAGE))
    conducted.say("a1", StagePrepared(INDEX))
    conducted.conductor.evict("b1", "is odd")
    assert [type(command) for command in conducted.door.reported["a1"]] == [RunStage, StopStage, StartStage]
    conducted.say("a1", StageStarted(INDEX, 0, 50))
    end(conducted, "a1")
    assert [part.lost_ns is None for part in ended(conducted).workers] == [True, False]


def test_a_stage_stopped_while_it_is_prepared_ends_as_it_does_with_one_worker() -> None:
    """Who is told to stop begins and ends at once, and waits for no start."""
    conducted = gathered("a1", "b1")
    conducted.conductor.execute(RunStage(STAGE))
    conducted.conductor.execute(StopStage(drain=True))
    conducted.say("a1", StagePrepared(INDEX), StageStarted(INDEX, 0, 0))
    end(conducted, "a1")
    conducted.say("b1", StagePrepared(INDEX), StageStarted(INDEX, 0, 0))
    end(conducted, "b1")
    assert not conducted.reported("a1", StartStage)
    assert conducted.engine.of(StageStarted) == [StageStarted(INDEX, conducted.clock.now_ns, 50)]
    assert len(ended(conducted).workers) == 2


def test_one_that_makes_ready_may_hold_its_breath_for_longer() -> None:
    """Nobody sends yet, and what it reads may keep its interpreter busy for seconds."""
    conducted = gathered("a1", "b1")
    for command, done in ((Preflight(), PREFLIGHT), (RunStage(STAGE), StagePrepared(INDEX))):
        conducted.conductor.execute(command)
        conducted.say("a1", done)
        conducted.mute.add("b1")
        conducted.pass_time(9.5)
        conducted.mute.clear()
        conducted.say("b1", done)
    end_of_rest_ns = conducted.clock.now_ns
    assert not conducted.reported("b1", Quit)
    assert conducted.reported("b1", StartStage)
    conducted.mute.add("b1")
    conducted.pass_time(2.7)
    assert conducted.reported("b1", Quit) == [Quit("b (process 1) did not respond for 2.5 s")]
    assert conducted.clock.now_ns - end_of_rest_ns < 3e9


def test_one_that_has_ended_its_part_is_at_rest_again() -> None:
    conducted = running("a1", "b1")
    end(conducted, "b1")
    conducted.mute.add("b1")
    conducted.pass_time(9.5)
    assert not conducted.reported("b1", Quit)


def test_one_that_makes_ready_is_not_waited_for_without_end() -> None:
    conducted = gathered("a1", "b1")
    conducted.conductor.execute(RunStage(STAGE))
    conducted.say("a1", StagePrepared(INDEX))
    conducted.mute.add("b1")
    conducted.pass_time(10.2)
    assert conducted.reported("b1", Quit) == [Quit("b (process 1) did not respond for 10 s")]
    conducted.say("a1", StageStarted(INDEX, 0, 50))
    end(conducted, "a1")
    assert [part.lost_ns is None for part in ended(conducted).workers] == [True, False]


def test_without_anybody_left_the_master_fails_and_says_why() -> None:
    conducted = running("a1", "b1")
    conducted.say("a1", Failed("out of memory"))
    conducted.mute.add("b1")
    conducted.pass_time(2.7)
    failed = conducted.failures[0]
    assert failed.message == "all 2 load workers were lost"
    assert failed.hint == "a (process 1) failed: out of memory; b (process 1) did not respond for 2.5 s."


def test_the_target_s_and_the_profile_s_fault_is_passed_on_with_its_host() -> None:
    conducted = gathered("a1", "b1")
    conducted.say("b1", Failed("no such file", is_workload_invalid=True))
    assert conducted.failures == [Failed("from b: no such file", is_workload_invalid=True)]
    conducted = gathered("a1", "a2")
    conducted.say("a2", Failed("no such host", error="dns"))
    assert conducted.failures == [Failed("no such host", error="dns")]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("report", b"\xff\x00garbage"),
        ("rows", b"garbage"),
        ("rows", encode_rows(batch(5))),  # of another stage
        ("report", b""),
    ],
)
def test_who_talks_nonsense_is_lost_and_the_others_go_on(kind: str, body: bytes) -> None:
    conducted = running("a1", "b1")
    conducted.conductor.on_message("b1", kind, body)
    assert conducted.reported("b1", Quit)
    end(conducted, "a1")
    assert [part.lost_ns is None for part in ended(conducted).workers] == [True, False]
    assert not conducted.failures


def test_what_is_said_out_of_turn_is_nonsense() -> None:
    for report in (
        StagePrepared(INDEX),
        PREFLIGHT,
        Progress(INDEX, 0, 1, 1, 1, 0, 0, 0.0),
        Hello(WIRE_VERSION, "c", 5, "another clock", "timerfd", "uvloop"),
    ):
        conducted = gathered("a1", "b1")
        conducted.say("b1", report)
        assert conducted.reported("b1", Quit)
    conducted = running("a1", "b1")
    conducted.say("b1", Progress(INDEX + 1, 0, 1, 1, 1, 0, 0, 0.0))
    assert conducted.reported("b1", Quit)


def test_strangers_are_reported_to_leave_and_change_nothing() -> None:
    conducted = running("a1", "b1")
    conducted.say("z1", StageEnded(INDEX, 0, 0, 0, 0, 0.0, 0, stopped_early=False), Failed("no", error="dns"))
    conducted.conductor.on_message("z1", "rows", encode_rows(batch(5)))
    conducted.conductor.on_message("z1", "report", b"\xff")
    assert conducted.reported("z1", Quit)
    assert not conducted.reported("z1", RunStage)
    assert not conducted.failures
    assert not conducted.engine.rows
    conducted.pass_time(5)
    assert "z1" not in conducted.door.pings


def test_a_master_that_did_not_run_itself_blames_nobody() -> None:
    """Suspended for a minute, it has heard nobody; what they said meanwhile comes after it looks at who is there."""
    conducted = running("a1", "b1")
    conducted.pass_time(1)
    conducted.clock.now_ns += 60 * 10**9
    conducted.conductor.tick()
    conducted.answer_pings()
    conducted.pass_time(3)
    assert not conducted.reported("a1", Quit)
    conducted.mute.add("a1")
    conducted.pass_time(2.7)
    assert conducted.reported("a1", Quit)


def test_pings_go_out_four_times_a_second() -> None:
    conducted = gathered("a1")
    conducted.mute.add("a1")
    conducted.door.pings.clear()
    conducted.pass_time(2)
    assert 7 <= len(conducted.door.pings["a1"]) <= 9


def test_all_are_dismissed() -> None:
    conducted = gathered("a1", "b1")
    conducted.conductor.quit_workers()
    assert conducted.reported("a1", Quit) == conducted.reported("b1", Quit) == [Quit()]
