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
from tests.checks.event_simulator import ProcessorSharing, Router, simulate

THREE_CORES = RequestService(3, 0.5, 0.8, outside_s=0.1, discipline="processor sharing")
ONE_CORE = RequestService(1, 1.0, 0.0, discipline="processor sharing")


def drawn(requests: int, per_s: float) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(6)
    return np.cumsum(rng.exponential(1 / per_s, requests)), rng.standard_normal(requests)


def evaluated(arrivals_s: Floats, normals: Floats, service: RequestService, replicas: int, router: Router) -> Floats:
    """Latencies by the event simulator."""
    services_s = service.mean_s * compute_service_factors(normals, service)
    found = simulate(
        arrivals_s.tolist(), services_s.tolist(), lambda: ProcessorSharing(service.slots), replicas, router
    )
    return np.array(found) + service.outside_s


@pytest.mark.parametrize("load", [0.4, 0.9, 1.3])
def test_one_replica_has_the_latencies_that_the_event_simulator_finds(load: float) -> None:
    arrivals_s, normals = drawn(4000, load * THREE_CORES.max_throughput_per_s)
    found = simulate_request_latencies(arrivals_s, normals, THREE_CORES)
    np.testing.assert_allclose(found, evaluated(arrivals_s, normals, THREE_CORES, 1, "random"), rtol=1e-9)


def test_each_of_several_runs_starts_idle() -> None:
    arrivals_s, normals = drawn(500, 0.9 * THREE_CORES.max_throughput_per_s)
    ends = np.array([500, 1000])
    found = simulate_request_latencies(np.tile(arrivals_s, 2), np.tile(normals, 2), THREE_CORES, ends)
    np.testing.assert_allclose(found[500:], found[:500])


@pytest.mark.parametrize(("replicas", "router"), [(1, "random"), (2, "round-robin")])
def test_a_fleet_has_the_same_latencies_request_by_request(replicas: int, router: Router) -> None:
    arrivals_s, normals = drawn(4000, 0.9 * replicas * THREE_CORES.max_throughput_per_s)
    fleet = create_fleet(FleetDesign((THREE_CORES,) * replicas, router), np.random.SeedSequence(1))
    for part in range(4):
        span = slice(1000 * part, 1000 * (part + 1))
        serve(fleet, arrivals_s[span], normals[span])
    advance_to(fleet, math.inf)
    assert get_totals(fleet).in_flight == 0
    expected = evaluated(arrivals_s, normals, THREE_CORES, replicas, router)
    assert fleet.classes[0, SUM + LATENCY] == pytest.approx(expected.sum(), rel=1e-9)


@pytest.mark.parametrize("router", ["least-outstanding", "power-of-two"])
def test_routers_that_compare_replicas_give_the_percentiles_of_the_event_simulator(router: Router) -> None:
    per_s, requests = 2 * 0.7 * THREE_CORES.max_throughput_per_s, 40_000
    truth = evaluated(*drawn(requests, per_s), THREE_CORES, 2, router)
    found = simulate_steady(FleetDesign((THREE_CORES,) * 2, router), per_s, requests, (1, 2, 3), (50, 95))
    for q, time_s in zip((0.5, 0.95), found.overall.latency.percentiles_s, strict=True):
        assert time_s is not None
        assert math.log(time_s / float(np.quantile(truth[2000:], q))) == pytest.approx(0.0, abs=0.06)


def test_least_work_chooses_the_replica_that_has_received_more_of_its_work() -> None:
    """The first request has run for 0.9 s when the third arrives, the second for 0.1 s: the third joins the first,
    and shares its core for the 0.1 s that it still needs."""
    fleet = create_fleet(FleetDesign((ONE_CORE,) * 2, "least-work"), np.random.SeedSequence(1))
    serve(fleet, np.array([0.0, 0.8, 0.9]), np.empty(0))
    advance_to(fleet, math.inf)
    assert fleet.classes[0, SUM + LATENCY] == pytest.approx(1.1 + 1.0 + 1.1)


def test_a_failure_loses_what_runs_and_counts_the_work_that_was_done() -> None:
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


def test_more_than_the_queue_limit_beyond_the_cores_are_dropped() -> None:
    fleet = create_fleet(FleetDesign((ONE_CORE,), queue_limit=2), np.random.SeedSequence(1))
    serve(fleet, np.linspace(0.0, 0.4, 5), np.empty(0))
    advance_to(fleet, math.inf)
    counts = get_totals(fleet)
    assert (counts.good, counts.dropped) == (3, 2)


def test_a_closed_loop_keeps_all_cores_busy_and_alone_a_client_has_one_of_its_own() -> None:
    normals = np.random.default_rng(8).standard_normal(20_000)
    services_s = THREE_CORES.mean_s * compute_service_factors(normals, THREE_CORES)
    arrivals_s, ends_s = simulate_closed_requests(24, normals, THREE_CORES)
    assert normals.size / ends_s.max() == pytest.approx(3 / services_s.mean(), rel=0.01)
    assert np.all(np.diff(arrivals_s) >= 0)
    busy = evaluated(arrivals_s, normals, THREE_CORES, 1, "random") - THREE_CORES.outside_s
    np.testing.assert_allclose(ends_s - arrivals_s, busy, rtol=1e-7)
    arrivals_s, ends_s = simulate_closed_requests(2, normals, THREE_CORES)
    np.testing.assert_allclose(ends_s - arrivals_s, services_s)
