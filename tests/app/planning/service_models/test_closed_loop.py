from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from app.planning.service_models.closed_loop import RESPONSE_GAP, ClosedLoopSimulation, fit_closed_loop
from app.planning.service_models.moments import CannotFitError
from app.planning.simulation.closed_loop import simulate_closed_requests
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import RequestService, TokenService

SERVICE = RequestService(4, 0.05, 0.5, outside_s=0.005)


def simulate_load_point(clients: int, service: RequestService = SERVICE, requests: int = 800) -> MeasuredLoadPoint:
    normals = np.random.default_rng(clients).standard_normal(requests)
    arrivals_s, ends_s = simulate_closed_requests(clients, normals, service)
    times_s = ends_s - arrivals_s + service.outside_s
    percentiles_s = {"p50": float(np.quantile(times_s, 0.5)), "p95": float(np.quantile(times_s, 0.95))}
    last_s = float(ends_s.max())
    return MeasuredLoadPoint(None, clients, requests / last_s, last_s, requests, 0, {"latency": percentiles_s})


def test_closed_loop_with_many_clients_reaches_the_max_throughput_of_the_slots() -> None:
    normals = np.random.default_rng(1).standard_normal((3, 4000))
    statistics = ClosedLoopSimulation(32, normals, ("p50", RESPONSE_GAP)).simulate(SERVICE)
    p50_s, gap_s = np.exp(statistics.log_means)
    assert 1 / gap_s == pytest.approx(SERVICE.max_throughput_per_s, rel=0.03)
    assert p50_s == pytest.approx(32 * gap_s, rel=0.05)  # Little's law
    (two_client_gap_s,) = np.exp(ClosedLoopSimulation(2, normals, (RESPONSE_GAP,)).simulate(SERVICE).log_means)
    assert 1 / two_client_gap_s == pytest.approx(2 / (SERVICE.mean_s + SERVICE.outside_s), rel=0.03)


def test_closed_loop_of_requests_does_not_simulate_a_token_service() -> None:
    simulation = ClosedLoopSimulation(2, np.zeros((1, 10)), (RESPONSE_GAP,))
    with pytest.raises(TypeError, match="TokenSimulation"):
        simulation.simulate(TokenService(0.01, 1e-4, 5e-5, max_sequences=4, kv_tokens=1000))


@pytest.mark.parametrize(
    ("clients", "requests"), [((1, 4, 16), 200), pytest.param((1, 2, 4, 8, 16), 800, marks=pytest.mark.soak)]
)
def test_closed_loop_fit_recovers_known_service_within_its_interval(clients: tuple[int, ...], requests: int) -> None:
    fit = fit_closed_loop([simulate_load_point(number, requests=requests) for number in clients])
    same_slots = [
        candidate
        for candidate in fit.services
        if isinstance(candidate.service, RequestService) and candidate.service.slots == SERVICE.slots
    ]
    # with 200 requests, three slots explain the numbers as well
    assert sum(candidate.probability for candidate in same_slots) > 0.3
    for candidate in same_slots:
        assert isinstance(candidate.service, RequestService)
        index = candidate.parameters.index("mean_s")
        sigma = math.sqrt(candidate.log_covariance[index][index])
        assert sigma < 0.1
        assert abs(math.log(candidate.service.mean_s / SERVICE.mean_s)) < 3 * sigma
        assert candidate.service.max_throughput_per_s == pytest.approx(SERVICE.max_throughput_per_s, rel=0.05)
    assert fit.highest_per_s == pytest.approx(SERVICE.max_throughput_per_s, rel=0.05)
    if requests >= 800:
        assert same_slots[0] is fit.services[0]


def test_closed_loop_fit_needs_3_levels_of_concurrency() -> None:
    load_points = [
        simulate_load_point(2),
        simulate_load_point(2),
        simulate_load_point(8),
        replace(simulate_load_point(4), completed=20),
    ]
    with pytest.raises(CannotFitError, match="at 3 levels of concurrency, but there are 2"):
        fit_closed_loop(load_points)


@pytest.mark.soak  # with fewer requests, batches explain these numbers as well
def test_closed_loop_fit_uses_mean_latency_or_throughput_without_percentiles() -> None:
    latency_s = {"mean": 0.0551}
    mean_only = [
        replace(simulate_load_point(clients, requests=3000), latencies_s={"latency": latency_s})
        for clients in (1, 2, 4)
    ]
    by_mean = fit_closed_loop(mean_only).services[0].service
    by_rate = fit_closed_loop([replace(load_point, latencies_s={}) for load_point in mean_only]).services[0].service
    for service in (by_mean, by_rate):
        assert isinstance(service, RequestService)
        assert service.mean_s + service.outside_s == pytest.approx(SERVICE.mean_s + SERVICE.outside_s, rel=0.1)
