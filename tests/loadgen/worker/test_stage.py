import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from time import perf_counter_ns
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import uvloop
from scipy import stats

from loadgen.arrivals import compute_offsets_ns
from loadgen.protocols.expectation import check_http_status
from loadgen.protocols.prepared import CheckResponse, PreparedWorkload, ResponseCheck, Sessions
from loadgen.records import ClosedArrivals, OpenArrivals, StagePlan, WorkerShare
from loadgen.transport.exchange import Exchange, StreamReader, Tokens
from loadgen.worker.stage import SendingStage
from loadgen.worker.traffic import Schedule
from tests.fakes.transport import FakeTransport

pytestmark = pytest.mark.timing

REQUESTS = [b"zero", b"one", b"two", b"three"]
TWO_TURNS = Sessions(next_request_indices=[1, None, 3, None], think_times_ns=[20_000_000, 0, 20_000_000, 0])
DURATION_S = 0.3
ALL = WorkerShare()


class Played(NamedTuple):
    stage: SendingStage
    transport: FakeTransport
    finished: list[Exchange]

    def since_start_ms(self, of: str) -> list[float]:
        return [(getattr(exchange, of) - self.stage.start_ns) / 1e6 for exchange in self.finished]

    def thoughts_ns(self) -> list[int]:
        """Of one client: the time from each response to the next request."""
        rows = sorted(self.finished, key=lambda exchange: exchange.index)
        return [after.scheduled_ns - ended_ns(before) for before, after in pairwise(rows)]


def ended_ns(exchange: Exchange) -> int:
    assert exchange.end_ns is not None
    return exchange.end_ns


def built(
    *,
    judge: CheckResponse = check_http_status,
    new_reader: Callable[[], StreamReader] | None = None,
    picks: Sequence[int] | None = None,
    sessions: Sessions | None = None,
) -> PreparedWorkload:
    return PreparedWorkload(
        requests=REQUESTS, check=judge, label="GET /", new_reader=new_reader, request_indices=picks, sessions=sessions
    )


def plan(
    arrivals: OpenArrivals | ClosedArrivals,
    *,
    duration_s: float = DURATION_S,
    seed: int = 3,
    lead_in_s: float = 0.0,
    drain_s: float = 1.0,
    max_requests: int | None = None,
) -> StagePlan:
    return StagePlan(0, "s", arrivals, duration_s, seed, lead_in_s, drain_s, max_requests)


def constant(rate: float) -> OpenArrivals:
    return OpenArrivals("constant", ((0.0, rate),))


def play(
    of: StagePlan,
    transport: FakeTransport | None = None,
    workload: PreparedWorkload | None = None,
    meanwhile: Callable[[SendingStage], None] | None = None,
    at_s: float = 0.1,
    on_refused_key: Callable[[], None] | None = None,
    share: WorkerShare = ALL,
) -> Played:
    """`meanwhile` is called `at_s` after the stage's start."""
    transport = transport or FakeTransport()

    async def run() -> SendingStage:
        loop = asyncio.get_running_loop()
        offsets = None
        if not isinstance(of.arrivals, ClosedArrivals):
            offsets = Schedule(of, share).own_offsets
        start_ns = perf_counter_ns() + round(of.lead_in_s * 1e9)
        stage = SendingStage(of, share, offsets, start_ns, transport, workload or built(), loop, on_refused_key)
        if meanwhile is not None:
            loop.call_later(at_s, meanwhile, stage)
        await asyncio.wait_for(stage.run(), 10)
        return stage

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stage = runner.run(run())
    return Played(stage, transport, list(stage.finished_exchanges))


def failing(error: str) -> Callable[[Exchange], None]:
    def answer(exchange: Exchange) -> None:
        exchange.error = error

    return answer


# open


