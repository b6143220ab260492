from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from app.inference.job import Measure
from app.inference.sampling import OutputSampler
from app.inference.scenarios import ScenarioEnd, run_scenario
from app.records.calls import COLUMNS
from loadgen.arrivals import compute_offsets_ns
from loadgen.records import OpenArrivals
from tests.fakes.callers import ReceivedCalls, SimulatedCaller, TimedCaller, plan_of
from tests.fakes.clock import FakeClock

STARTS = (0, 8, 16)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def received() -> ReceivedCalls:
    return ReceivedCalls()


def repeat_service_time(service_ms: float = 10.0) -> Iterator[float]:
    return itertools.repeat(service_ms)


def run_simulated(
    plan: Measure, caller: SimulatedCaller, received: ReceivedCalls, clock: FakeClock, *, stores_outputs: bool = False
) -> ScenarioEnd:
    return run_scenario(plan, [caller], STARTS, received, OutputSampler(is_enabled=stores_outputs), clock)


def run_timed(plan: Measure, callers: list[TimedCaller], received: ReceivedCalls) -> ScenarioEnd:
    return run_scenario(plan, callers, STARTS, received, OutputSampler(is_enabled=False))


def test_single_stream_calls_follow_each_other_over_the_rows(clock: FakeClock, received: ReceivedCalls) -> None:
    caller = SimulatedCaller(clock, repeat_service_time())
    ended = run_simulated(plan_of("single-stream", max_s=1.0), caller, received, clock)
    assert caller.starts[:5] == [0, 8, 16, 0, 8]
    assert list(received.column("query")) == list(range(len(received.rows)))
    begin_ns, end_ns = received.column("begin_ns"), received.column("end_ns")
    assert (begin_ns[1:] == end_ns[:-1]).all(), "calls of a window follow each other without a gap"
    assert (received.column("scheduled_ns") == -1).all()
    assert begin_ns[0] == received.start_ns
    assert ended.end_ns == end_ns[-1]
    assert len(received.windows) == 4, "each takes a quarter of a second"


def test_warm_up_ends_after_three_stationary_windows(clock: FakeClock, received: ReceivedCalls) -> None:
    first = [40.0] * 5 + [20.0] * 9  # the first two windows, with 1.5 service times per call; all that follow agree
    caller = SimulatedCaller(clock, itertools.chain(first, repeat_service_time()))
    run_simulated(plan_of("single-stream", max_s=0.3, max_warmup_s=60.0), caller, received, clock)
    assert (received.warmup_windows, received.is_stationary) == (5, True)
    assert len(received.warmups) == 5
    assert received.start_ns is not None
    for table in received.warmups:
        assert (table[:, COLUMNS.index("end_ns")] <= received.start_ns).all()
    assert (received.column("begin_ns") >= received.start_ns).all()


def test_warm_up_that_is_never_stationary_ends_at_its_time_limit(clock: FakeClock, received: ReceivedCalls) -> None:
    growing = (10.0 * 1.01**number for number in itertools.count())
    run_simulated(
        plan_of("single-stream", max_s=0.3, max_warmup_s=2.0), SimulatedCaller(clock, iter(growing)), received, clock
    )
    assert received.is_stationary is False
    assert received.start_ns is not None
    assert 3.0 <= received.start_ns / 1e9 < 3.5, "the clock starts at 1 s"


def test_warm_up_windows_have_at_least_three_calls(clock: FakeClock, received: ReceivedCalls) -> None:
    run_simulated(
        plan_of("single-stream", max_warmup_s=60.0), SimulatedCaller(clock, repeat_service_time(1000)), received, clock
    )
    assert [len(table) for table in received.warmups] == [3, 3, 3]


@pytest.mark.parametrize(
    ("min_s", "half_width", "min_calls", "ends_after_s"),
    [(0.0, 1.0, 1, 0.5), (1.0, 1.0, 1, 1.27), (0.0, 1.0, 100, 2.0), (0.0, 1e-9, 1, 3.0)],
    ids=["at once", "minimum duration", "minimum calls", "interval never narrow enough"],
)
def test_measurement_ends_after_min_time_min_calls_and_narrow_interval(
    clock: FakeClock, received: ReceivedCalls, min_s: float, half_width: float, min_calls: int, ends_after_s: float
) -> None:
    noisy = itertools.cycle([9.0, 11.0])
    plan = plan_of("single-stream", min_s=min_s, max_s=3.0, half_width=half_width, min_calls=min_calls)
    ended = run_simulated(plan, SimulatedCaller(clock, noisy), received, clock)
    assert received.start_ns is not None
    assert (ended.end_ns - received.start_ns) / 1e9 == pytest.approx(ends_after_s, abs=0.1)


def test_half_width_is_0_for_equal_calls_and_none_for_one_call(clock: FakeClock, received: ReceivedCalls) -> None:
    assert (
        run_simulated(
            plan_of("single-stream"), SimulatedCaller(clock, repeat_service_time()), received, clock
        ).half_width
        == 0
    )
    end = run_simulated(
        plan_of("single-stream", max_s=0.01), SimulatedCaller(clock, repeat_service_time(1000)), ReceivedCalls(), clock
    )
    assert end.half_width is None, "one call has no confidence interval"


def test_failed_call_ends_the_scenario_after_its_reported_rows(clock: FakeClock, received: ReceivedCalls) -> None:
    with pytest.raises(RuntimeError, match="the call failed"):
        run_simulated(
            plan_of("single-stream", max_s=9.0),
            SimulatedCaller(clock, repeat_service_time(), fails_at=60),
            received,
            clock,
        )
    assert 34 <= len(received.rows) < 60


