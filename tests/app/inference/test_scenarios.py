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
from tests.fakes.callers import PlayedCaller, ReceivedCalls, TimedCaller, plan_of
from tests.fakes.clock import FakeClock

STARTS = (0, 8, 16)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def received() -> ReceivedCalls:
    return ReceivedCalls()


def steady(service_ms: float = 10.0) -> Iterator[float]:
    return itertools.repeat(service_ms)


def played(
    plan: Measure, caller: PlayedCaller, received: ReceivedCalls, clock: FakeClock, *, keeps: bool = False
) -> ScenarioEnd:
    return run_scenario(plan, [caller], STARTS, received, OutputSampler(is_enabled=keeps), clock)


def timed(plan: Measure, callers: list[TimedCaller], received: ReceivedCalls) -> ScenarioEnd:
    return run_scenario(plan, callers, STARTS, received, OutputSampler(is_enabled=False))


def test_single_stream_is_one_call_after_another_over_rows_in_turn(clock: FakeClock, received: ReceivedCalls) -> None:
    caller = PlayedCaller(clock, steady())
    ended = played(plan_of("single-stream", most_s=1.0), caller, received, clock)
    assert caller.starts[:5] == [0, 8, 16, 0, 8]
    assert list(received.column("query")) == list(range(len(received.rows)))
    begin_ns, end_ns = received.column("begin_ns"), received.column("end_ns")
    assert (begin_ns[1:] == end_ns[:-1]).all(), "nothing of the harness lies between two calls of a window"
    assert (received.column("scheduled_ns") == -1).all()
    assert begin_ns[0] == received.start_ns
    assert ended.end_ns == end_ns[-1]
    assert len(received.windows) == 4, "of a quarter of a second"


def test_warm_up_ends_with_three_windows_that_agree_and_its_rows_come_before(
    clock: FakeClock, received: ReceivedCalls
) -> None:
    first = [40.0] * 5 + [20.0] * 9  # the first two windows, each of 1.5 services a call; all that follow agree
    caller = PlayedCaller(clock, itertools.chain(first, steady()))
    played(plan_of("single-stream", most_s=0.3, warmup_most_s=60.0), caller, received, clock)
    assert (received.warmup_windows, received.is_stationary) == (5, True)
    assert len(received.warmups) == 5
    assert received.start_ns is not None
    for table in received.warmups:
        assert (table[:, COLUMNS.index("end_ns")] <= received.start_ns).all()
    assert (received.column("begin_ns") >= received.start_ns).all()


def test_warm_up_that_never_finalizes_ends_with_its_time(clock: FakeClock, received: ReceivedCalls) -> None:
    growing = (10.0 * 1.01**number for number in itertools.count())
    played(plan_of("single-stream", most_s=0.3, warmup_most_s=2.0), PlayedCaller(clock, iter(growing)), received, clock)
    assert received.is_stationary is False
    assert received.start_ns is not None
    assert 3.0 <= received.start_ns / 1e9 < 3.5, "the clock began at 1 s"


def test_warm_up_windows_of_slow_calls_have_three_of_them(clock: FakeClock, received: ReceivedCalls) -> None:
    played(plan_of("single-stream", warmup_most_s=60.0), PlayedCaller(clock, steady(1000)), received, clock)
    assert [len(table) for table in received.warmups] == [3, 3, 3]


@pytest.mark.parametrize(
    ("least_s", "half_width", "least_calls", "ends_after_s"),
    [(0.0, 1.0, 1, 0.5), (1.0, 1.0, 1, 1.27), (0.0, 1.0, 100, 2.0), (0.0, 1e-9, 1, 3.0)],
    ids=["at once", "at least so long", "at least so many", "never as narrow as asked"],
)
def test_enough_is_time_and_calls_and_an_interval_as_narrow_as_asked(
    clock: FakeClock, received: ReceivedCalls, least_s: float, half_width: float, least_calls: int, ends_after_s: float
) -> None:
    noisy = itertools.cycle([9.0, 11.0])
    plan = plan_of("single-stream", least_s=least_s, most_s=3.0, half_width=half_width, least_calls=least_calls)
    ended = played(plan, PlayedCaller(clock, noisy), received, clock)
    assert received.start_ns is not None
    assert (ended.end_ns - received.start_ns) / 1e9 == pytest.approx(ends_after_s, abs=0.1)


def test_half_width_is_a_share_of_the_mean_of_the_measured_part(clock: FakeClock, received: ReceivedCalls) -> None:
    assert played(plan_of("single-stream"), PlayedCaller(clock, steady()), received, clock).half_width == 0
    one = played(plan_of("single-stream", most_s=0.01), PlayedCaller(clock, steady(1000)), ReceivedCalls(), clock)
    assert one.half_width is None, "one call tells no interval"


def test_call_that_fails_ends_it_and_rows_reported_before_stay_reported(
    clock: FakeClock, received: ReceivedCalls
) -> None:
    with pytest.raises(RuntimeError, match="the call failed"):
        played(plan_of("single-stream", most_s=9.0), PlayedCaller(clock, steady(), fails_at=60), received, clock)
    assert 34 <= len(received.rows) < 60