@pytest.mark.parametrize("arrivals", [constant(20), ClosedArrivals(2)])
def test_a_stage_sends_the_requests_after_those_of_the_stages_before_it(
    arrivals: OpenArrivals | ClosedArrivals,
) -> None:
    of = msgspec.structs.replace(plan(arrivals, max_requests=4), first_request=6)
    sent = sorted(
        (exchange.index, exchange.request_index)
        for index in range(2)
        for exchange in play(of, workload=built(picks=[3, 0, 1, 2]), share=WorkerShare(index, 2)).transport.submitted
    )
    assert sent == [(0, 1), (1, 2), (2, 3), (3, 0)]


def test_arrivals_send_the_requests_in_turn() -> None:
    played = play(plan(constant(20)))
    assert [exchange.request for exchange in played.transport.submitted] == [*REQUESTS, *REQUESTS[:2]]
    assert [exchange.index for exchange in played.transport.submitted] == list(range(6))


def test_arrivals_send_the_requests_that_were_picked() -> None:
    played = play(plan(constant(20)), workload=built(picks=[2, 2, 0]))
    assert [exchange.request_index for exchange in played.transport.submitted] == [2, 2, 0, 2, 2, 0]


def test_an_open_stage_lasts_its_time_whenever_the_last_arrival_was() -> None:
    played = play(plan(constant(4)))
    assert len(played.finished) == 2
    assert (perf_counter_ns() - played.stage.start_ns) / 1e9 >= DURATION_S


def test_max_requests_ends_a_stage_at_once() -> None:
    played = play(plan(constant(100), duration_s=5.0, max_requests=3))
    assert len(played.finished) == 3
    assert (perf_counter_ns() - played.stage.start_ns) / 1e9 < 1


def test_the_lead_in_comes_before_the_start_and_is_in_the_rows() -> None:
    played = play(plan(constant(100), lead_in_s=0.2))
    scheduled_ms = played.since_start_ms("scheduled_ns")
    assert sorted(map(round, scheduled_ms)) == list(range(-200, 300, 10))
    assert played.stage.scheduled_count == 50


def test_every_streamed_answer_has_a_reader_of_its_own() -> None:
    class Reader:
        tokens, detail = Tokens(), None

        def feed(self, piece: bytes, at_ns: int, /) -> None: ...

    readers: list[Reader] = []

    def new_reader() -> Reader:
        readers.append(Reader())
        return readers[-1]

    played = play(plan(constant(20)), workload=built(new_reader=new_reader))
    assert len(readers) == 6
    assert {id(exchange.reader) for exchange in played.finished} == set(map(id, readers))


def test_the_evaluate_decides_and_a_evaluate_that_raises_costs_no_row() -> None:
    def judge(exchange: Exchange) -> ResponseCheck:
        if exchange.request_index == 1:
            raise ZeroDivisionError
        return ResponseCheck("bad-output" if exchange.request_index == 2 else None, correct_rows=exchange.request_index)

    played = play(plan(constant(20)), workload=built(judge=judge))
    errors = {exchange.request_index: (exchange.error, exchange.correct_rows) for exchange in played.finished}
    assert errors == {0: (None, 0), 1: ("bad-payload", None), 2: ("bad-output", 2), 3: (None, 3)}
    assert (played.stage.completed_count, played.stage.failed_count) == (3, 3)


@pytest.mark.parametrize(("status", "error"), [(204, None), (302, "bad-payload"), (404, "http-4xx"), (503, "http-5xx")])
def test_without_an_expectation_the_status_decides(status: int, error: str | None) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.status = status

    assert {exchange.error for exchange in play(plan(constant(20)), FakeTransport(answer)).finished} == {error}


def test_a_401_asks_for_a_new_key_and_stays_a_401() -> None:
    asked: list[int] = []

    def answer(exchange: Exchange) -> None:
        exchange.status = 401 if exchange.index == 2 else 200

    played = play(plan(constant(20)), FakeTransport(answer), on_refused_key=lambda: asked.append(1))
    assert len(asked) == 1
    assert [exchange.error for exchange in played.finished].count("http-4xx") == 1


# a change of rate


