from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.columns import Floats
from app.analysis.token_samples import build_sample_from_pairs
from app.planning.service_models import stage_simulation
from app.planning.service_models.moments import CannotFitError
from app.planning.service_models.stage_simulation import RESPONSE_GAP, TokenLoad, TokenSimulation
from app.planning.service_models.token_fit import compute_mean_lengths, fit_token_service, has_token_latencies
from app.planning.simulation.replica import simulate_token_latencies
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import UNLIMITED_TOKENS, TokenService
from tests.tiers import first_in_unit_tier

SERVICE = TokenService(0.012, 0.0004, 2e-5, max_sequences=256, kv_tokens=UNLIMITED_TOKENS, cv=0.05, outside_s=0.002)
NAMES = ("ttft p50", "ttft p95", "tpot p50", "tpot p95", "latency p50", "latency p95", RESPONSE_GAP)


def simulate_load_point(
    per_s: float | None, clients: int | None = None, service: TokenService = SERVICE, requests: int = 600
) -> MeasuredLoadPoint:
    load = TokenLoad(per_s, clients, np.array([[500, 100]]))
    simulation = TokenSimulation.draw(load, requests, 1, np.random.SeedSequence(int(1000 * (per_s or clients or 0))))
    values = dict(zip(NAMES, map(float, np.exp(simulation.simulate(service, NAMES).log_means)), strict=True))
    achieved = 1 / values.pop(RESPONSE_GAP)
    latencies: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        metric, aggregate = name.split()
        latencies.setdefault(metric, {})[aggregate] = value
    return MeasuredLoadPoint(per_s, clients, achieved, requests / achieved, requests, 0, latencies, 500.0, 100.0)


