from __future__ import annotations

import numpy as np
import pytest

from app.planning.simulation.design import FleetDesign
from app.planning.simulation.serving import advance_to, get_outstanding_counts, serve, set_routable_replicas
from app.planning.simulation.state import create_fleet
from app.records.offers import Router
from app.records.service import BatchService, RequestService, ServiceModel, TokenService


@pytest.mark.parametrize(
    ("slow", "fast"),
    [
        (RequestService(1, 10.0, 0.0), RequestService(1, 1.0, 0.0)),
        (RequestService(2, 10.0, 0.0), RequestService(2, 1.0, 0.0)),
        (BatchService(10.0, 0.0, 1), BatchService(1.0, 0.0, 1)),
        (TokenService(1.0, 0.0, 0.0, 4, 1000), TokenService(0.1, 0.0, 0.0, 4, 1000)),
    ],
)
def test_least_work_compares_seconds_and_least_outstanding_compares_requests(
    slow: ServiceModel, fast: ServiceModel
) -> None:
    outstanding = {}
    routers: tuple[Router, ...] = ("least-work", "least-outstanding")
    for router in routers:
        fleet = create_fleet(FleetDesign((slow, fast), router, lengths=((1, 20),)), np.random.SeedSequence(1))
        serve(fleet, np.array([0.0, 0.1, 0.2]), np.empty(0))
        advance_to(fleet, 0.2)
        outstanding[router] = get_outstanding_counts(fleet).tolist()
    assert outstanding == {"least-work": [1, 2], "least-outstanding": [2, 1]}


def test_round_robin_rotates_over_routable_replicas() -> None:
    fleet = create_fleet(FleetDesign((RequestService(1, 100.0, 0.0),) * 4, "round-robin"), np.random.SeedSequence(1))
    set_routable_replicas(fleet, [0, 2, 3])
    serve(fleet, np.arange(7.0), np.empty(0))
    advance_to(fleet, 7.0)
    assert get_outstanding_counts(fleet).tolist() == [3, 0, 2, 2]


def test_random_router_distributes_requests_evenly() -> None:
    fleet = create_fleet(FleetDesign((RequestService(1, 1e6, 0.0),) * 5, "random"), np.random.SeedSequence(1))
    serve(fleet, np.arange(20_000.0), np.empty(0))
    advance_to(fleet, 20_000.0)
    assert np.abs(get_outstanding_counts(fleet) - 4000).max() < 4 * np.sqrt(4000)


def test_routing_of_equal_seeds_does_not_depend_on_the_service_time() -> None:
    """Random routing sends each request to the same replica, although the queues differ."""
    fleets = []
    for mean_s in (1e6, 2e6):
        fleet = create_fleet(FleetDesign((RequestService(1, mean_s, 0.0),) * 5, "random"), np.random.SeedSequence(1))
        serve(fleet, np.arange(100.0), np.empty(0))
        fleets.append(get_outstanding_counts(fleet).tolist())
    assert fleets[0] == fleets[1]
