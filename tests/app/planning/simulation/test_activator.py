from __future__ import annotations

import math

import numpy as np
import pytest

from app.planning.simulation.activator import make_activator, release_queued_requests, sum_ages_s, sum_latencies_s
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.serving import advance_to, get_totals, serve, set_routable_replicas
from app.planning.simulation.state import Fleet, create_fleet
from app.records.service import BatchService, RequestService, ServiceModel, TokenService

ACTIVATOR = RequestService(slots=1, mean_s=1.0, cv=0.0)
NO_NORMALS = np.empty(0)


def build_queued_fleet(
    service: ServiceModel, arrivals_s: list[float], queue_limit: int = 10, timeout_s: float = math.inf
) -> Fleet:
    """Return a fleet whose one replica is not ready, with arrivals queued at the activator."""
    design = FleetDesign(
        (service, ACTIVATOR), "random", queue_limit=queue_limit, timeout_s=timeout_s, lengths=((100, 10),)
    )
    fleet = create_fleet(design, np.random.SeedSequence(1))
    make_activator(fleet, 1)
    set_routable_replicas(fleet, [1])
    serve(fleet, np.array(arrivals_s), NO_NORMALS)
    return fleet


def release_queue(fleet: Fleet, now_s: float, until_s: float) -> None:
    advance_to(fleet, now_s)
    set_routable_replicas(fleet, [0])
    release_queued_requests(fleet, 1, now_s)
    advance_to(fleet, until_s)


@pytest.mark.parametrize(
    ("service", "latencies_s"),
    [
        (RequestService(1, 2.0, 0.0), (11.0, 12.0, 13.0)),  # arrivals at 1, 2 and 3; starts at 10, 12 and 14
        (RequestService(2, 2.0, 0.0), (11.0, 10.0, 11.0)),
        (BatchService(1.0, 0.5, 8), (11.5, 10.5, 9.5)),
        (TokenService(0.1, 0.0, 0.0, 8, 10_000), (10.0, 9.0, 8.0)),
    ],
    ids=["one slot", "two slots", "batch", "tokens"],
)
def test_latency_of_requests_queued_at_the_activator_starts_at_their_arrival(
    service: ServiceModel, latencies_s: tuple[float, ...]
) -> None:
    fleet = build_queued_fleet(service, [1.0, 2.0, 3.0])
    advance_to(fleet, 10.0)
    assert (get_totals(fleet).in_flight, get_totals(fleet).good) == (3, 0)
    assert sum_ages_s(fleet, 10.0) == pytest.approx(9 + 8 + 7)
    release_queue(fleet, 10.0, 30.0)
    assert get_totals(fleet).good == 3
    assert sum_latencies_s(fleet) == pytest.approx(sum(latencies_s))


def test_activator_queue_has_a_limit_and_a_timeout() -> None:
    fleet = build_queued_fleet(ACTIVATOR, [0.1 * step for step in range(1, 21)], queue_limit=9, timeout_s=4.55)
    counts = get_totals(fleet)
    assert (counts.in_flight, counts.dropped) == (10, 10)
    advance_to(fleet, 5.0)
    assert get_totals(fleet).timed_out == 4
    release_queue(fleet, 5.0, 100.0)
    assert get_totals(fleet).in_flight == 0


@pytest.mark.parametrize("router", ["random", "power-of-two", "round-robin", "least-outstanding"])
def test_released_requests_are_distributed_by_the_router(router: str) -> None:
    design = FleetDesign((*(RequestService(1, 50.0, 0.0),) * 4, ACTIVATOR), router, queue_limit=100)  # type: ignore[arg-type]
    fleet = create_fleet(design, np.random.SeedSequence(1))
    make_activator(fleet, 4)
    set_routable_replicas(fleet, [4])
    serve(fleet, np.linspace(0.0, 1.0, 80), NO_NORMALS)
    set_routable_replicas(fleet, [0, 1, 2, 3])
    release_queued_requests(fleet, 4, 2.0)
    advance_to(fleet, 2.0)
    outstanding = fleet.counts[:4, 1] + fleet.counts[:4, 2]
    assert outstanding.sum() == 80
    assert outstanding.min() >= 10


def test_latencies_plus_ages_equal_the_time_integral_of_requests_in_flight() -> None:
    for service in (RequestService(3, 0.3, 0.0), TokenService(0.02, 0.001, 1e-5, 4, 5000)):
        fleet = create_fleet(FleetDesign((service,), lengths=((300, 20),)), np.random.SeedSequence(1))
        arrivals_s = np.arange(0.0, 20.0, 0.07)
        integral_s, step_s = 0.0, 0.01
        for step in range(2000):
            now_s = (step + 1) * step_s
            serve(fleet, arrivals_s[(arrivals_s >= step * step_s) & (arrivals_s < now_s)], NO_NORMALS)
            advance_to(fleet, now_s)
            integral_s += get_totals(fleet).in_flight * step_s
        assert sum_latencies_s(fleet) + sum_ages_s(fleet, 20.0) == pytest.approx(integral_s, rel=0.03)