def test_measured_outputs_are_sampled_with_their_input_rows(clock: FakeClock, received: ReceivedCalls) -> None:
    sampler = OutputSampler(is_enabled=True)
    caller = SimulatedCaller(clock, repeat_service_time())
    run_scenario(plan_of("single-stream", max_s=2.0), [caller], STARTS, received, sampler, clock)
    pair = sampler.pair_with_reference(np.arange(24).reshape(-1, 1), 1)
    assert pair is not None
    outputs, reference = pair
    assert (outputs == reference).all()
    assert 20 < len(outputs) <= 64


def test_offline_with_one_stream_starts_no_thread(clock: FakeClock, received: ReceivedCalls) -> None:
    caller = TimedCaller(0.002)
    run_timed(plan_of("offline"), [caller], received)
    assert caller.threads == {threading.get_ident()}


def test_offline_streams_run_in_parallel_on_separate_threads(received: ReceivedCalls) -> None:
    callers = [TimedCaller(0.002), TimedCaller(0.004)]
    ended = run_timed(plan_of("offline", streams=2), callers, received)
    assert all(len(caller.threads) == 1 for caller in callers)
    assert callers[0].threads != callers[1].threads
    assert sorted(received.column("query")) == list(range(len(received.rows)))
    for stream in (0, 1):
        rows = received.rows[received.column("stream") == stream]
        begin_ns, end_ns = (rows[:, COLUMNS.index(name)] for name in ("begin_ns", "end_ns"))
        assert len(rows) > 10
        assert (begin_ns[1:] >= end_ns[:-1]).all()
    overlaps = received.column("begin_ns")[1:] < received.column("end_ns")[:-1]
    assert overlaps.any(), "their calls overlap"
    assert received.start_ns is not None
    assert received.column("begin_ns").min() >= received.start_ns
    assert ended.end_ns - received.start_ns >= 300_000_000


def test_multi_stream_query_starts_after_the_previous_query_ends(
    received: ReceivedCalls,
) -> None:
    run_timed(plan_of("multi-stream", streams=3), [TimedCaller(pause_s) for pause_s in (0.001, 0.002, 0.004)], received)
    query, end_ns, scheduled_ns = (received.column(name) for name in ("query", "end_ns", "scheduled_ns"))
    assert set(Counter(query).values()) == {3}
    assert sorted(set(query)) == list(range(len(set(query)))), "no query is missing"
    for number in range(1, int(query.max()) + 1):
        (due_ns,) = set(scheduled_ns[query == number])
        assert due_ns >= end_ns[query == number - 1].max()
        assert set(received.column("stream")[query == number]) == {0, 1, 2}


def test_fast_multi_stream_queries_have_a_call_per_stream() -> None:
    for _ in range(5):
        received = ReceivedCalls()
        run_timed(plan_of("multi-stream", streams=2, max_s=0.01), [TimedCaller(0.0), TimedCaller(0.0)], received)
        assert set(Counter(received.column("query")).values()) == {2}


@pytest.mark.timing
@pytest.mark.parametrize("scenario", ["multi-stream", "offline", "server"])
def test_failed_stream_ends_all_streams_after_their_reported_rows(scenario: str, received: ReceivedCalls) -> None:
    plan = plan_of(scenario, streams=2, max_s=30.0, rate_per_s=500.0)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="the call failed"):
        run_timed(plan, [TimedCaller(0.001), TimedCaller(0.001, calls=20)], received)
    assert len(received.rows) >= 40 - 2


def test_server_scenario_serves_seeded_poisson_arrivals_in_order(received: ReceivedCalls) -> None:
    plan = plan_of("server", streams=2, max_s=0.4, rate_per_s=300.0)
    ended = run_timed(plan, [TimedCaller(0.001), TimedCaller(0.001)], received)
    offsets = compute_offsets_ns(OpenArrivals("poisson", ((0.0, 300.0),)), 0.4, 0.0, plan.seed)
    assert received.start_ns is not None
    order = np.argsort(received.column("query"))
    assert list(received.column("scheduled_ns")[order] - received.start_ns) == list(offsets)
    begin_ns = received.column("begin_ns")[order]
    assert (begin_ns >= received.column("scheduled_ns")[order]).all(), "no call starts before its scheduled time"
    for stream in (0, 1):
        is_of_stream = received.column("stream")[order] == stream
        assert (np.diff(begin_ns[is_of_stream]) > 0).all(), "first come, first served"
    assert ended.end_ns == received.start_ns + 400_000_000


def test_unserved_arrivals_are_rows_without_begin_and_end(received: ReceivedCalls) -> None:
    plan = plan_of("server", max_s=0.2, rate_per_s=400.0)
    run_timed(plan, [TimedCaller(0.02)], received)
    offsets = compute_offsets_ns(OpenArrivals("poisson", ((0.0, 400.0),)), 0.2, 0.0, plan.seed)
    query, begin_ns = received.column("query"), received.column("begin_ns")
    assert sorted(query) == list(range(len(offsets))), "each arrival is reported once"
    is_unserved = begin_ns == -1
    assert 0.5 * len(offsets) < is_unserved.sum() < len(offsets)
    assert query[~is_unserved].max() < query[is_unserved].min(), "only the last arrivals are unserved"
    assert received.start_ns is not None
    assert list(received.column("scheduled_ns")[is_unserved] - received.start_ns) == list(offsets[query[is_unserved]])
    assert (received.rows[is_unserved][:, COLUMNS.index("end_ns")] == -1).all()
    assert begin_ns.max() <= received.start_ns + 300_000_000 + 20_000_000, (
        "a backlog is served for at most half of the duration more"
    )
