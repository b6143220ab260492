from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from app.analysis.search import Probe, RateSearch
from tests.fakes.queues import latency_s, mm1_latency_quantile_s, poisson_s

Responder = Callable[[float], bool]


def run(search: RateSearch, holds: Responder) -> list[tuple[Probe, bool]]:
    tried: list[tuple[Probe, bool]] = []
    while (probe := search.next()) is not None:
        assert search.next() == probe  # the same again until it was recorded
        held = holds(probe.rate_per_s)
        search.record(probe, held)
        tried.append((probe, held))
    return tried


def below(limit_per_s: float) -> Responder:
    return lambda rate_per_s: rate_per_s <= limit_per_s


@pytest.mark.parametrize("limit_per_s", [10.0, 11.0, 137.0, 999.0, 12_345.0, 3.3, 0.4])
def test_a_sharp_limit_is_found_to_2_percent(limit_per_s: float) -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    tried = run(search, below(limit_per_s))
    outcome = search.outcome()
    assert outcome.max_rate_per_s is not None
    assert limit_per_s / 1.02 <= outcome.max_rate_per_s <= limit_per_s
    assert outcome.reason is None
    low, high = outcome.bracket
    assert low == outcome.max_rate_per_s
    assert high is not None
    assert low <= limit_per_s < high <= 1.02 * low
    assert [probe.repeat for probe, _ in tried if probe.kind == "hold"] == [1, 2, 3]
    assert outcome.probes == len(tried) <= 25


def test_the_rate_is_doubled_and_then_bisected_in_log_space() -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    rates = [probe.rate_per_s for probe, _ in run(search, below(45))]
    assert rates[:4] == [10, 20, 40, 80]
    assert rates[4] == pytest.approx(math.sqrt(40 * 80))


def test_a_start_that_fails_is_halved() -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    assert [probe.rate_per_s for probe, _ in run(search, below(3))][:3] == [10, 5, 2.5]


def test_a_target_that_carries_nothing_ends_the_search() -> None:
    search = RateSearch(start_per_s=64, repeats=3)
    tried = run(search, below(0))
    assert [probe.rate_per_s for probe, _ in tried] == [64, 32, 16, 8, 4, 2, 1]
    outcome = search.outcome()
    assert outcome.max_rate_per_s is None
    assert outcome.reason == "even 1/s, the lowest rate tried, failed"
    assert outcome.bracket == (None, 1)


def test_a_target_without_limit_is_held_at_the_end_of_the_budget() -> None:
    search = RateSearch(start_per_s=1, repeats=3, max_probes=10)
    tried = run(search, below(math.inf))
    assert search.outcome().max_rate_per_s == 2.0**6
    assert search.outcome().bracket == (2.0**6, None)
    assert len(tried) == 10


def test_a_search_that_was_left_says_so() -> None:
    search = RateSearch(start_per_s=10, repeats=3)
    assert search.outcome().reason == "the search was cut short"
    probe = search.next()
    assert probe is not None
    search.record(probe, True)
    assert search.outcome().max_rate_per_s is None
    assert search.outcome().bracket == (10, None)


def test_a_hold_that_fails_fails_its_rate() -> None:
    """100/s passes every probe and fails its second hold."""
    search = RateSearch(start_per_s=100, repeats=2)
    answers = iter([True, False, *[False] * 6, True, False])
    tried = run(search, lambda rate: next(answers, True))
    holds = [(probe.rate_per_s, probe.repeat, held) for probe, held in tried if probe.kind == "hold"]
    first = holds[0][0]
    assert holds[:2] == [(first, 1, True), (first, 2, False)]
    assert holds[2:] == [(first / 1.02, 1, True), (first / 1.02, 2, True)]
    assert search.outcome().max_rate_per_s == first / 1.02
    assert search.outcome().bracket == (first / 1.02, first)


def test_the_last_holds_of_the_budget_go_to_a_rate_that_is_likely_to_hold() -> None:
    search = RateSearch(start_per_s=100, repeats=2, resolution=0.5, max_probes=6)
    answers = iter([True, False, True, False, True, True])
    holds = [probe.rate_per_s for probe, _ in run(search, lambda rate: next(answers)) if probe.kind == "hold"]
    assert holds == [holds[0], holds[0] / 1.08, holds[0] / 1.08]
    assert search.outcome().max_rate_per_s == holds[1]


@pytest.mark.parametrize("seed", range(200))
def test_no_rate_is_reported_that_failed_a_hold_or_held_too_seldom(seed: int) -> None:
    """Targets that answer by a coin whose odds fall with the rate, from sharp to hardly at all."""
    rng = np.random.default_rng(seed)
    knee, steepness = 10 ** rng.uniform(-1, 5), 10 ** rng.uniform(-0.5, 2)
    repeats = int(rng.integers(1, 5))
    search = RateSearch(start_per_s=10 ** rng.uniform(0, 3), repeats=repeats)
    tried = run(search, lambda rate: bool(rng.random() < 1 / (1 + (rate / knee) ** steepness)))
    outcome = search.outcome()
    assert len(tried) == outcome.probes <= 25
    if outcome.max_rate_per_s is None:
        assert outcome.reason
        return
    holds = [held for probe, held in tried if probe.kind == "hold" and probe.rate_per_s == outcome.max_rate_per_s]
    assert holds == [True] * repeats
    failed = [probe.rate_per_s for probe, held in tried if not held]
    assert all(rate > outcome.max_rate_per_s for rate in failed)


def simulated(kind: str, seed: int, hold_s: float = 30.0, service_per_s: float = 1_000.0) -> float:
    """The answer of a search over the true knee, in an SLO on p95 that is met up to 0.85 of what the server carries."""
    rng = np.random.default_rng(seed)
    knee_per_s = 0.85 * service_per_s
    limit_s = mm1_latency_quantile_s(knee_per_s, service_per_s, 0.95) if kind == "M/M/1" else _md1_p95_s(service_per_s)

    def holds(rate_per_s: float) -> bool:
        arrivals = poisson_s(rate_per_s, hold_s, rng)
        exponential = rng.exponential(1 / service_per_s, arrivals.size)
        service = exponential if kind == "M/M/1" else np.full(arrivals.size, 1 / service_per_s)
        return bool(np.quantile(latency_s(arrivals, service), 0.95, method="inverted_cdf") < limit_s)

    search = RateSearch(start_per_s=10, repeats=3)
    assert len(run(search, holds)) <= 25
    found = search.outcome().max_rate_per_s
    assert found is not None
    return found / knee_per_s


def _md1_p95_s(service_per_s: float) -> float:
    """p95 at 0.85 of an M/D/1, from 2,000,000 requests of virtual time."""
    rng = np.random.default_rng(0)
    arrivals = np.cumsum(rng.exponential(1 / (0.85 * service_per_s), 2_000_000))
    return float(np.quantile(latency_s(arrivals, np.full(arrivals.size, 1 / service_per_s)), 0.95))


@pytest.mark.parametrize("kind", ["M/M/1", "M/D/1"])
def test_a_known_knee_is_found_within_5_percent(kind: str) -> None:
    """30 s holds: 19 of 20 seeds."""
    ratios = [simulated(kind, seed) for seed in range(20)]
    assert sum(abs(ratio - 1) < 0.05 for ratio in ratios) >= 19, ratios
