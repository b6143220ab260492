from __future__ import annotations

import numpy as np
import pytest

from app.planning.simulation.arrivals import split_into_chunks
from app.planning.simulation.design import FleetDesign, SimulatedClass
from app.planning.simulation.steady import SteadyOutcome, build_cell, simulate_steady
from app.records.offers import Router
from app.records.service import BatchService, RequestService, TokenService

# mean and p99 of planning's table at 0.85, in mean services: 16 servers, lognormal, cs² 1
TABLE: dict[Router, tuple[float, float]] = {
    "least-work": (1.17, 5.1),
    "least-outstanding": (1.31, 6.2),
    "power-of-two": (2.21, 9.0),
    "round-robin": (3.75, 19.4),
    "random": (6.68, 32.1),
}


def of_sixteen(router: Router, requests: int = 200_000) -> SteadyOutcome:
    design = FleetDesign((RequestService(1, 1.0, 1.0),) * 16, router)
    return simulate_steady(design, 0.85 * 16, requests, seeds=(1, 2, 3), percentiles=(50, 99))


@pytest.fixture(scope="module")
def by_router() -> dict[Router, SteadyOutcome]:
    return {router: of_sixteen(router) for router in TABLE}


def test_routers_stand_in_their_known_order_and_near_their_known_figures(
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


def test_weights_send_more_to_the_faster() -> None:
    services = (RequestService(1, 0.25, 1.0),) * 4 + (RequestService(1, 1.0, 1.0),) * 4
    p99s_s = {
        router: simulate_steady(
            FleetDesign(services, router), 16.0, 200_000, (1, 2), (99,)
        ).overall.latency.percentiles_s[0]
        for router in ("weighted", "least-outstanding", "round-robin")
    }
    assert p99s_s["weighted"] < p99s_s["least-outstanding"] < p99s_s["round-robin"]  # type: ignore[operator]


def test_utilisation_is_the_load(by_router: dict[Router, SteadyOutcome]) -> None:  # U = λS/c
    outcome = by_router["power-of-two"]
    assert outcome.utilization == pytest.approx(0.85, rel=0.01)
    assert outcome.mean_batch_size == 1.0


def test_a_session_stays_with_its_replica() -> None:
    one_session = FleetDesign((RequestService(1, 1.0, 0.0),) * 4, "session-hash", sessions=1)
    outcome = simulate_steady(one_session, 0.5, 20_000, (1,), (50,))
    assert outcome.overall.latency.mean_s == pytest.approx(1.0 + 0.5 / (2 * 0.5), rel=0.05)  # M/D/1, not a quarter


def test_a_large_fleet_is_played_as_a_cell_near_the_whole() -> None:
    design = FleetDesign((RequestService(1, 1.0, 1.0),) * 256, "power-of-two")
    cell = simulate_steady(design, 0.85 * 256, 500_000, (1, 2))
    assert (cell.replicas, cell.simulated_replicas) == (256, 64)
    whole = simulate_steady(design, 0.85 * 256, 500_000, (1, 2), max_replicas=256)
    assert whole.simulated_replicas == 256
    ratio = cell.overall.latency.percentiles_s[3] / whole.overall.latency.percentiles_s[3]  # type: ignore[operator]
    assert ratio == pytest.approx(1.015, abs=0.025)  # 8.09 of 64, 7.96 of 256


def test_a_cell_keeps_the_shares_of_faster_and_slower() -> None:
    services = (RequestService(1, 1.0, 1.0),) * 300 + (RequestService(1, 0.5, 1.0),) * 100
    cell = build_cell(FleetDesign(services, weights=(1.0,) * 300 + (2.0,) * 100))
    assert len(cell.services) == len(cell.weights) == 64
    assert sum(service.mean_s == 0.5 for service in cell.services) == 16  # type: ignore[union-attr]
    assert sum(cell.weights) == 48 + 32


def test_batches_grow_with_the_load_and_tokens_have_times_of_their_own() -> None:
    batches = FleetDesign((BatchService(0.01, 0.001, 32),) * 2, "round-robin")
    sizes = [simulate_steady(batches, rate_per_s, 50_000, (1,)).mean_batch_size for rate_per_s in (50.0, 1000.0)]
    assert sizes[0] is not None
    assert sizes[1] is not None
    assert 1 <= sizes[0] < 2 < sizes[1]
    tokens = FleetDesign(
        (TokenService(0.01, 1e-4, 1e-5, 64, 100_000),) * 2,
        classes=(SimulatedClass(per_token_limit_s=0.0107),),
        lengths=((100, 50), (400, 150)),
    )
    outcome = simulate_steady(tokens, 10.0, 20_000, (1, 2), (50,))
    first, each = outcome.overall.first_token, outcome.overall.per_token
    assert first is not None
    assert each is not None
    assert 0.01 < each.mean_s < 0.013  # type: ignore[operator]
    assert first.mean_s < outcome.overall.latency.mean_s / 10  # type: ignore[operator]
    assert 0.1 < outcome.overall.good_share < 1.0  # type: ignore[operator]


def test_seeds_differ_a_little_and_are_kept() -> None:
    one, other = of_sixteen("power-of-two", 100_000), of_sixteen("power-of-two", 100_000)
    assert one == other
    tails_s = [seed[1] for seed in one.overall.latency.percentiles_per_seed_s if seed[1] is not None]
    assert 0 < np.std(tails_s, ddof=1) / len(tails_s) ** 0.5 < 0.5
    assert len(one.good_share_per_seed) == len(one.overall.latency.percentiles_per_seed_s) == 3


def test_an_overloaded_fleet_answers_late_or_drops() -> None:
    design = FleetDesign((RequestService(1, 1.0, 0.0),), classes=(SimulatedClass(limit_s=3.0),), queue_limit=10)
    outcome = simulate_steady(design, 2.0, 20_000, (1,))
    assert outcome.overall.good_share == pytest.approx(0.0, abs=0.01)
    assert outcome.utilization == pytest.approx(1.0, rel=0.01)


def test_arrivals_may_be_given() -> None:
    times_s = np.arange(20_000.0) * 2.0
    design = FleetDesign((RequestService(1, 1.0, 0.0),))
    outcome = simulate_steady(design, 0.5, 20_000, (1,), (99,), arrivals=[split_into_chunks(times_s, 500)])
    assert outcome.overall.latency.mean_s == pytest.approx(1.0)
    assert outcome.utilization == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("workers", [1, 3])
def test_how_many_play_side_by_side_changes_nothing(workers: int) -> None:
    design = FleetDesign((RequestService(2, 1.0, 0.6),) * 3)
    expected = simulate_steady(design, 4.0, 2_000, (1, 2, 3, 4))
    assert simulate_steady(design, 4.0, 2_000, (1, 2, 3, 4), workers=workers) == expected


def test_what_fails_beside_this_thread_is_reported() -> None:
    design = FleetDesign((RequestService(1, 1.0, 0.5),))
    with pytest.raises(ValueError, match="non-negative"):
        simulate_steady(design, 0.5, 100, (1, 2, -1))
