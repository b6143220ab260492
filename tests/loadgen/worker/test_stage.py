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
from loadgen.records import ClosedArrivals, OpenArrivals, StageLoad, StagePlan, WorkerShare
from loadgen.transport.exchange import Exchange, StreamReader, Tokens
from loadgen.worker.stage import SendingStage
from loadgen.worker.traffic import Schedule
from tests.fakes.transport import FakeTransport

pytestmark = pytest.mark.timing

REQUESTS = [b"zero", b"one", b"two", b"three"]
TWO_TURNS = Sessions(next_request_indices=[1, None, 3, None], think_times_ns=[20_000_000, 0, 20_000_000, 0])
DURATION_S = 0.3
SINGLE_WORKER = WorkerShare()


class StageResult(NamedTuple):
    stage: SendingStage
    transport: FakeTransport
    finished: list[Exchange]

    def since_start_ms(self, field: str) -> list[float]:
        return [(getattr(exchange, field) - self.stage.start_ns) / 1e6 for exchange in self.finished]

    def list_think_times_ns(self) -> list[int]:
        """Return the times of a single client from each response to its next request."""
        rows = sorted(self.finished, key=lambda exchange: exchange.index)
        return [after.scheduled_ns - get_end_ns(before) for before, after in pairwise(rows)]


def get_end_ns(exchange: Exchange) -> int:
    assert exchange.end_ns is not None
    return exchange.end_ns