@pytest.fixture
def simulated_requests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Request counts of all simulations of a fit; a core simulates about two million requests per second."""
    counts: list[int] = []

    def simulate_and_count(arrivals_s: Floats, *rest: Any) -> tuple[Floats, Floats]:
        counts.append(arrivals_s.size)
        return simulate_token_latencies(arrivals_s, *rest)

    monkeypatch.setattr(stage_simulation, "simulate_token_latencies", simulate_and_count)
    return counts


@pytest.mark.parametrize(
    "loads",
    first_in_unit_tier([[(r, None) for r in (0.5, 2.0, 5.0, 9.0)], [(None, c) for c in (1, 4, 12, 32)]]),
    ids=["open", "closed"],
)
def test_token_fit_recovers_known_service(
    loads: list[tuple[float | None, int | None]], simulated_requests: list[int]
) -> None:
    load_points = [simulate_load_point(per_s, clients) for per_s, clients in loads]
    simulated_requests.clear()
    fit = fit_token_service(load_points)
    assert sum(simulated_requests) < 8_000_000
    best = fit.services[0]
    assert isinstance(best.service, TokenService)
    for batch in (1, 16):  # step time for one sequence and for a batch
        truth_s = SERVICE.step_s + batch * SERVICE.per_sequence_s
        assert best.service.step_s + batch * best.service.per_sequence_s == pytest.approx(truth_s, rel=0.06)
    index = best.parameters.index("step_s")
    sigma = math.sqrt(best.log_covariance[index][index])
    assert abs(math.log(best.service.step_s / SERVICE.step_s)) < 3 * sigma
    assert fit.median_error < 0.05
    assert best.service.kv_tokens == UNLIMITED_TOKENS  # no request was queued


def test_token_fit_recovers_max_sequences_and_derives_kv_tokens() -> None:
    narrow = replace(SERVICE, max_sequences=8)
    load_points = [simulate_load_point(None, clients, narrow) for clients in (1, 4, 8, 32)]
    fitted = fit_token_service(load_points).services[0].service
    assert isinstance(fitted, TokenService)
    assert fitted.max_sequences == 8
    assert fitted.kv_tokens == 8 * 600
    with_known_limit = fit_token_service(load_points, max_sequences=8).services[0].service
    assert isinstance(with_known_limit, TokenService)
    assert (with_known_limit.max_sequences, with_known_limit.kv_tokens) == (8, UNLIMITED_TOKENS)


def test_token_fit_needs_3_loads_and_token_counts() -> None:
    load_points = [simulate_load_point(per_s) for per_s in (0.5, 2.0)]
    with pytest.raises(CannotFitError, match="at 3 loads, but there are 2"):
        fit_token_service(load_points)
    with pytest.raises(CannotFitError, match="the token counts of prompts and responses are not reported"):
        fit_token_service([replace(load_point, input_tokens_mean=None) for load_point in load_points])


def test_output_length_is_derived_from_latency_ttft_and_tpot_if_not_counted() -> None:
    means = {"latency": {"mean": 2.1}, "ttft": {"mean": 0.1}, "tpot": {"mean": 0.02}}
    load_point = MeasuredLoadPoint(1.0, None, 1.0, 60.0, 60, 0, means, input_tokens_mean=300.0)
    assert compute_mean_lengths([load_point]) == pytest.approx((300.0, 101.0))
    assert compute_mean_lengths([replace(load_point, input_tokens_mean=None)]) is None
    assert has_token_latencies(load_point)
    assert not has_token_latencies(replace(load_point, latencies_s={"latency": {"mean": 2.1}, "ttft": {"mean": 0.1}}))
    assert has_token_latencies(replace(load_point, latencies_s={"ttft": {"p50": 0.1}, "itl": {"mean": 0.02}}))


def draw_uneven_lengths(seed: int) -> np.ndarray:
    """Draw lognormal input lengths with a few long documents, and lognormal output lengths."""
    rng = np.random.default_rng(seed)
    inputs = np.exp(6 + 0.6 * rng.standard_normal(600)) * np.where(rng.random(600) < 0.05, 6.0, 1.0)
    outputs = np.exp(4.3 + 0.6 * rng.standard_normal(600))
    lengths: np.ndarray = np.rint(np.column_stack([inputs, outputs])).astype(np.int64)
    return lengths


def simulate_uneven_load_point(per_s: float, service: TokenService) -> MeasuredLoadPoint:
    pairs = draw_uneven_lengths(round(1000 * per_s))
    simulation = TokenSimulation.draw(
        TokenLoad(per_s, None, pairs), 600, 1, np.random.SeedSequence(round(1000 * per_s))
    )
    values = dict(zip(NAMES, map(float, np.exp(simulation.simulate(service, NAMES).log_means)), strict=True))
    duration_s = 600 * values.pop(RESPONSE_GAP)
    latencies: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        metric, aggregate = name.split()
        latencies.setdefault(metric, {})[aggregate] = value
    inputs, outputs = pairs.mean(axis=0)
    return MeasuredLoadPoint(
        per_s,
        None,
        600 / duration_s,
        600 / per_s,
        600,
        0,
        latencies,
        inputs,
        outputs,
        lengths=build_sample_from_pairs(pairs),
    )


@pytest.mark.soak
def test_token_fit_simulates_a_bounded_number_of_requests(simulated_requests: list[int]) -> None:
    """A limit that no load point reaches is not fitted."""
    best = fit_token_service(
        [simulate_uneven_load_point(per_s, SERVICE) for per_s in (1.0, 2.5, 4.0, 5.5, 7.0, 8.0)]
    ).services[0]
    assert "max_sequences" not in best.parameters
    assert "kv_tokens" not in best.parameters
    assert 0 < sum(simulated_requests) < 6_000_000


@pytest.mark.parametrize(
    ("limit", "value", "rates"),
    [
        ("kv_tokens", 9_000, (2.5, 4.4, 6.0)),
        pytest.param("kv_tokens", 9_000, (1.0, 2.5, 3.5, 4.4, 5.2, 6.0), marks=pytest.mark.soak),
        pytest.param("max_sequences", 16, (1.0, 2.5, 4.0, 5.5, 7.0, 8.0), marks=pytest.mark.soak),
    ],
)
def test_token_fit_recovers_admission_limits_from_uneven_lengths(
    limit: str, value: int, rates: tuple[float, ...]
) -> None:
    service = replace(SERVICE, **{limit: value})
    best = fit_token_service([simulate_uneven_load_point(per_s, service) for per_s in rates]).services[0]
    assert limit in best.parameters
    assert getattr(best.service, limit) == pytest.approx(value, rel=0.12)
