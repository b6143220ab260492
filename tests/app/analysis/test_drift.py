from __future__ import annotations

import numpy as np
import pytest

from app.analysis.drift import CHANGE_LIMIT, compute_latency_drift
from tests.fakes.queues import latency_s, poisson_s

SEEDS = range(20)


def flagged(series: list[np.ndarray]) -> int:
    return sum(abs(compute_latency_drift(one) or 0.0) > CHANGE_LIMIT for one in series)


def rngs() -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in SEEDS]


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_a_steady_queue_stands_still(load: float) -> None:
    def md1(rng: np.random.Generator) -> np.ndarray:
        arrivals = poisson_s(load * 1_000, 12, rng)
        return latency_s(arrivals, np.full(arrivals.size, 0.001))[arrivals > 2]

    assert flagged([md1(rng) for rng in rngs()]) <= 1


def test_a_ramp_is_seen() -> None:
    assert flagged([rng.lognormal(0, 0.3, 2_000) * np.linspace(1, 1.6, 2_000) for rng in rngs()]) == 20


def test_a_warm_up_that_goes_on_is_seen() -> None:
    fading = 1 + 2 * np.exp(-np.arange(1_000) / 200)
    assert flagged([rng.lognormal(0, 0.3, 1_000) * fading for rng in rngs()]) == 20


def test_a_growing_backlog_is_seen() -> None:
    def overloaded(rng: np.random.Generator) -> np.ndarray:
        arrivals = poisson_s(1_300, 2, rng)
        return latency_s(arrivals, rng.exponential(0.001, arrivals.size))

    assert flagged([overloaded(rng) for rng in rngs()]) == 20


def test_few_or_equal_values_report_nothing() -> None:
    assert compute_latency_drift(np.ones(99)) is None
    assert compute_latency_drift(np.ones(100)) == 0.0
    assert compute_latency_drift(np.zeros(100)) == 0.0