def prepare_workload(
    *,
    check: CheckResponse = check_http_status,
    new_reader: Callable[[], StreamReader] | None = None,
    indices: Sequence[int] | None = None,
    sessions: Sessions | None = None,
) -> PreparedWorkload:
    return PreparedWorkload(
        requests=REQUESTS, check=check, label="GET /", new_reader=new_reader, request_indices=indices, sessions=sessions
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
    return StagePlan(
        0, "s", StageLoad(arrivals, duration_s, lead_in_s=lead_in_s, max_requests=max_requests), seed, drain_s=drain_s
    )


def constant(rate: float) -> OpenArrivals:
    return OpenArrivals("constant", ((0.0, rate),))


def run_stage(
    stage_plan: StagePlan,
    transport: FakeTransport | None = None,
    workload: PreparedWorkload | None = None,
    meanwhile: Callable[[SendingStage], None] | None = None,
    at_s: float = 0.1,
    on_refused_key: Callable[[], None] | None = None,
    share: WorkerShare = SINGLE_WORKER,
) -> StageResult:
    """Run a stage; call `meanwhile` `at_s` after its start."""
    transport = transport or FakeTransport()

    async def run() -> SendingStage:
        loop = asyncio.get_running_loop()
        offsets = None
        if not isinstance(stage_plan.load.arrivals, ClosedArrivals):
            offsets = Schedule(stage_plan, share).own_offsets
        start_ns = perf_counter_ns() + round(stage_plan.load.lead_in_s * 1e9)
        stage = SendingStage(
            stage_plan, share, offsets, start_ns, transport, workload or prepare_workload(), loop, on_refused_key
        )
        if meanwhile is not None:
            loop.call_later(at_s, meanwhile, stage)
        await asyncio.wait_for(stage.run(), 10)
        return stage

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stage = runner.run(run())
    return StageResult(stage, transport, list(stage.finished_exchanges))


def fail_with(error: str) -> Callable[[Exchange], None]:
    def respond(exchange: Exchange) -> None:
        exchange.error = error

    return respond


# open-loop arrivals


@pytest.mark.parametrize("arrivals", [constant(20), ClosedArrivals(2)])
def test_stage_continues_with_requests_after_those_of_previous_stages(
    arrivals: OpenArrivals | ClosedArrivals,
) -> None:
    stage_plan = msgspec.structs.replace(plan(arrivals, max_requests=4), first_request=6)
    sent = sorted(
        (exchange.index, exchange.request_index)
        for index in range(2)
        for exchange in run_stage(
            stage_plan, workload=prepare_workload(indices=[3, 0, 1, 2]), share=WorkerShare(index, 2)
        ).transport.submitted
    )
    assert sent == [(0, 1), (1, 2), (2, 3), (3, 0)]


def test_requests_are_sent_in_order() -> None:
    result = run_stage(plan(constant(20)))
    assert [exchange.request for exchange in result.transport.submitted] == [*REQUESTS, *REQUESTS[:2]]
    assert [exchange.index for exchange in result.transport.submitted] == list(range(6))


def test_requests_are_sent_in_order_of_request_indices() -> None:
    result = run_stage(plan(constant(20)), workload=prepare_workload(indices=[2, 2, 0]))
    assert [exchange.request_index for exchange in result.transport.submitted] == [2, 2, 0, 2, 2, 0]


def test_open_stage_lasts_its_duration_regardless_of_last_arrival() -> None:
    result = run_stage(plan(constant(4)))
    assert len(result.finished) == 2
    assert (perf_counter_ns() - result.stage.start_ns) / 1e9 >= DURATION_S


def test_max_requests_ends_stage_immediately() -> None:
    result = run_stage(plan(constant(100), duration_s=5.0, max_requests=3))
    assert len(result.finished) == 3
    assert (perf_counter_ns() - result.stage.start_ns) / 1e9 < 1


def test_lead_in_requests_precede_start_and_are_in_rows() -> None:
    result = run_stage(plan(constant(100), lead_in_s=0.2))
    scheduled_ms = result.since_start_ms("scheduled_ns")
    assert sorted(map(round, scheduled_ms)) == list(range(-200, 300, 10))
    assert result.stage.scheduled_count == 50


def test_each_streamed_response_has_its_own_reader() -> None:
    class Reader:
        tokens, detail = Tokens(), None

        def feed(self, piece: bytes, at_ns: int, /) -> None: ...

    readers: list[Reader] = []

    def new_reader() -> Reader:
        readers.append(Reader())
        return readers[-1]

    result = run_stage(plan(constant(20)), workload=prepare_workload(new_reader=new_reader))
    assert len(readers) == 6
    assert {id(exchange.reader) for exchange in result.finished} == set(map(id, readers))


def test_response_check_sets_error_and_exception_in_check_is_bad_payload() -> None:
    def check(exchange: Exchange) -> ResponseCheck:
        if exchange.request_index == 1:
            raise ZeroDivisionError
        return ResponseCheck("bad-output" if exchange.request_index == 2 else None, correct_rows=exchange.request_index)

    result = run_stage(plan(constant(20)), workload=prepare_workload(check=check))
    errors = {exchange.request_index: (exchange.error, exchange.correct_rows) for exchange in result.finished}
    assert errors == {0: (None, 0), 1: ("bad-payload", None), 2: ("bad-output", 2), 3: (None, 3)}
    assert (result.stage.completed_count, result.stage.failed_count) == (3, 3)


@pytest.mark.parametrize(("status", "error"), [(204, None), (302, "bad-payload"), (404, "http-4xx"), (503, "http-5xx")])
def test_status_determines_error_without_expectation(status: int, error: str | None) -> None:
    def respond(exchange: Exchange) -> None:
        exchange.status = status

    assert {exchange.error for exchange in run_stage(plan(constant(20)), FakeTransport(respond)).finished} == {error}


def test_status_401_requests_new_key_and_remains_http_4xx() -> None:
    key_requests: list[int] = []

    def respond(exchange: Exchange) -> None:
        exchange.status = 401 if exchange.index == 2 else 200

    result = run_stage(plan(constant(20)), FakeTransport(respond), on_refused_key=lambda: key_requests.append(1))
    assert len(key_requests) == 1
    assert [exchange.error for exchange in result.finished].count("http-4xx") == 1


# rate changes


def change_now(stage: SendingStage, rate_per_s: float) -> None:
    now_ns = perf_counter_ns()
    stage.change_rate(rate_per_s, compute_offsets_ns(constant(rate_per_s), 5, 0, 1)[1:], now_ns, now_ns)


def test_changed_rate_applies_immediately_and_rate_curve_has_jump() -> None:
    def change(stage: SendingStage) -> None:
        change_now(stage, 500)

    result = run_stage(plan(constant(20), duration_s=0.4), meanwhile=change, at_s=0.2)
    (first, before, after, last) = result.stage.get_executed_rates()
    assert (first, last) == ((0, 20), (0.4, 500))
    assert before[0] == after[0] == pytest.approx(0.2, abs=0.05)
    assert (before[1], after[1]) == (20, 500)
    scheduled_s = np.array(result.since_start_ms("scheduled_ns")) / 1e3
    assert (scheduled_s < before[0]).sum() == pytest.approx(20 * before[0], abs=1.1)
    assert (scheduled_s >= before[0]).sum() == pytest.approx(500 * (0.4 - before[0]), abs=2)
    assert result.stage.scheduled_count == len(result.finished)


def test_rate_change_drops_no_arrival_that_was_due() -> None:
    def change(stage: SendingStage) -> None:
        start_ns = perf_counter_ns()
        while (now_ns := perf_counter_ns()) < start_ns + 50_000_000:
            """Block the event loop, so that nothing is sent."""
        stage.change_rate(1, np.array([], np.int64), now_ns, now_ns)

    result = run_stage(plan(constant(1_000)), meanwhile=change)
    due_by_then = round(result.stage.get_executed_rates()[1][0] * 1e9) // 1_000_000 + 1
    assert 150 <= due_by_then < 300
    assert len(result.finished) == result.stage.scheduled_count == due_by_then


def test_changed_rate_respects_max_requests() -> None:
    def change(stage: SendingStage) -> None:
        change_now(stage, 1_000)

    result = run_stage(plan(constant(50), duration_s=0.5, max_requests=15), meanwhile=change)
    assert len(result.finished) == 15


def test_rate_change_after_last_request_has_no_effect() -> None:
    def change(stage: SendingStage) -> None:
        change_now(stage, 1_000)

    stage_plan, slow = plan(constant(100), duration_s=1.0, max_requests=3), FakeTransport(after_s=0.3)
    assert run_stage(stage_plan, slow, meanwhile=change).stage.get_executed_rates() == ((0.0, 100.0), (1.0, 100.0))


def test_closed_stage_ignores_rate_change() -> None:
    def change(stage: SendingStage) -> None:
        change_now(stage, 500)

    assert run_stage(plan(ClosedArrivals(2)), meanwhile=change).stage.get_executed_rates() == ()


def test_rate_curve_of_stopped_stage_ends_at_stop() -> None:
    result = run_stage(plan(constant(20)), meanwhile=lambda stage: stage.stop(True, perf_counter_ns()))
    (_, (end_s, rate)) = result.stage.get_executed_rates()
    assert rate == 20
    assert end_s == pytest.approx(0.1, abs=0.05)
    assert result.stage.was_stopped


def test_previous_rate_applies_until_time_of_change() -> None:
    def change(stage: SendingStage) -> None:
        soon_ns = stage.start_ns + 200_000_000
        stage.change_rate(200, compute_offsets_ns(constant(200), 5, 0, 1)[1:], soon_ns, perf_counter_ns())

    result = run_stage(plan(constant(100)), meanwhile=change, at_s=0.05)
    scheduled_ms = sorted(result.since_start_ms("scheduled_ns"))
    assert scheduled_ms == [*range(0, 200, 10), *range(205, 300, 5)]
    assert result.stage.scheduled_count == len(scheduled_ms)
    assert result.stage.get_executed_rates() == ((0, 100), (0.2, 100), (0.2, 200), (0.3, 200))
    assert [exchange.index for exchange in result.transport.submitted] == list(range(len(scheduled_ms)))


def test_late_rate_change_removes_no_sent_request() -> None:
    def change(stage: SendingStage) -> None:
        stage.change_rate(200, compute_offsets_ns(constant(200), 5, 0, 1)[1:], stage.start_ns, perf_counter_ns())

    result = run_stage(plan(constant(100)), meanwhile=change, at_s=0.15)
    changed_ms = result.stage.get_executed_rates()[1][0] * 1e3
    before = [time_ms for time_ms in result.since_start_ms("scheduled_ns") if time_ms <= changed_ms]
    assert changed_ms == pytest.approx(150, abs=50)
    assert before == list(range(0, int(changed_ms) + 1, 10))
    assert len({exchange.index for exchange in result.finished}) == len(result.finished) == result.stage.scheduled_count


# shares


def test_arrivals_of_all_shares_match_those_of_single_worker() -> None:
    stage_plan, workload = (
        plan(OpenArrivals("poisson", ((0.0, 100.0),)), max_requests=25),
        prepare_workload(indices=[3, 0, 1, 1, 2]),
    )

    def send(share: WorkerShare) -> list[tuple[int, int, int]]:
        result = run_stage(stage_plan, workload=workload, share=share)
        assert result.stage.scheduled_count == len(result.finished)
        return [
            (exchange.index, exchange.scheduled_ns - result.stage.start_ns, exchange.request_index)
            for exchange in result.finished
        ]

    single = sorted(send(SINGLE_WORKER))
    assert len(single) >= 15
    for workers in (2, 3, 4):
        assert sorted(arrival for index in range(workers) for arrival in send(WorkerShare(index, workers))) == single


def test_arrivals_of_all_shares_match_those_of_single_worker_after_rate_change() -> None:
    def send(share: WorkerShare) -> list[tuple[int, int, int]]:
        stage_plan = plan(OpenArrivals("poisson", ((0.0, 60.0),)), duration_s=0.4)
        schedule = Schedule(stage_plan, share)

        def change(stage: SendingStage) -> None:
            for at_ns, rate_per_s, number in ((100_000_000, 200.0, 1), (200_000_000, 80.0, 2)):
                later = schedule.change_rate(rate_per_s, at_ns, number)
                assert later is not None
                stage.change_rate(rate_per_s, later, stage.start_ns + at_ns, perf_counter_ns())

        result = run_stage(stage_plan, meanwhile=change, at_s=0.01, share=share)
        return [
            (exchange.index, exchange.scheduled_ns - result.stage.start_ns, exchange.request_index)
            for exchange in result.finished
        ]

    single = sorted(send(SINGLE_WORKER))
    assert [index for index, *_ in single] == list(range(len(single)))
    for workers in (2, 3):
        assert sorted(arrival for index in range(workers) for arrival in send(WorkerShare(index, workers))) == single


@pytest.mark.parametrize(
    ("share", "clients"),
    [(WorkerShare(0, 3), 2), (WorkerShare(1, 3), 1), (WorkerShare(2, 3), 1), (WorkerShare(4, 5), 0)],
)
def test_clients_are_divided_among_shares(share: WorkerShare, clients: int) -> None:
    result = run_stage(plan(ClosedArrivals(4)), FakeTransport(after_s=0.01), share=share)
    assert result.transport.most_in_flight == clients
    assert {exchange.index % share.worker_count for exchange in result.finished} <= {share.index}
    # even with nothing to send
    assert (perf_counter_ns() - result.stage.start_ns) / 1e9 >= DURATION_S
    assert not result.stage.was_stopped


def test_clients_of_each_share_have_their_own_think_times() -> None:
    def list_think_times(share: WorkerShare) -> list[int]:
        stage_plan = plan(ClosedArrivals(2, think_s=0.01), duration_s=0.3)
        return run_stage(stage_plan, FakeTransport(after_s=0), share=share).list_think_times_ns()

    first, repeated, other = (
        list_think_times(WorkerShare(0, 2)),
        list_think_times(WorkerShare(0, 2)),
        list_think_times(WorkerShare(1, 2)),
    )
    assert first[:8] == repeated[:8]
    assert first[:8] != other[:8]


@pytest.mark.parametrize("arrivals", [constant(100), ClosedArrivals(8)])
@pytest.mark.parametrize(("index", "expected"), [(0, [0, 3]), (1, [1, 4]), (2, [2])])
def test_max_requests_are_divided_among_shares(
    arrivals: OpenArrivals | ClosedArrivals, index: int, expected: list[int]
) -> None:
    result = run_stage(plan(arrivals, duration_s=5.0, max_requests=5), share=WorkerShare(index, 3))
    assert sorted(exchange.index for exchange in result.finished) == expected


@pytest.mark.parametrize("arrivals", [constant(100), ClosedArrivals(8)])
def test_share_without_requests_ends_immediately(arrivals: OpenArrivals | ClosedArrivals) -> None:
    result = run_stage(plan(arrivals, duration_s=60.0, max_requests=2), share=WorkerShare(2, 3))
    assert (result.finished, result.stage.was_stopped) == ([], False)


# closed-loop clients


def test_client_sends_next_request_when_response_arrives() -> None:
    result = run_stage(plan(ClosedArrivals(3)), FakeTransport(after_s=0.01))
    assert result.transport.most_in_flight == 3
    assert result.stage.scheduled_count is None
    assert result.since_start_ms("scheduled_ns").count(0) == 3
    ends = {exchange.end_ns for exchange in result.finished}
    later = [exchange for exchange in result.finished if exchange.scheduled_ns != result.stage.start_ns]
    assert len(later) > 20
    assert {exchange.scheduled_ns for exchange in later} <= ends
    assert max(result.since_start_ms("scheduled_ns")) < 300


def test_closed_stage_ends_on_time_without_responses() -> None:
    result = run_stage(plan(ClosedArrivals(3), drain_s=0.1), FakeTransport(after_s=None))
    assert [exchange.error for exchange in result.finished] == ["timeout"] * 3
    assert (perf_counter_ns() - result.stage.start_ns) / 1e9 == pytest.approx(0.4, abs=0.2)


def test_clients_send_no_more_than_max_requests() -> None:
    result = run_stage(plan(ClosedArrivals(3), duration_s=5.0, max_requests=10))
    assert len(result.finished) == result.stage.due_count == 10


def test_max_requests_may_be_smaller_than_number_of_clients() -> None:
    assert len(run_stage(plan(ClosedArrivals(8), duration_s=5.0, max_requests=3)).finished) == 3


def test_think_times_are_exponential_with_requested_mean() -> None:
    result = run_stage(plan(ClosedArrivals(200, think_s=0.05), duration_s=1.0), FakeTransport(after_s=0.001))
    ends_ns = sorted(get_end_ns(exchange) for exchange in result.finished)
    later_ns = sorted(exchange.scheduled_ns for exchange in result.finished)[200:]
    # Little's law: the mean is the number of clients between a response and their next request, over the rate
    think_s = (sum(later_ns) - sum(ends_ns[: len(later_ns)])) / len(later_ns) / 1e9
    assert 0.035 < think_s < 0.055


def test_think_times_are_seeded() -> None:
    def list_think_times(seed: int) -> list[int]:
        stage_plan = plan(ClosedArrivals(1, think_s=0.01), seed=seed, duration_s=0.5)
        return run_stage(stage_plan, FakeTransport(after_s=0)).list_think_times_ns()

    first, repeated, other = list_think_times(1), list_think_times(1), list_think_times(2)
    assert len(first) > 20
    common = min(len(first), len(repeated))
    assert first[:common] == repeated[:common]
    assert first[:10] != other[:10]
    assert stats.kstest(np.array(first) / 1e9, "expon", args=(0, 0.01)).pvalue > 0.001


@pytest.mark.parametrize("error", ["connect", "dns", "tls", "send"])
def test_clients_without_connection_back_off(error: str) -> None:
    result = run_stage(plan(ClosedArrivals(4)), FakeTransport(fail_with(error), after_s=0))
    assert 8 <= len(result.finished) <= 12


def test_synchronous_failures_do_not_overflow_stack() -> None:
    result = run_stage(
        plan(ClosedArrivals(1), max_requests=5_000, duration_s=5.0), FakeTransport(fail_with("timeout"), 0)
    )
    assert len(result.finished) == 5_000


def test_stopped_closed_stage_sends_no_more_requests() -> None:
    stop = lambda stage: stage.stop(False, perf_counter_ns())  # noqa: E731
    result = run_stage(plan(ClosedArrivals(3), duration_s=5.0), FakeTransport(after_s=0.03), meanwhile=stop)
    assert result.stage.was_stopped
    assert sorted(filter(None, (exchange.error for exchange in result.finished))) == ["timeout"] * 3


@pytest.mark.parametrize("arrivals", [constant(100), ClosedArrivals(3)])
def test_stage_stopped_before_start_sends_nothing(arrivals: OpenArrivals | ClosedArrivals) -> None:
    stage_plan = plan(arrivals, duration_s=60.0)

    async def run() -> SendingStage:
        offsets = None if isinstance(arrivals, ClosedArrivals) else compute_offsets_ns(arrivals, 60, 0, 1)
        stage = SendingStage(
            stage_plan,
            SINGLE_WORKER,
            offsets,
            perf_counter_ns(),
            FakeTransport(),
            prepare_workload(),
            asyncio.get_running_loop(),
        )
        stage.stop(True, perf_counter_ns())
        await asyncio.wait_for(stage.run(), 5)
        return stage

    stage = asyncio.run(run())
    assert (stage.due_count, stage.was_stopped) == (0, True)


def test_lead_in_of_clients_precedes_start() -> None:
    result = run_stage(plan(ClosedArrivals(2), lead_in_s=0.2), FakeTransport(after_s=0.01))
    scheduled_ms = result.since_start_ms("scheduled_ns")
    assert min(scheduled_ms) == -200
    assert 280 < max(scheduled_ms) < 300


# sessions


def test_sessions_are_divided_among_shares_and_turns_have_indices_of_share() -> None:
    workload = prepare_workload(sessions=TWO_TURNS, indices=[0, 2])
    for index, numbers in ((0, {0, 1}), (1, {2, 3})):
        result = run_stage(plan(constant(20)), FakeTransport(after_s=0.01), workload, share=WorkerShare(index, 2))
        assert {exchange.request_index for exchange in result.finished} == numbers
        assert sorted(sent.index for sent in result.finished) == [index + 2 * n for n in range(len(result.finished))]


@pytest.mark.parametrize("arrivals", [constant(10), ClosedArrivals(1)])
def test_next_turn_follows_response_after_think_time(arrivals: OpenArrivals | ClosedArrivals) -> None:
    workload = prepare_workload(sessions=TWO_TURNS, indices=[0, 2])
    result = run_stage(plan(arrivals, max_requests=4), FakeTransport(after_s=0.01), workload)
    rows = sorted(result.finished, key=lambda exchange: exchange.index)
    assert [exchange.request_index for exchange in rows] == [0, 1, 2, 3]
    assert result.stage.scheduled_count is None
    for first, second in ((rows[0], rows[1]), (rows[2], rows[3])):
        assert second.scheduled_ns == get_end_ns(first) + 20_000_000
        assert second.sent_ns is not None
        assert second.sent_ns - second.scheduled_ns < 20_000_000


def test_failed_turn_ends_its_session() -> None:
    workload = prepare_workload(sessions=TWO_TURNS, indices=[0, 2])
    for arrivals in (constant(20), ClosedArrivals(1)):
        result = run_stage(plan(arrivals), FakeTransport(fail_with("timeout"), after_s=0.01), workload)
        assert {exchange.request_index for exchange in result.finished} == {0, 2}


def test_no_turn_is_started_during_drain() -> None:
    workload = prepare_workload(sessions=TWO_TURNS, indices=[0, 2])
    result = run_stage(plan(constant(1)), FakeTransport(after_s=0.29), workload)
    assert [exchange.request_index for exchange in result.finished] == [0]