def change_now(stage: SendingStage, rate_per_s: float) -> None:
    now_ns = perf_counter_ns()
    stage.change_rate(rate_per_s, compute_offsets_ns(constant(rate_per_s), 5, 0, 1)[1:], now_ns, now_ns)


def test_a_changed_rate_holds_from_then_on_and_the_curve_has_a_jump() -> None:
    def change(stage: SendingStage) -> None:
        change_now(stage, 500)

    played = play(plan(constant(20), duration_s=0.4), meanwhile=change, at_s=0.2)
    (first, before, after, last) = played.stage.get_executed_rates()
    assert (first, last) == ((0, 20), (0.4, 500))
    assert before[0] == after[0] == pytest.approx(0.2, abs=0.05)
    assert (before[1], after[1]) == (20, 500)
    scheduled_s = np.array(played.since_start_ms("scheduled_ns")) / 1e3
    assert (scheduled_s < before[0]).sum() == pytest.approx(20 * before[0], abs=1.1)
    assert (scheduled_s >= before[0]).sum() == pytest.approx(500 * (0.4 - before[0]), abs=2)
    assert played.stage.scheduled_count == len(played.finished)


def test_a_change_of_rate_takes_nothing_from_the_arrivals_that_were_due() -> None:
    def change(stage: SendingStage) -> None:
        begun_ns = perf_counter_ns()
        while (now_ns := perf_counter_ns()) < begun_ns + 50_000_000:
            """Nothing is sent meanwhile."""
        stage.change_rate(1, np.array([], np.int64), now_ns, now_ns)

    played = play(plan(constant(1_000)), meanwhile=change)
    due_by_then = round(played.stage.get_executed_rates()[1][0] * 1e9) // 1_000_000 + 1
    assert 150 <= due_by_then < 300
    assert len(played.finished) == played.stage.scheduled_count == due_by_then


def test_a_changed_rate_does_not_outlive_the_limit_of_requests() -> None:
    def change(stage: SendingStage) -> None:
        change_now(stage, 1_000)

    played = play(plan(constant(50), duration_s=0.5, max_requests=15), meanwhile=change)
    assert len(played.finished) == 15


def test_a_change_after_the_last_of_the_requests_is_none() -> None:
    def change(stage: SendingStage) -> None:
        change_now(stage, 1_000)

    of, slow = plan(constant(100), duration_s=1.0, max_requests=3), FakeTransport(after_s=0.3)
    assert play(of, slow, meanwhile=change).stage.get_executed_rates() == ((0.0, 100.0), (1.0, 100.0))


def test_a_closed_stage_has_no_rate_to_change() -> None:
    def change(stage: SendingStage) -> None:
        change_now(stage, 500)

    assert play(plan(ClosedArrivals(2)), meanwhile=change).stage.get_executed_rates() == ()


def test_the_curve_of_a_stopped_stage_ends_where_it_was_stopped() -> None:
    played = play(plan(constant(20)), meanwhile=lambda stage: stage.stop(True, perf_counter_ns()))
    (_, (end_s, rate)) = played.stage.get_executed_rates()
    assert rate == 20
    assert end_s == pytest.approx(0.1, abs=0.05)
    assert played.stage.was_stopped


def test_until_the_rate_changes_the_old_arrivals_go_on() -> None:
    def change(stage: SendingStage) -> None:
        soon_ns = stage.start_ns + 200_000_000
        stage.change_rate(200, compute_offsets_ns(constant(200), 5, 0, 1)[1:], soon_ns, perf_counter_ns())

    played = play(plan(constant(100)), meanwhile=change, at_s=0.05)
    scheduled_ms = sorted(played.since_start_ms("scheduled_ns"))
    assert scheduled_ms == [*range(0, 200, 10), *range(205, 300, 5)]
    assert played.stage.scheduled_count == len(scheduled_ms)
    assert played.stage.get_executed_rates() == ((0, 100), (0.2, 100), (0.2, 200), (0.3, 200))
    assert [each.index for each in played.transport.submitted] == list(range(len(scheduled_ms)))


