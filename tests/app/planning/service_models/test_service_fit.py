from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.columns import Floats
from app.analysis.objectives import parse_objective
from app.planning.service_models import stage_simulation
from app.planning.service_models.moments import CannotFitError
from app.planning.service_models.service_fit import count_requests, fit_service, group_load_points
from app.planning.simulation.replica import simulate_batch_latencies, simulate_request_latencies
from app.planning.sizing.formulas import estimate_rate_within_slo
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import BatchService, RequestService, ServiceModel, TokenService
from tests.fakes.services import measured_load_points

SHARES = (0.2, 0.4, 0.6, 0.75, 0.85, 0.92)
SERVICES = (RequestService(2, 0.05, 0.6, 0.004), BatchService(0.03, 0.004, 16, cv=0.1))


@pytest.mark.parametrize(
    ("service", "requests"),
    [
        (SERVICES[0], 1000),
        (SERVICES[1], 600),
        *(pytest.param(service, 3000, marks=pytest.mark.soak) for service in SERVICES),
    ],
)
def test_fit_recovers_known_service_within_its_interval(service: RequestService | BatchService, requests: int) -> None:
    load_points = measured_load_points(service, SHARES, requests)
    fit = fit_service(load_points)
    best = fit.services[0]
    assert type(best.service) is type(service)
    if isinstance(service, RequestService):
        assert isinstance(best.service, RequestService)
        assert best.service.slots == service.slots
        names = ("mean_s", "cv")
    else:
        names = ("fixed_s", "per_item_s")
    for name in names:
        index = best.parameters.index(name)
        sigma = math.sqrt(best.log_covariance[index][index])
        assert 0 < sigma < 0.5
        log_error = math.log(getattr(best.service, name) / getattr(service, name))
        assert abs(log_error) < 3 * sigma
    assert sum(candidate.probability for candidate in fit.services) == pytest.approx(1.0)
    assert fit.median_error < 0.05
    assert fit.highest_per_s == max(load_point.achieved_per_s for load_point in load_points)


def simulate_p95_s(service: ServiceModel, per_s: float) -> float:
    """Return the p95 latency of one replica in steady state, in s."""
    rng = np.random.default_rng(9)
    arrivals_s, normals = np.cumsum(rng.exponential(1 / per_s, 300_000)), rng.standard_normal(300_000)
    assert not isinstance(service, TokenService)
    simulate = simulate_batch_latencies if isinstance(service, BatchService) else simulate_request_latencies
    return float(np.quantile(simulate(arrivals_s, normals, service)[5000:], 0.95))  # type: ignore[arg-type]


