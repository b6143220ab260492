from __future__ import annotations

import numpy as np
import pytest

from app.planning.simulation.design import FleetDesign, SimulatedClass
from app.planning.simulation.results import LatencyStatistics, compute_busy_s, reset_counts, summarize_classes
from app.planning.simulation.serving import advance_to, get_totals, serve
from app.planning.simulation.state import create_fleet
from app.records.service import BatchService, RequestService, ServiceModel, TokenService


@pytest.mark.parametrize(
    ("service", "expected_busy_s"),
    [
        (RequestService(1, 1.0, 0.0), (0.25, 1.0)),
        (RequestService(4, 1.0, 0.0), (0.0625, 0.25)),
        (RequestService(4, 1.0, 0.0, discipline="processor sharing"), (0.0625, 0.25)),
        (BatchService(0.9, 0.1, 4), (0.25, 1.0)),
        (TokenService(0.1, 0.0, 0.0, 4, 1000), (0.25, 1.0)),
    ],
)
def test_busy_time_grows_while_a_request_is_served(service: ServiceModel, expected_busy_s: tuple[float, float]) -> None:
    fleet = create_fleet(FleetDesign((service,) * 2, "round-robin", lengths=((5, 10),)), np.random.SeedSequence(1))
    serve(fleet, np.array([10.0]), np.empty(0))
    for now_s, expected_s in zip((10.25, 12.0), expected_busy_s, strict=True):
        advance_to(fleet, now_s)
        np.testing.assert_allclose(compute_busy_s(fleet, now_s), [expected_s, 0.0], atol=1e-9)


def test_reset_after_warm_up_counts_only_requests_in_flight() -> None:
    design = FleetDesign((RequestService(1, 1.0, 0.0),), classes=(SimulatedClass(), SimulatedClass()))
    fleet = create_fleet(design, np.random.SeedSequence(1))
    serve(fleet, np.arange(10.0) * 0.1, np.empty(0))
    advance_to(fleet, 3.5)
    reset_counts(fleet)
    counts = get_totals(fleet)
    assert (counts.arrivals, counts.good, counts.in_flight) == (7, 0, 7)
    advance_to(fleet, np.inf)
    assert (fleet.tallies[:, 0] == fleet.tallies[:, 1]).all()
    assert get_totals(fleet).good == 7


def test_outcome_without_requests_has_no_latencies() -> None:
    fleet = create_fleet(FleetDesign((RequestService(1, 1.0, 0.0),)), np.random.SeedSequence(1))
    outcome = summarize_classes([fleet], slice(None), (50,))
    assert outcome.good_share is None
    assert outcome.latency == LatencyStatistics(None, (None,))
    assert outcome.first_token is None