def test_a_change_that_comes_too_late_takes_back_nothing_that_was_sent() -> None:
    def change(stage: SendingStage) -> None:
        stage.change_rate(200, compute_offsets_ns(constant(200), 5, 0, 1)[1:], stage.start_ns, perf_counter_ns())

    played = play(plan(constant(100)), meanwhile=change, at_s=0.15)
    changed_ms = played.stage.get_executed_rates()[1][0] * 1e3
    before = [at for at in played.since_start_ms("scheduled_ns") if at <= changed_ms]
    assert changed_ms == pytest.approx(150, abs=50)
    assert before == list(range(0, int(changed_ms) + 1, 10))
    assert len({each.index for each in played.finished}) == len(played.finished) == played.stage.scheduled_count


# shares


def test_arrivals_of_all_shares_are_those_of_one_worker_with_its_payloads() -> None:
    of, workload = plan(OpenArrivals("poisson", ((0.0, 100.0),)), max_requests=25), built(picks=[3, 0, 1, 1, 2])

    def sent(share: WorkerShare) -> list[tuple[int, int, int]]:
        played = play(of, workload=workload, share=share)
        assert played.stage.scheduled_count == len(played.finished)
        return [(each.index, each.scheduled_ns - played.stage.start_ns, each.request_index) for each in played.finished]

    alone = sorted(sent(ALL))
    assert len(alone) >= 15
    for workers in (2, 3, 4):
        assert sorted(one for index in range(workers) for one in sent(WorkerShare(index, workers))) == alone


def test_a_change_of_rate_keeps_the_order_of_all_shares() -> None:
    def sent(share: WorkerShare) -> list[tuple[int, int, int]]:
        of = plan(OpenArrivals("poisson", ((0.0, 60.0),)), duration_s=0.4)
        schedule = Schedule(of, share)

        def change(stage: SendingStage) -> None:
            for at_ns, rate_per_s, number in ((100_000_000, 200.0, 1), (200_000_000, 80.0, 2)):
                later = schedule.change_rate(rate_per_s, at_ns, number)
                assert later is not None
                stage.change_rate(rate_per_s, later, stage.start_ns + at_ns, perf_counter_ns())

        played = play(of, meanwhile=change, at_s=0.01, share=share)
        return [(each.index, each.scheduled_ns - played.stage.start_ns, each.request_index) for each in played.finished]

    alone = sorted(sent(ALL))
    assert [index for index, *_ in alone] == list(range(len(alone)))
    for workers in (2, 3):
        assert sorted(one for index in range(workers) for one in sent(WorkerShare(index, workers))) == alone


@pytest.mark.parametrize(
    ("share", "clients"),
    [(WorkerShare(0, 3), 2), (WorkerShare(1, 3), 1), (WorkerShare(2, 3), 1), (WorkerShare(4, 5), 0)],
)
def test_clients_are_dealt_out(share: WorkerShare, clients: int) -> None:
    played = play(plan(ClosedArrivals(4)), FakeTransport(after_s=0.01), share=share)
    assert played.transport.most_in_flight == clients
    assert {exchange.index % share.worker_count for exchange in played.finished} <= {share.index}
    # also with nothing to send
    assert (perf_counter_ns() - played.stage.start_ns) / 1e9 >= DURATION_S
    assert not played.stage.was_stopped


def test_clients_of_each_share_think_for_times_of_their_own() -> None:
    def thoughts(share: WorkerShare) -> list[int]:
        of = plan(ClosedArrivals(2, think_s=0.01), duration_s=0.3)
        return play(of, FakeTransport(after_s=0), share=share).thoughts_ns()

    first, again, other = thoughts(WorkerShare(0, 2)), thoughts(WorkerShare(0, 2)), thoughts(WorkerShare(1, 2))
    assert first[:8] == again[:8]
    assert first[:8] != other[:8]