@pytest.fixture
def simulated_requests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Request counts of all simulations of a fit."""
    counts: list[int] = []

    def count_requests_of(function: Callable[..., Floats]) -> Callable[..., Floats]:
        def counted(arrivals_s: Floats, *rest: object) -> Floats:
            counts.append(arrivals_s.size)
            return function(arrivals_s, *rest)

        return counted

    for simulate in (simulate_request_latencies, simulate_batch_latencies):
        monkeypatch.setattr(stage_simulation, simulate.__name__, count_requests_of(simulate))
    return counts


MAX_REQUESTS_OF_A_PLAN_IN_3_S = 115e6
"""Work instead of time, which depends on the machine: a core simulates over 10 million requests per second."""


HYPEREXPONENTIAL = RequestService(4, 0.05, 1.0, 0.004, slow_share=0.1127, slow_factor=7.873)
"""A service whose squared coefficient of variation is 4."""


@pytest.mark.parametrize(
    ("service", "requests"),
    [
        (HYPEREXPONENTIAL, 500),
        pytest.param(HYPEREXPONENTIAL, 3000, marks=pytest.mark.soak),
        pytest.param(
            RequestService(8, 0.05, 0.05, 0.004, slow_share=0.1, slow_factor=12.0), 3000, marks=pytest.mark.soak
        ),
    ],
)
def test_fit_separates_slow_from_fast_requests(service: RequestService, requests: int) -> None:
    fitted = fit_service(measured_load_points(service, SHARES, requests)).services[0].service
    assert isinstance(fitted, RequestService)
    assert fitted.slow_share > 0
    per_s = 0.85 * service.max_throughput_per_s
    assert simulate_p95_s(fitted, 0.96 * per_s) < simulate_p95_s(service, per_s) < simulate_p95_s(fitted, 1.04 * per_s)


@pytest.mark.soak
def test_fit_considers_slot_counts_between_the_screened_ones() -> None:
    service = RequestService(5, 0.05, 0.4, 0.004)
    fit = fit_service(measured_load_points(service, (0.3, 0.6, 0.8, 0.9), requests=5000))
    (five_slots,) = (
        candidate
        for candidate in fit.services
        if isinstance(candidate.service, RequestService) and candidate.service.slots == 5
    )
    assert five_slots.probability > 0.3
    assert five_slots.service.mean_s == pytest.approx(service.mean_s, rel=0.03)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cores", "requests"),
    [(1, 1000), pytest.param(1, 3000, marks=pytest.mark.soak), pytest.param(4, 3000, marks=pytest.mark.soak)],
)
def test_fit_distinguishes_processor_sharing_from_queueing(
    cores: int, requests: int, simulated_requests: list[int]
) -> None:
    service = RequestService(cores, 0.05, 0.5, 0.004, discipline="processor sharing")
    fitted = fit_service(measured_load_points(service, (0.2, 0.4, 0.6, 0.75, 0.88), requests)).services[0].service
    assert 0 < sum(simulated_requests) < MAX_REQUESTS_OF_A_PLAN_IN_3_S
    assert isinstance(fitted, RequestService)
    assert (fitted.discipline, fitted.slots) == ("processor sharing", cores)
    per_s = 0.85 * service.max_throughput_per_s
    assert simulate_p95_s(fitted, 0.97 * per_s) < simulate_p95_s(service, per_s) < simulate_p95_s(fitted, 1.03 * per_s)


@pytest.mark.soak
def test_fit_recovers_max_batch_of_small_batches_with_a_batching_window() -> None:
    service = BatchService(0.02, 0.002, 4, 0.010, 0.1, 0.002)
    fitted = fit_service(measured_load_points(service, (0.2, 0.4, 0.6, 0.75, 0.88), requests=4000)).services[0].service
    assert isinstance(fitted, BatchService)
    assert fitted.max_batch == 4
    per_s = 0.93 * service.max_throughput_per_s
    assert simulate_p95_s(fitted, 0.96 * per_s) < simulate_p95_s(service, per_s) < simulate_p95_s(fitted, 1.04 * per_s)


def test_fit_needs_3_rates_with_random_or_even_gaps() -> None:
    load_points = measured_load_points(SERVICES[0], (0.3, 0.6), requests=200)
    with pytest.raises(CannotFitError, match="needs percentiles at 3 rates, but there are 2"):
        fit_service(load_points)
    other_gaps = [
        replace(load_point, gaps="other") for load_point in measured_load_points(SERVICES[0], SHARES, requests=200)
    ]
    with pytest.raises(CannotFitError, match="with random or evenly spaced requests, but there are 0"):
        fit_service(other_gaps)


def load_point(per_s: float | None, p50_s: float = 0.1, completed: int | None = 1000) -> MeasuredLoadPoint:
    return MeasuredLoadPoint(
        per_s, None, per_s or 50.0, 10.0, completed, 0, {"latency": {"p50": p50_s, "p95": 2 * p50_s}}
    )


def test_load_points_at_equal_rate_and_gaps_are_one_observation_sorted_by_rate() -> None:
    observed_loads = group_load_points(
        [load_point(200.0), load_point(100.0, 0.1), load_point(100.3, 0.4), load_point(150.0)]
    )
    assert [(observed.offered_per_s, observed.point_count) for observed in observed_loads] == [
        (100.15, 2),
        (150.0, 1),
        (200.0, 1),
    ]
    assert observed_loads[0].names == ("p50", "p95")
    assert [math.exp(log) for log in observed_loads[0].logs] == pytest.approx([0.2, 0.4])  # geometric means
    even = replace(load_point(100.0), gaps="even")
    assert [observed.gaps for observed in group_load_points([load_point(100.0), even])] == ["even", "random"]


def test_closed_loop_and_short_load_points_are_not_observed() -> None:
    assert (
        group_load_points(
            [load_point(None), load_point(100.0, completed=29), replace(load_point(100.0), latencies_s={})]
        )
        == []
    )


def test_request_count_is_from_counters_or_from_rate_and_duration() -> None:
    assert count_requests(replace(load_point(100.0), failed=7)) == 1007
    assert count_requests(load_point(100.0, completed=None)) == 1000
    assert count_requests(replace(load_point(None, completed=None), duration_s=20.0)) == 1000
    assert count_requests(replace(load_point(100.0, completed=None), duration_s=None)) == 1000


def test_load_points_without_counts_and_durations_are_steady_state() -> None:
    load_points = measured_load_points(SERVICES[0], SHARES, requests=200)
    typed = [replace(point, completed=None, failed=None, duration_s=None) for point in load_points]
    assert all(point.is_steady for point in group_load_points(typed))
    assert not any(point.is_steady for point in group_load_points(load_points))


@pytest.mark.soak
def test_fit_of_typed_steady_state_percentiles_recovers_the_rate_within_the_slo(simulated_requests: list[int]) -> None:
    """Typed percentiles are steady-state values. Read as 1,000 requests from an empty queue, they would make this
    replica 1.2 % slower than it is."""
    service = RequestService(1, 0.1, 0.5)
    steady = measured_load_points(service, (0.3, 0.5, 0.7, 0.85, 0.93), requests=150_000)
    typed = [replace(point, completed=None, failed=None, duration_s=None) for point in steady]
    assert all(point.is_steady for point in group_load_points(typed))
    assert not any(point.is_steady for point in group_load_points(steady))
    fitted = fit_service(typed).services[0].service
    assert isinstance(fitted, RequestService)
    objectives = build_slo_objectives([parse_objective("latency_ms.p95 < 1000")])
    rates = [estimate_rate_within_slo(point, objectives, 1, "random") for point in (fitted, service)]
    assert rates[0] == pytest.approx(rates[1], rel=0.008)
    assert 0 < sum(simulated_requests) < MAX_REQUESTS_OF_A_PLAN_IN_3_S


@pytest.mark.soak
@pytest.mark.parametrize("is_typed", [True, False])
def test_fit_simulates_a_bounded_number_of_requests(is_typed: bool, simulated_requests: list[int]) -> None:
    load_points: Sequence[MeasuredLoadPoint] = measured_load_points(SERVICES[0], (0.3, 0.6, 0.8, 0.92))
    if is_typed:
        load_points = [replace(point, completed=None, failed=None, duration_s=None) for point in load_points]
    fit_service(load_points)
    assert 0 < sum(simulated_requests) < MAX_REQUESTS_OF_A_PLAN_IN_3_S
