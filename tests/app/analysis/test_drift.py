from __future__ import annotations

import numpy as np
import pytest

from app.analysis.drift import CHANGE_LIMIT, compute_latency_drift
from tests.fakes.queues import latency_s, poisson_s

SEEDS = range(20)


def count_drifting(series: list[np.ndarray]) -> int:
    return sum(abs(compute_latency_drift(latencies) or 0.0) > CHANGE_LIMIT for latencies in series)


def rngs() -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in SEEDS]


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_steady_queue_has_no_latency_drift(load: float) -> None:
    def md1(rng: np.random.Generator) -> np.ndarray:
        arrivals = poisson_s(load * 1_000, 12, rng)
        return latency_s(arrivals, np.full(arrivals.size, 0.001))[arrivals > 2]

    assert count_drifting([md1(rng) for rng in rngs()]) <= 1


def test_rising_latency_is_detected_as_drift() -> None:
    assert count_drifting([rng.lognormal(0, 0.3, 2_000) * np.linspace(1, 1.6, 2_000) for rng in rngs()]) == 20


def test_continued_warmup_is_detected_as_drift() -> None:
    fading = 1 + 2 * np.exp(-np.arange(1_000) / 200)
    assert count_drifting([rng.lognormal(0, 0.3, 1_000) * fading for rng in rngs()]) == 20


def test_growing_backlog_is_detected_as_drift() -> None:
    def overloaded(rng: np.random.Generator) -> np.ndarray:
        arrivals = poisson_s(1_300, 2, rng)
        return latency_s(arrivals, rng.exponential(0.001, arrivals.size))

    assert count_drifting([overloaded(rng) for rng in rngs()]) == 20


def test_few_or_equal_latencies_have_no_drift() -> None:
    assert compute_latency_drift(np.ones(99)) is None
    assert compute_latency_drift(np.ones(100)) == 0.0
    assert compute_latency_drift(np.zeros(100)) == 0.0