@pytest.mark.parametrize("arrivals", [constant(100), ClosedArrivals(8)])
@pytest.mark.parametrize(("index", "expected"), [(0, [0, 3]), (1, [1, 4]), (2, [2])])
def test_requests_to_send_at_most_are_dealt_out(
    arrivals: OpenArrivals | ClosedArrivals, index: int, expected: list[int]
) -> None:
    played = play(plan(arrivals, duration_s=5.0, max_requests=5), share=WorkerShare(index, 3))
    assert sorted(exchange.index for exchange in played.finished) == expected


@pytest.mark.parametrize("arrivals", [constant(100), ClosedArrivals(8)])
def test_who_has_none_of_the_requests_ends_at_once(arrivals: OpenArrivals | ClosedArrivals) -> None:
    played = play(plan(arrivals, duration_s=60.0, max_requests=2), share=WorkerShare(2, 3))
    assert (played.finished, played.stage.was_stopped) == ([], False)


# closed


def test_clients_send_the_next_request_at_the_moment_of_the_last_answer() -> None:
    played = play(plan(ClosedArrivals(3)), FakeTransport(after_s=0.01))
    assert played.transport.most_in_flight == 3
    assert played.stage.scheduled_count is None
    assert played.since_start_ms("scheduled_ns").count(0) == 3
    ends = {exchange.end_ns for exchange in played.finished}
    later = [exchange for exchange in played.finished if exchange.scheduled_ns != played.stage.start_ns]
    assert len(later) > 20
    assert {exchange.scheduled_ns for exchange in later} <= ends
    assert max(played.since_start_ms("scheduled_ns")) < 300


def test_a_closed_stage_ends_on_time_when_nothing_is_answered() -> None:
    played = play(plan(ClosedArrivals(3), drain_s=0.1), FakeTransport(after_s=None))
    assert [exchange.error for exchange in played.finished] == ["timeout"] * 3
    assert (perf_counter_ns() - played.stage.start_ns) / 1e9 == pytest.approx(0.4, abs=0.2)


def test_clients_start_no_more_than_max_requests() -> None:
    played = play(plan(ClosedArrivals(3), duration_s=5.0, max_requests=10))
    assert len(played.finished) == played.stage.due_count == 10


def test_fewer_requests_than_clients_are_enough() -> None:
    assert len(play(plan(ClosedArrivals(8), duration_s=5.0, max_requests=3)).finished) == 3


def test_clients_think_for_exponential_times_of_the_stated_mean() -> None:
    played = play(plan(ClosedArrivals(200, think_s=0.05), duration_s=1.0), FakeTransport(after_s=0.001))
    ends_ns = sorted(ended_ns(exchange) for exchange in played.finished)
    later_ns = sorted(exchange.scheduled_ns for exchange in played.finished)[200:]
    # as many clients think at any time as have ended and not begun: by Little's law the mean is theirs over the rate
    thought_s = (sum(later_ns) - sum(ends_ns[: len(later_ns)])) / len(later_ns) / 1e9
    assert 0.035 < thought_s < 0.055


def test_thinking_is_drawn_from_the_seed() -> None:
    def thoughts(seed: int) -> list[int]:
        of = plan(ClosedArrivals(1, think_s=0.01), seed=seed, duration_s=0.5)
        return play(of, FakeTransport(after_s=0)).thoughts_ns()

    first, again, other = thoughts(1), thoughts(1), thoughts(2)
    assert len(first) > 20
    common = min(len(first), len(again))
    assert first[:common] == again[:common]
    assert first[:10] != other[:10]
    assert stats.kstest(np.array(first) / 1e9, "expon", args=(0, 0.01)).pvalue > 0.001


@pytest.mark.parametrize("error", ["connect", "dns", "tls", "send"])
def test_clients_that_get_no_connection_do_not_hammer(error: str) -> None:
    played = play(plan(ClosedArrivals(4)), FakeTransport(failing(error), after_s=0))
    assert 8 <= len(played.finished) <= 12


