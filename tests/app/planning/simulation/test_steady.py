from __future__ import annotations

import numpy as np
import pytest

from app.planning.simulation.arrivals import split_into_chunks
from app.planning.simulation.design import FleetDesign, SimulatedClass
from app.planning.simulation.steady import SteadyOutcome, build_cell, simulate_steady
from app.records.offers import Router
from app.records.service import RequestService, TokenService

# published mean and p99 at utilization 0.85, in mean service times: 16 servers, lognormal, squared CV 1
TABLE: dict[Router, tuple[float, float]] = {
    "least-work": (1.17, 5.1),
    "least-outstanding": (1.31, 6.2),
    "power-of-two": (2.21, 9.0),
    "round-robin": (3.75, 19.4),
    "random": (6.68, 32.1),
}


def simulate_16_replicas(router: Router, requests: int = 200_000) -> SteadyOutcome:
    design = FleetDesign((RequestService(1, 1.0, 1.0),) * 16, router)
    return simulate_steady(design, 0.85 * 16, requests, seeds=(1, 2, 3), percentiles=(50, 99))


@pytest.fixture(scope="module")
def by_router() -> dict[Router, SteadyOutcome]:
    return {router: simulate_16_replicas(router) for router in TABLE}


def test_mean_and_p99_by_router_are_close_to_published_values(
    by_router: dict[Router, SteadyOutcome],
) -> None:
    p99s_s = []
    for router, (mean_s, p99_s) in TABLE.items():
        latency = by_router[router].overall.latency
        assert latency.mean_s == pytest.approx(mean_s, rel=0.06)
        assert latency.percentiles_s[1] is not None
        assert latency.percentiles_s[1] == pytest.approx(p99_s, rel=0.08)
        p99s_s.append(latency.percentiles_s[1])
    assert p99s_s == sorted(p99s_s)


def test_weighted_router_has_lowest_p99_with_unequal_replicas() -> None:
    services = (RequestService(1, 0.25, 1.0),) * 4 + (RequestService(1, 1.0, 1.0),) * 4
    p99s_s = {
        router: simulate_steady(
            FleetDesign(services, router), 16.0, 200_000, (1, 2), (99,)
        ).overall.latency.percentiles_s[0]
        for router in ("weighted", "least-outstanding", "round-robin")
    }
    assert p99s_s["weighted"] < p99s_s["least-outstanding"] < p99s_s["round-robin"]  # type: ignore[operator]


def test_simulated_utilization_equals_the_load(by_router: dict[Router, SteadyOutcome]) -> None:  # U = λS/c
    outcome = by_router["power-of-two"]
    assert outcome.utilization == pytest.approx(0.85, rel=0.01)


def test_session_hash_router_sends_a_session_to_one_replica() -> None:
    one_session = FleetDesign((RequestService(1, 1.0, 0.0),) * 4, "session-hash", sessions=1)
    outcome = simulate_steady(one_session, 0.5, 20_000, (1,), (50,))
    # M/D/1 at the whole rate, not at a quarter of it
    assert outcome.overall.latency.mean_s == pytest.approx(1.0 + 0.5 / (2 * 0.5), rel=0.05)


def test_cell_of_a_large_fleet_has_nearly_the_latency_of_the_whole_fleet() -> None:
    design = FleetDesign((RequestService(1, 1.0, 1.0),) * 256, "power-of-two")
    cell = simulate_steady(design, 0.85 * 256, 500_000, (1, 2))
    assert (cell.replicas, len(build_cell(design).services)) == (256, 64)
    whole_fleet = simulate_steady(design, 0.85 * 256, 500_000, (1, 2), max_replicas=256)
    ratio = cell.overall.latency.percentiles_s[3] / whole_fleet.overall.latency.percentiles_s[3]  # type: ignore[operator]
    assert ratio == pytest.approx(1.015, abs=0.025)  # 8.09 of 64, 7.96 of 256


def test_cell_has_the_shares_of_fast_and_slow_replicas() -> None:
    services = (RequestService(1, 1.0, 1.0),) * 300 + (RequestService(1, 0.5, 1.0),) * 100
    cell = build_cell(FleetDesign(services, weights=(1.0,) * 300 + (2.0,) * 100))
    assert len(cell.services) == len(cell.weights) == 64
    assert sum(service.mean_s == 0.5 for service in cell.services) == 16  # type: ignore[union-attr]
    assert sum(cell.weights) == 48 + 32


def test_token_services_have_ttft_and_tpot() -> None:
    tokens = FleetDesign(
        (TokenService(0.01, 1e-4, 1e-5, 64, 100_000),) * 2,
        classes=(SimulatedClass(per_token_limit_s=0.0107),),
        lengths=((100, 50), (400, 150)),
    )
    outcome = simulate_steady(tokens, 10.0, 20_000, (1, 2), (50,))
    first_token, per_token = outcome.overall.first_token, outcome.overall.per_token
    assert first_token is not None
    assert per_token is not None
    assert 0.01 < per_token.mean_s < 0.013  # type: ignore[operator]
    assert first_token.mean_s < outcome.overall.latency.mean_s / 10  # type: ignore[operator]
    assert 0.1 < outcome.overall.good_share < 1.0  # type: ignore[operator]


def test_steady_outcome_is_reproducible() -> None:
    assert simulate_16_replicas("power-of-two", 100_000) == simulate_16_replicas("power-of-two", 100_000)


def test_overloaded_fleet_has_goodput_0_and_utilization_1() -> None:
    design = FleetDesign((RequestService(1, 1.0, 0.0),), classes=(SimulatedClass(limit_s=3.0),), queue_limit=10)
    outcome = simulate_steady(design, 2.0, 20_000, (1,))
    assert outcome.overall.good_share == pytest.approx(0.0, abs=0.01)
    assert outcome.utilization == pytest.approx(1.0, rel=0.01)


def test_steady_simulation_accepts_explicit_arrivals() -> None:
    times_s = np.arange(20_000.0) * 2.0
    design = FleetDesign((RequestService(1, 1.0, 0.0),))
    outcome = simulate_steady(design, 0.5, 20_000, (1,), (99,), arrivals=[split_into_chunks(times_s, 500)])
    assert outcome.overall.latency.mean_s == pytest.approx(1.0)
    assert outcome.utilization == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("workers", [1, 3])
def test_steady_outcome_does_not_depend_on_worker_count(workers: int) -> None:
    design = FleetDesign((RequestService(2, 1.0, 0.6),) * 3)
    expected = simulate_steady(design, 4.0, 2_000, (1, 2, 3, 4))
    assert simulate_steady(design, 4.0, 2_000, (1, 2, 3, 4), workers=workers) == expected


def test_error_in_a_worker_thread_is_raised() -> None:
    design = FleetDesign((RequestService(1, 1.0, 0.5),))
    with pytest.raises(ValueError, match="non-negative"):
        simulate_steady(design, 0.5, 100, (1, 2, -1))