def test_outputs_are_kept_from_the_measured_run_beside_their_inputs(clock: FakeClock, received: ReceivedCalls) -> None:
    kept = OutputSampler(is_enabled=True)
    caller = PlayedCaller(clock, steady())
    run_scenario(plan_of("single-stream", most_s=2.0), [caller], STARTS, received, kept, clock)
    pair = kept.pair_with_reference(np.arange(24).reshape(-1, 1), 1)
    assert pair is not None
    ours, theirs = pair
    assert (ours == theirs).all()
    assert 20 < len(ours) <= 64


def test_offline_of_one_stream_needs_no_thread(clock: FakeClock, received: ReceivedCalls) -> None:
    caller = TimedCaller(0.002)
    timed(plan_of("offline"), [caller], received)
    assert caller.threads == {threading.get_ident()}


def test_offline_keeps_every_stream_busy_on_a_thread_of_its_own(received: ReceivedCalls) -> None:
    callers = [TimedCaller(0.002), TimedCaller(0.004)]
    ended = timed(plan_of("offline", streams=2), callers, received)
    assert all(len(caller.threads) == 1 for caller in callers)
    assert callers[0].threads != callers[1].threads
    assert sorted(received.column("query")) == list(range(len(received.rows)))
    for stream in (0, 1):
        rows = received.rows[received.column("stream") == stream]
        begin_ns, end_ns = (rows[:, COLUMNS.index(name)] for name in ("begin_ns", "end_ns"))
        assert len(rows) > 10
        assert (begin_ns[1:] >= end_ns[:-1]).all()
    overlaps = received.column("begin_ns")[1:] < received.column("end_ns")[:-1]
    assert overlaps.any(), "they call at the same time"
    assert received.start_ns is not None
    assert received.column("begin_ns").min() >= received.start_ns
    assert ended.end_ns - received.start_ns >= 300_000_000


def test_queries_of_multi_stream_are_whole_and_begin_when_the_last_of_the_one_before_ended(
    received: ReceivedCalls,
) -> None:
    timed(plan_of("multi-stream", streams=3), [TimedCaller(pause_s) for pause_s in (0.001, 0.002, 0.004)], received)
    query, end_ns, scheduled_ns = (received.column(name) for name in ("query", "end_ns", "scheduled_ns"))
    assert set(Counter(query).values()) == {3}
    assert sorted(set(query)) == list(range(len(set(query)))), "none is left out"
    for number in range(1, int(query.max()) + 1):
        (due_ns,) = set(scheduled_ns[query == number])
        assert due_ns >= end_ns[query == number - 1].max()
        assert set(received.column("stream")[query == number]) == {0, 1, 2}


def test_queries_are_whole_however_fast_they_are() -> None:
    for _ in range(5):
        received = ReceivedCalls()
        timed(plan_of("multi-stream", streams=2, most_s=0.01), [TimedCaller(0.0), TimedCaller(0.0)], received)
        assert set(Counter(received.column("query")).values()) == {2}


@pytest.mark.timing
@pytest.mark.parametrize("scenario", ["multi-stream", "offline", "server"])
def test_stream_that_fails_ends_all_and_rows_before_are_reported(scenario: str, received: ReceivedCalls) -> None:
    plan = plan_of(scenario, streams=2, most_s=30.0, rate_per_s=500.0)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="the call failed"):
        timed(plan, [TimedCaller(0.001), TimedCaller(0.001, calls=20)], received)
    assert len(received.rows) >= 40 - 2


def test_server_takes_arrivals_in_order_at_the_seeds_poisson_times(received: ReceivedCalls) -> None:
    plan = plan_of("server", streams=2, most_s=0.4, rate_per_s=300.0)
    ended = timed(plan, [TimedCaller(0.001), TimedCaller(0.001)], received)
    offsets = compute_offsets_ns(OpenArrivals("poisson", ((0.0, 300.0),)), 0.4, 0.0, plan.seed)
    assert received.start_ns is not None
    order = np.argsort(received.column("query"))
    assert list(received.column("scheduled_ns")[order] - received.start_ns) == list(offsets)
    begin_ns = received.column("begin_ns")[order]
    assert (begin_ns >= received.column("scheduled_ns")[order]).all(), "none begins before it is due"
    for stream in (0, 1):
        mine = received.column("stream")[order] == stream
        assert (np.diff(begin_ns[mine]) > 0).all(), "first come, first served"
    assert ended.end_ns == received.start_ns + 400_000_000


def test_arrivals_that_nobody_got_to_are_reported_as_rows_without_a_begin(received: ReceivedCalls) -> None:
    plan = plan_of("server", most_s=0.2, rate_per_s=400.0)
    timed(plan, [TimedCaller(0.02)], received)
    offsets = compute_offsets_ns(OpenArrivals("poisson", ((0.0, 400.0),)), 0.2, 0.0, plan.seed)
    query, begin_ns = received.column("query"), received.column("begin_ns")
    assert sorted(query) == list(range(len(offsets))), "each arrival is told once"
    never = begin_ns == -1
    assert 0.5 * len(offsets) < never.sum() < len(offsets)
    assert query[~never].max() < query[never].min(), "it is the last ones that were not got to"
    assert received.start_ns is not None
    assert list(received.column("scheduled_ns")[never] - received.start_ns) == list(offsets[query[never]])
    assert (received.rows[never][:, COLUMNS.index("end_ns")] == -1).all()
    assert begin_ns.max() <= received.start_ns + 300_000_000 + 20_000_000, (
        "a backlog is worked at for half as long again"
    )