def test_failures_that_come_while_sending_do_not_pile_up_on_the_stack() -> None:
    played = play(plan(ClosedArrivals(1), max_requests=5_000, duration_s=5.0), FakeTransport(failing("timeout"), 0))
    assert len(played.finished) == 5_000


def test_a_stopped_closed_stage_starts_no_more() -> None:
    stop = lambda stage: stage.stop(False, perf_counter_ns())  # noqa: E731
    played = play(plan(ClosedArrivals(3), duration_s=5.0), FakeTransport(after_s=0.03), meanwhile=stop)
    assert played.stage.was_stopped
    assert sorted(filter(None, (exchange.error for exchange in played.finished))) == ["timeout"] * 3


@pytest.mark.parametrize("arrivals", [constant(100), ClosedArrivals(3)])
def test_a_stage_stopped_before_it_began_sends_nothing(arrivals: OpenArrivals | ClosedArrivals) -> None:
    of = plan(arrivals, duration_s=60.0)

    async def run() -> SendingStage:
        offsets = None if isinstance(arrivals, ClosedArrivals) else compute_offsets_ns(arrivals, 60, 0, 1)
        stage = SendingStage(of, ALL, offsets, perf_counter_ns(), FakeTransport(), built(), asyncio.get_running_loop())
        stage.stop(True, perf_counter_ns())
        await asyncio.wait_for(stage.run(), 5)
        return stage

    stage = asyncio.run(run())
    assert (stage.due_count, stage.was_stopped) == (0, True)


def test_the_lead_in_of_clients_comes_before_the_start() -> None:
    played = play(plan(ClosedArrivals(2), lead_in_s=0.2), FakeTransport(after_s=0.01))
    scheduled_ms = played.since_start_ms("scheduled_ns")
    assert min(scheduled_ms) == -200
    assert 280 < max(scheduled_ms) < 300


# sessions


def test_starts_of_sessions_are_dealt_out_and_their_turns_counted_as_the_shares_own() -> None:
    workload = built(sessions=TWO_TURNS, picks=[0, 2])
    for index, numbers in ((0, {0, 1}), (1, {2, 3})):
        played = play(plan(constant(20)), FakeTransport(after_s=0.01), workload, share=WorkerShare(index, 2))
        assert {exchange.request_index for exchange in played.finished} == numbers
        assert sorted(each.index for each in played.finished) == [index + 2 * n for n in range(len(played.finished))]


@pytest.mark.parametrize("arrivals", [constant(10), ClosedArrivals(1)])
def test_a_session_goes_on_after_each_answer_and_the_pause(arrivals: OpenArrivals | ClosedArrivals) -> None:
    workload = built(sessions=TWO_TURNS, picks=[0, 2])
    played = play(plan(arrivals, max_requests=4), FakeTransport(after_s=0.01), workload)
    rows = sorted(played.finished, key=lambda exchange: exchange.index)
    assert [exchange.request_index for exchange in rows] == [0, 1, 2, 3]
    assert played.stage.scheduled_count is None
    for first, second in ((rows[0], rows[1]), (rows[2], rows[3])):
        assert second.scheduled_ns == ended_ns(first) + 20_000_000
        assert second.sent_ns is not None
        assert second.sent_ns - second.scheduled_ns < 20_000_000


def test_a_failed_turn_ends_its_session() -> None:
    workload = built(sessions=TWO_TURNS, picks=[0, 2])
    for arrivals in (constant(20), ClosedArrivals(1)):
        played = play(plan(arrivals), FakeTransport(failing("timeout"), after_s=0.01), workload)
        assert {exchange.request_index for exchange in played.finished} == {0, 2}


def test_no_turn_is_started_in_the_drain() -> None:
    workload = built(sessions=TWO_TURNS, picks=[0, 2])
    played = play(plan(constant(1)), FakeTransport(after_s=0.29), workload)
    assert [exchange.request_index for exchange in played.finished] == [0]
