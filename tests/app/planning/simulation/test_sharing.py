from __future__ import annotations

import math

import numpy as np
import pytest

from app.analysis.columns import Floats
from app.planning.service_models.service_times import compute_service_factors
from app.planning.simulation.closed_loop import simulate_closed_requests
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.replica import simulate_request_latencies
from app.planning.simulation.results import compute_busy_s
from app.planning.simulation.serving import advance_to, fail_replica, get_totals, serve
from app.planning.simulation.state import LATENCY, SUM, create_fleet
from app.planning.simulation.steady import simulate_steady
from app.records.service import RequestService
from tests.studies.event_simulator import ProcessorSharing, Router, simulate

THREE_CORES = RequestService(3, 0.5, 0.8, outside_s=0.1, discipline="processor sharing")
ONE_CORE = RequestService(1, 1.0, 0.0, discipline="processor sharing")


def draw_arrivals(requests: int, per_s: float) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(6)
    return np.cumsum(rng.exponential(1 / per_s, requests)), rng.standard_normal(requests)


def simulate_events(
    arrivals_s: Floats, normals: Floats, service: RequestService, replicas: int, router: Router
) -> Floats:
    """Return the latencies of the event simulator, in s."""
    services_s = service.mean_s * compute_service_factors(normals, service)
    latencies_s = simulate(
        arrivals_s.tolist(), services_s.tolist(), lambda: ProcessorSharing(service.slots), replicas, router
    )
    return np.array(latencies_s) + service.outside_s


@pytest.mark.parametrize("load", [0.4, 0.9, 1.3])
def test_processor_sharing_replica_has_the_latencies_of_the_event_simulator(load: float) -> None:
    arrivals_s, normals = draw_arrivals(4000, load * THREE_CORES.max_throughput_per_s)
    latencies_s = simulate_request_latencies(arrivals_s, normals, THREE_CORES)
    np.testing.assert_allclose(latencies_s, simulate_events(arrivals_s, normals, THREE_CORES, 1, "random"), rtol=1e-9)


def test_concatenated_processor_sharing_runs_each_start_idle() -> None:
    arrivals_s, normals = draw_arrivals(500, 0.9 * THREE_CORES.max_throughput_per_s)
    ends = np.array([500, 1000])
    latencies_s = simulate_request_latencies(np.tile(arrivals_s, 2), np.tile(normals, 2), THREE_CORES, ends)
    np.testing.assert_allclose(latencies_s[500:], latencies_s[:500])


@pytest.mark.parametrize(("replicas", "router"), [(1, "random"), (2, "round-robin")])
def test_processor_sharing_fleet_has_the_total_latency_of_the_event_simulator(replicas: int, router: Router) -> None:
    arrivals_s, normals = draw_arrivals(4000, 0.9 * replicas * THREE_CORES.max_throughput_per_s)
    fleet = create_fleet(FleetDesign((THREE_CORES,) * replicas, router), np.random.SeedSequence(1))
    for part in range(4):
        span = slice(1000 * part, 1000 * (part + 1))
        serve(fleet, arrivals_s[span], normals[span])
    advance_to(fleet, math.inf)
    assert get_totals(fleet).in_flight == 0
    expected = simulate_events(arrivals_s, normals, THREE_CORES, replicas, router)
    assert fleet.classes[0, SUM + LATENCY] == pytest.approx(expected.sum(), rel=1e-9)


@pytest.mark.parametrize("router", ["least-outstanding", "power-of-two"])
def test_processor_sharing_fleet_has_the_percentiles_of_the_event_simulator(router: Router) -> None:
    per_s, requests = 2 * 0.7 * THREE_CORES.max_throughput_per_s, 40_000
    true_latencies_s = simulate_events(*draw_arrivals(requests, per_s), THREE_CORES, 2, router)
    outcome = simulate_steady(FleetDesign((THREE_CORES,) * 2, router), per_s, requests, (1, 2, 3), (50, 95))
    for q, time_s in zip((0.5, 0.95), outcome.overall.latency.percentiles_s, strict=True):
        assert time_s is not None
        assert math.log(time_s / float(np.quantile(true_latencies_s[2000:], q))) == pytest.approx(0.0, abs=0.06)


def test_least_work_router_compares_remaining_work() -> None:
    """The first request has run for 0.9 s when the third arrives, the second for 0.1 s: the third joins the first,
    and shares its core for the 0.1 s that it still needs."""
    fleet = create_fleet(FleetDesign((ONE_CORE,) * 2, "least-work"), np.random.SeedSequence(1))
    serve(fleet, np.array([0.0, 0.8, 0.9]), np.empty(0))
    advance_to(fleet, math.inf)
    assert fleet.classes[0, SUM + LATENCY] == pytest.approx(1.1 + 1.0 + 1.1)


def test_failed_processor_sharing_replica_loses_requests_but_not_its_busy_time() -> None:
    fleet = create_fleet(FleetDesign((ONE_CORE,)), np.random.SeedSequence(1))
    serve(fleet, np.array([0.0, 0.2, 0.4]), np.empty(0))
    advance_to(fleet, 0.7)
    assert compute_busy_s(fleet, 0.7)[0] == pytest.approx(0.7)
    fail_replica(fleet, 0, 0.7)
    assert get_totals(fleet).failed == 3
    assert compute_busy_s(fleet, 9.0)[0] == pytest.approx(0.7)
    serve(fleet, np.array([9.0]), np.empty(0))
    advance_to(fleet, math.inf)
    assert fleet.classes[0, SUM + LATENCY] == pytest.approx(1.0)


def test_processor_sharing_drops_requests_beyond_cores_plus_queue_limit() -> None:
    fleet = create_fleet(FleetDesign((ONE_CORE,), queue_limit=2), np.random.SeedSequence(1))
    serve(fleet, np.linspace(0.0, 0.4, 5), np.empty(0))
    advance_to(fleet, math.inf)
    counts = get_totals(fleet)
    assert (counts.good, counts.dropped) == (3, 2)


def test_closed_loop_uses_all_cores_and_clients_do_not_share_spare_cores() -> None:
    normals = np.random.default_rng(8).standard_normal(20_000)
    services_s = THREE_CORES.mean_s * compute_service_factors(normals, THREE_CORES)
    arrivals_s, ends_s = simulate_closed_requests(24, normals, THREE_CORES)
    assert normals.size / ends_s.max() == pytest.approx(3 / services_s.mean(), rel=0.01)
    assert np.all(np.diff(arrivals_s) >= 0)
    busy = simulate_events(arrivals_s, normals, THREE_CORES, 1, "random") - THREE_CORES.outside_s
    np.testing.assert_allclose(ends_s - arrivals_s, busy, rtol=1e-7)
    arrivals_s, ends_s = simulate_closed_requests(2, normals, THREE_CORES)
    np.testing.assert_allclose(ends_s - arrivals_s, services_s)
