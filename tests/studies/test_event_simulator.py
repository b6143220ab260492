"""The simulator that evaluates plans is compared with manually computed timelines and two queueing formulas."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from tests.studies.event_simulator import ROUTERS, Batches, ProcessorSharing, Replica, Router, Slots, simulate


@pytest.mark.parametrize(
    ("new_replica", "arrivals_s", "services_s", "expected_s"),
    [
        # two slots: the third request waits for the first to complete at 3
        (lambda: Slots(2), [0, 1, 2], [3, 5, 1], [3, 5, 2]),
        # one core: alone until 1, then half speed; the second completes at 3, the first at 4
        (lambda: ProcessorSharing(1), [0, 1], [3, 1], [4, 2]),
        # two cores: two requests do not slow each other down
        (lambda: ProcessorSharing(2), [0, 1], [3, 1], [3, 1]),
        # window 2, batch of at most 3 that takes 10 + 1 each: two at 2, then the rest at once, as their window is over
        (lambda: Batches(10, 1, 3, 2), [0, 1, 3], [1, 1, 1], [14, 13, 22]),
        # a full batch does not wait for its window
        (lambda: Batches(10, 1, 2, 5), [0, 1, 2], [1, 1, 1], [13, 12, 22]),
    ],
)
def test_replica_follows_manually_computed_timeline(
    new_replica: Callable[[], Replica], arrivals_s: list[float], services_s: list[float], expected_s: list[float]
) -> None:
    assert simulate(arrivals_s, services_s, new_replica) == pytest.approx(expected_s)


def test_poisson_queues_have_mean_of_queueing_theory() -> None:
    rng = random.Random(4)
    arrivals_s = list(itertools.accumulate(rng.expovariate(1.0) for _ in range(60_000)))
    services_s = [rng.choice([0.1, 1.3]) for _ in arrivals_s]  # mean 0.7, second moment 0.85
    first_come = simulate(arrivals_s, services_s, lambda: Slots(1))
    shared = simulate(arrivals_s, services_s, lambda: ProcessorSharing(1))
    assert sum(first_come) / len(first_come) == pytest.approx(0.7 + 0.85 / (2 * 0.3), rel=0.06)  # Pollaczek–Khinchine
    assert sum(shared) / len(shared) == pytest.approx(0.7 / 0.3, rel=0.06)  # whatever the distribution


def test_routers_have_known_ranking_of_mean_latency() -> None:
    rng = random.Random(5)
    arrivals_s = list(itertools.accumulate(rng.expovariate(1.0) for _ in range(20_000)))
    services_s = [rng.expovariate(1 / 6.8) for _ in arrivals_s]  # 8 replicas, 85 % busy

    def mean_s(router: Router) -> float:
        return sum(simulate(arrivals_s, services_s, lambda: Slots(1), 8, router)) / len(arrivals_s)

    means_s = {router: mean_s(router) for router in ROUTERS}
    assert means_s["least-outstanding"] < means_s["power-of-two"] < means_s["round-robin"] < means_s["random"]
