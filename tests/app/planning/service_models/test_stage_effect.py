from __future__ import annotations

import math

import numpy as np
import pytest

from app.analysis.objectives import parse_objective
from app.planning.service_models.evidence import StageEffect
from app.planning.service_models.stage_effect import compute_stage_effect, find_crossing
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.service import RequestService, TokenService
from tests.studies.event_simulator import Slots, simulate


@pytest.mark.parametrize("begin", [0.1, 3.0, 50.0])
def test_crossing_search_converges_from_any_start_rate(begin: float) -> None:
    rate, sigma = find_crossing(lambda per_s: math.log(per_s / 7.0), (0.1, begin, 100.0), 0.001)
    assert rate == pytest.approx(7.0, rel=0.001)
    assert rate <= 7.0
    assert 0 < sigma <= 0.0005


def test_crossing_outside_the_range_returns_zero_or_the_upper_end() -> None:
    assert find_crossing(lambda _: 1.0, (0.1, 3.0, 100.0), 0.001) == (0.0, 0.0)
    assert find_crossing(lambda _: -1.0, (0.1, 3.0, 100.0), 0.001) == (100.0, 0.0)


def test_crossing_search_evaluates_at_most_14_rates() -> None:
    rates: list[float] = []

    def margin_at(per_s: float) -> float:
        rates.append(per_s)
        return -1.0 if per_s < 7.0 else 1e-9  # a step, which no interpolation finds

    find_crossing(margin_at, (0.1, 3.0, 100.0), 1e-12)
    assert len(rates) == 14


SERVICE = RequestService(1, 1.0, 1.0)
OBJECTIVES = build_slo_objectives([parse_objective("latency_ms.p95 < 40000")])
STEADY_PER_S = 1 - math.log(20) / 40
"""An M/M/1 queue with 1 s of service and its p95 at 40 s; a lognormal of CV 1 has nearly that tail under such load."""
LENGTHS = ((1, 1),)


def compute_effect(requests: int) -> StageEffect:
    effect = compute_stage_effect(SERVICE, OBJECTIVES, LENGTHS, requests, STEADY_PER_S)
    assert effect is not None
    return effect


def test_short_stages_meet_the_slo_at_higher_rates_than_steady_load() -> None:
    short, long = compute_effect(300), compute_effect(20_000)
    assert short.stage_rate_per_s > 1.05 * STEADY_PER_S
    assert long.stage_rate_per_s == pytest.approx(STEADY_PER_S, rel=0.02)
    assert short.spread > 3 * long.spread


def test_about_half_of_stages_meet_the_slo_at_the_stage_rate() -> None:
    """The event simulator shares no code with the product."""
    effect, slo_results = compute_effect(1000), []
    rng = np.random.default_rng(1)
    sigma = math.sqrt(math.log(2))
    for _ in range(40):
        arrivals_s = np.cumsum(rng.exponential(1 / effect.stage_rate_per_s, 1000)).tolist()
        services_s = rng.lognormal(-(sigma**2) / 2, sigma, 1000).tolist()
        latencies_s = sorted(simulate(arrivals_s, services_s, lambda: Slots(1)))
        slo_results.append(latencies_s[949] < 40.0)
    assert 0.3 < np.mean(slo_results) < 0.7


def test_stage_effect_of_a_token_service_falls_with_stage_length() -> None:
    service = TokenService(0.01, 0.001, 1e-6, max_sequences=4, kv_tokens=10**9, cv=0.1)
    objectives = build_slo_objectives([parse_objective("ttft_ms.p95 < 2000")])
    lengths = tuple((10, outputs) for outputs in range(1, 40))
    short, long = (compute_stage_effect(service, objectives, lengths, requests, 14.0) for requests in (200, 4000))
    assert short is not None
    assert long is not None
    assert short.stage_rate_per_s > 1.02 * long.stage_rate_per_s


def test_stage_effect_is_none_without_percentiles_or_far_from_the_steady_rate() -> None:
    assert (
        compute_stage_effect(
            SERVICE, build_slo_objectives([parse_objective("latency_ms.mean < 4000")]), LENGTHS, 300, 0.7
        )
        is None
    )
    assert compute_stage_effect(SERVICE, OBJECTIVES, LENGTHS, 300, 0.1) is None
