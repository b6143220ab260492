"""The simulated servers are compared with manually computed timelines, queueing formulas and conservation laws."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest

from tests.studies.event_simulator import simulate
from tests.studies.influences import AllocationPause, BackgroundJob, PeriodicPause, RequestLeak, SlowStart, TimeLeak
from tests.studies.law_replica import Influence, LawReplica, Layout, Station

ONE, TWO, SHARED = Layout(), Layout((Station(2),)), Layout((Station(1, order="shared"),))
BATCHES = Layout((Station(1, max_batch=2, window_s=5.0, fixed_s=10.0),))


def latencies_s(
    layout: Layout, arrivals_s: Sequence[float], works_s: Sequence[float], *influences: Influence, seed: int = 1
) -> list[float]:
    return simulate(arrivals_s, works_s, lambda: LawReplica(layout, influences, seed))


def poisson(count: int, per_s: float, seed: int = 4) -> list[float]:
    rng = random.Random(seed)
    return list(itertools.accumulate(rng.expovariate(per_s) for _ in range(count)))


@pytest.mark.parametrize(
    ("layout", "arrivals_s", "works_s", "expected_s"),
    [
        # two workers: the third request waits for the first to complete at 3
        (TWO, [0, 1, 2], [3, 5, 1], [3, 5, 2]),
        # one shared core: alone until 1, then half speed; the second completes at 3, the first at 4
        (SHARED, [0, 1], [3, 1], [4, 2]),
        # a full batch does not wait; it takes 10 and twice the longest; the third has waited for its window by 16
        (BATCHES, [0, 1, 2], [1, 3, 2], [17, 16, 27]),
        # the last to come is served first
        (Layout((Station(1, order="last in"),)), [0, 1, 2], [3, 3, 3], [3, 8, 4]),
        # no room at the second station: the worker of the first is blocked from 1 to 6, when the second moves on
        (Layout((Station(1, 0.2), Station(1, 1.0, buffer=0))), [0, 0, 0], [5, 5, 5], [6, 11, 16]),
        # two threads, all need the lock for the second half of their work
        (Layout((Station(9, 0.5), Station(1, 0.5)), threads=2), [0, 0, 0], [4, 4, 4], [4, 6, 8]),
        # responses are released at whole seconds
        (Layout(tick_s=1.0), [0.0, 2.5], [0.4, 0.2], [1.0, 0.5]),
    ],
)
def test_layout_follows_manually_computed_timeline(
    layout: Layout, arrivals_s: list[float], works_s: list[float], expected_s: list[float]
) -> None:
    assert latencies_s(layout, arrivals_s, works_s) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("influence", "expected_s"),
    [
        # pauses from 2 to 3, and from 5 to 6
        (PeriodicPause(2.0, 1.0), [2, 5, 8]),
        # after the second response, for 1 second and half a second for the one that is left
        (AllocationPause(2, 1.0, 0.5), [2, 4, 7.5]),
        # each response adds a tenth: 2, 2.2 and 2.4
        (RequestLeak(0.1, 100, 0.0), [2, 4.2, 6.6]),
        # starts at 0, 2 and 2 + 2 × (1 + 2 / 60)
        (TimeLeak(1.0), [2, 2 + 2 * 62 / 60, 4 + 4 / 60 + 2 * (1 + (4 + 4 / 60) / 60)]),
        # the first takes three times its work, the second twice, the third half as much again
        (SlowStart(0.1, 3.0, 0.5), [6, 10, 13]),
    ],
)
def test_influence_follows_manually_computed_timeline(influence: Influence, expected_s: list[float]) -> None:
    assert latencies_s(ONE, [0, 0, 0], [2, 2, 2], influence) == pytest.approx(expected_s)


def test_background_job_does_not_preempt_running_request() -> None:
    """From 1 on, one of two workers is taken: the third request waits until both of the others are done, at 4."""
    assert latencies_s(TWO, [0, 0, 2], [3, 4, 1], BackgroundJob(1, 1.0, 100.0)) == pytest.approx([3, 4, 3])


@pytest.mark.parametrize(
    ("draw_work_s", "expected_s"),
    [(lambda rng: rng.expovariate(1 / 0.7), 0.7 / 0.3), (lambda _: 0.7, 0.7 + 0.7**2 / (2 * 0.3))],
    ids=["M/M/1", "M/D/1"],
)
def test_mean_latency_matches_queueing_theory(draw_work_s: Callable[[random.Random], float], expected_s: float) -> None:
    rng, arrivals_s = random.Random(5), poisson(60_000, 1.0)
    observed_s = latencies_s(ONE, arrivals_s, [draw_work_s(rng) for _ in arrivals_s])
    assert sum(observed_s) / len(observed_s) == pytest.approx(expected_s, rel=0.06)


def test_share_of_refused_requests_matches_loss_formula() -> None:
    """One worker and one place in the queue is M/M/1/2: at load 1, a third is refused."""
    rng, arrivals_s = random.Random(6), poisson(40_000, 1.0)
    replica = LawReplica(Layout(threads=1, backlog=1), (), 1)
    simulate(arrivals_s, [rng.expovariate(1.0) for _ in arrivals_s], lambda: replica)
    assert len(replica.failed) / len(arrivals_s) == pytest.approx(1 / 3, rel=0.03)


def test_requests_in_server_follow_littles_law() -> None:
    """Little's law, with a lock and pauses: the number at Poisson arrivals is the mean number over time."""
    rng, arrivals_s = random.Random(7), poisson(20_000, 1.0)
    replica = LawReplica(Layout((Station(9, 0.7), Station(1, 0.3)), threads=4), [PeriodicPause(50.0, 2.0)], 1)
    counts: list[int] = []
    arrive = replica.arrive

    def count_and_arrive(now_s: float, request: int, service_s: float) -> None:
        counts.append(replica.outstanding)
        arrive(now_s, request, service_s)

    replica.arrive = count_and_arrive  # type: ignore[method-assign]
    observed_s = simulate(arrivals_s, [rng.expovariate(1 / 1.8) for _ in arrivals_s], lambda: replica)
    per_s = len(arrivals_s) / arrivals_s[-1]
    assert sum(counts) / len(counts) == pytest.approx(per_s * sum(observed_s) / len(observed_s), rel=0.03)


@pytest.mark.parametrize("order", ["first in", "last in", "priority", "shared"])
def test_busy_period_ends_at_same_time_in_any_order(order: str) -> None:
    """One worker that never idles beside work ends its busy period at the same time in any order."""
    rng, arrivals_s = random.Random(8), poisson(400, 1.0)
    works_s = [rng.expovariate(1.0) for _ in arrivals_s]
    ends = 0.0
    for arrival_s, work_s in zip(arrivals_s, works_s, strict=True):
        ends = max(ends, arrival_s) + work_s
    layout = Layout((Station(1, order=order),), priority_share=0.5)  # type: ignore[arg-type]
    observed_s = latencies_s(layout, arrivals_s, works_s)
    assert max(a + b for a, b in zip(arrivals_s, observed_s, strict=True)) == pytest.approx(ends)


def test_parallel_parts_are_joined_when_last_part_ends() -> None:
    """With a worker for each of two exponential parts, the longer of them has a mean of 1.5."""
    arrivals_s = [1000.0 * number for number in range(5_000)]
    observed_s = latencies_s(Layout((Station(2),), parts=2), arrivals_s, [1.0] * 5_000)
    assert sum(observed_s) / len(observed_s) == pytest.approx(1.5, rel=0.05)
