from __future__ import annotations

import math

import numpy as np
import pytest

from app.planning.service_models.service_times import compute_lognormal_factors
from app.planning.simulation.compiled import Floats
from app.planning.simulation.design import ROUTERS, FleetDesign, SimulatedClass
from app.planning.simulation.histogram import BUCKET_COUNT, compute_quantiles_s, find_bucket
from app.planning.simulation.random_words import convert_to_unit_interval, draw_word
from app.planning.simulation.replica import (
    simulate_batch_latencies,
    simulate_request_latencies,
    simulate_token_latencies,
)
from app.planning.simulation.results import get_histogram
from app.planning.simulation.serving import (
    advance_to,
    fail_replica,
    get_outstanding_counts,
    get_totals,
    serve,
    set_routable_replicas,
)
from app.planning.simulation.state import FIRST_TOKEN, HISTOGRAMS, LATENCY, LENGTHS, PAIRS, SUM, Fleet, create_fleet
from app.records.service import BatchService, RequestService, ServiceModel, TokenService


def simulate_fleet(design: FleetDesign, arrivals_s: Floats, normals: Floats, chunk: int = 1000) -> Fleet:
    fleet = create_fleet(design, np.random.SeedSequence(1))
    for start in range(0, arrivals_s.size, chunk):
        serve(fleet, arrivals_s[start : start + chunk], normals[start : start + chunk])
    advance_to(fleet, math.inf)
    return fleet


def draw_arrivals(count: int, rate_per_s: float, seed: int) -> tuple[Floats, Floats]:
    dice = np.random.default_rng(seed)
    return np.cumsum(dice.exponential(1 / rate_per_s, count)), dice.standard_normal(count)


def draw_exponential_normals(count: int, seed: int) -> Floats:
    """Draw normals that a service with CV 1 turns into exponential factors."""
    sigma = math.sqrt(math.log(2))
    return np.log(np.random.default_rng(seed).exponential(1.0, count)) / sigma + sigma / 2


def compute_mean_latency_s(fleet: Fleet) -> float:
    return float(fleet.classes[:, SUM + LATENCY].sum() / get_histogram(fleet).sum())


def test_mm1_latency_is_exponential() -> None:  # mean 1/(µ − λ), p99 = ln(100)/(µ − λ)
    arrivals_s, _ = draw_arrivals(3_000_000, 0.8, 1)
    design = FleetDesign((RequestService(1, 1.0, 1.0),))
    fleet = simulate_fleet(design, arrivals_s, draw_exponential_normals(arrivals_s.size, 2), 10**6)
    assert compute_mean_latency_s(fleet) == pytest.approx(5.0, rel=0.03)
    assert compute_quantiles_s(get_histogram(fleet), (0.99,))[0] == pytest.approx(math.log(100) * 5.0, rel=0.05)


@pytest.mark.parametrize(("slots", "utilization"), [(2, 0.8), pytest.param(8, 0.9, marks=pytest.mark.soak)])
def test_mmc_wait_equals_erlang_c(slots: int, utilization: float) -> None:  # E[W] = C / (cµ − λ)
    arrivals_s, _ = draw_arrivals(1_000_000, slots * utilization, 3)
    design = FleetDesign((RequestService(slots, 1.0, 1.0),))
    fleet = simulate_fleet(design, arrivals_s, draw_exponential_normals(arrivals_s.size, 4), 10**6)
    blocked = 1.0
    for slot in range(1, slots + 1):
        blocked = slots * utilization * blocked / (slot + slots * utilization * blocked)
    waits = blocked / (1 - utilization * (1 - blocked))
    assert compute_mean_latency_s(fleet) - 1.0 == pytest.approx(waits / (slots - slots * utilization), rel=0.04)


@pytest.mark.parametrize("cv", [0.0, 1.0, 2.0])
def test_drop_share_of_slots_without_a_queue_equals_erlang_b_for_any_cv(cv: float) -> None:
    arrivals_s, normals = draw_arrivals(500_000, 5.0, 5)
    counts = get_totals(simulate_fleet(FleetDesign((RequestService(6, 1.0, cv),), queue_limit=0), arrivals_s, normals))
    blocked = 1.0
    for slot in range(1, 7):
        blocked = 5.0 * blocked / (slot + 5.0 * blocked)
    assert counts.dropped / counts.arrivals == pytest.approx(blocked, rel=0.02)


def test_drop_share_of_one_slot_without_a_queue_equals_erlang_b() -> None:  # Erlang B of one slot: ρ / (1 + ρ)
    arrivals_s, normals = draw_arrivals(300_000, 0.8, 5)
    counts = get_totals(simulate_fleet(FleetDesign((RequestService(1, 1.0, 1.0),), queue_limit=0), arrivals_s, normals))
    assert counts.dropped / counts.arrivals == pytest.approx(0.8 / 1.8, rel=0.02)


def test_requests_in_a_gathering_batch_do_not_count_toward_the_queue_limit() -> None:
    service = BatchService(1.0, 0.0, max_batch=3, window_s=0.5)
    fleet = simulate_fleet(
        FleetDesign((service,), queue_limit=1), np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), np.zeros(6)
    )
    counts = get_totals(fleet)
    assert (counts.good, counts.dropped) == (4, 2)


def test_drop_share_of_a_short_queue_equals_mm1k_theory() -> (
    None
):  # P = (1 − ρ)ρ^K / (1 − ρ^(K+1)), K = 1 in service + 4
    arrivals_s, _ = draw_arrivals(500_000, 0.9, 6)
    design = FleetDesign((RequestService(1, 1.0, 1.0),), queue_limit=4)
    counts = get_totals(simulate_fleet(design, arrivals_s, draw_exponential_normals(arrivals_s.size, 7)))
    assert counts.dropped / counts.arrivals == pytest.approx(0.1 * 0.9**5 / (1 - 0.9**6), rel=0.02)


@pytest.mark.parametrize("slots", [1, 3])
def test_requests_queued_beyond_the_timeout_time_out_unserved(slots: int) -> None:
    arrivals_s, normals = draw_arrivals(5000, 1.3 * slots, 8)
    services_s = compute_lognormal_factors(normals, 0.5)
    free_s, latencies_s, timed_out = [0.0] * slots, [], 0
    for arrival_s, service_s in zip(arrivals_s, services_s, strict=True):
        free_s.sort()
        if free_s[0] - arrival_s > 2.0:
            timed_out += 1
            continue
        free_s[0] = max(free_s[0], arrival_s) + service_s
        latencies_s.append(free_s[0] - arrival_s)
    design = FleetDesign((RequestService(slots, 1.0, 0.5),), timeout_s=2.0)
    fleet = simulate_fleet(design, arrivals_s, normals, 77)
    assert get_totals(fleet).timed_out == timed_out > 100
    assert compute_mean_latency_s(fleet) == pytest.approx(np.mean(latencies_s))


SERVICES: tuple[ServiceModel, ...] = (
    RequestService(1, 0.1, 1.0, outside_s=0.01),
    RequestService(5, 0.5, 0.8),
    BatchService(0.05, 0.01, 16, cv=0.3, outside_s=0.02),
    BatchService(0.05, 0.01, 16, window_s=0.2),
    TokenService(0.002, 1e-4, 1e-5, 16, 4000, chunk_tokens=128, per_kv_token_s=1e-7, cv=0.2, outside_s=0.01),
    TokenService(0.002, 1e-4, 1e-5, 4, 10**6, chunk_tokens=64),
    TokenService(0.001, 1e-4, 1e-5, 16, 10**6, chunk_tokens=128, cv=0.1, experts_s=0.004, expert_share=0.05),
)


@pytest.mark.parametrize("service", SERVICES)
def test_fleet_of_one_replica_has_the_latencies_of_the_replica_simulation(service: ServiceModel) -> None:
    """The fleet (event-driven) and `replica` (direct) are two implementations of one specification."""
    arrivals_s, normals = draw_arrivals(20_000, 8.5, 9)
    lengths = ((200, 30),)
    match service:
        case RequestService():
            expected_s = simulate_request_latencies(arrivals_s, normals, service)
        case BatchService():
            expected_s = simulate_batch_latencies(arrivals_s, normals, service)
        case TokenService():
            tokens = (np.full(arrivals_s.size, 200), np.full(arrivals_s.size, 30))
            first_s, expected_s = simulate_token_latencies(arrivals_s, *tokens, normals, service)
    fleet = simulate_fleet(FleetDesign((service,), lengths=lengths), arrivals_s, normals, 999)
    assert compute_mean_latency_s(fleet) == pytest.approx(expected_s.mean(), rel=1e-9)
    counts = np.bincount([find_bucket(float(latency_s)) for latency_s in expected_s], minlength=BUCKET_COUNT)
    assert np.abs(get_histogram(fleet) - counts).sum() <= 4  # rounding can move a value across a bucket edge
    if isinstance(service, TokenService):
        assert fleet.classes[0, SUM + FIRST_TOKEN] == pytest.approx(first_s.sum(), rel=1e-9)
        gaps_s = (expected_s - first_s) / 29
        assert fleet.classes[0, SUM + FIRST_TOKEN + 1] == pytest.approx(gaps_s.sum(), rel=1e-9)


@pytest.mark.parametrize("service", SERVICES)
def test_fleet_outcome_does_not_depend_on_advance_calls(service: ServiceModel) -> None:
    arrivals_s, normals = draw_arrivals(3000, 8.5, 10)
    design = FleetDesign((service,) * 3, "power-of-two", timeout_s=0.5, lengths=((200, 30), (20, 60)))
    rarely_advanced, often_advanced = (create_fleet(design, np.random.SeedSequence(1)) for _ in range(2))
    serve(rarely_advanced, arrivals_s, normals)
    for number in range(arrivals_s.size):
        advance_to(often_advanced, arrivals_s[number] - 1e-9)
        serve(often_advanced, arrivals_s[number : number + 1], normals[number : number + 1])
    for fleet in (rarely_advanced, often_advanced):
        advance_to(fleet, math.inf)
    assert np.abs(rarely_advanced.tallies - often_advanced.tallies).sum() <= 4
    np.testing.assert_allclose(rarely_advanced.classes, often_advanced.classes, rtol=1e-9)


def list_length_indices(fleet: Fleet, count: int) -> list[int]:
    stream = fleet.settings.view(np.uint64)[LENGTHS]
    return [
        int(convert_to_unit_interval(np.uint64(draw_word(stream, number))) * fleet.settings[PAIRS])
        for number in range(count)
    ]


def test_timeout_of_a_request_too_large_for_the_kv_cache_admits_the_next() -> None:
    """The second request does not fit into the cache with the first, and the third is queued behind it."""
    service = TokenService(0.1, 0.0, 0.0, max_sequences=4, kv_tokens=110)
    design = FleetDesign((service,), timeout_s=1.0, lengths=((2, 100), (90, 10), (2, 2)))
    fleets = (create_fleet(design, np.random.SeedSequence(seed)) for seed in range(1000))
    fleet = next(fleet for fleet in fleets if list_length_indices(fleet, 3) == [0, 1, 2])
    serve(fleet, np.array([0.0, 0.31, 0.62]), np.empty(0))
    advance_to(fleet, math.inf)
    assert get_totals(fleet).timed_out == 1
    # times out at 1.31; the third is admitted at 1.4, prefilled at 1.5 and done at 1.6; the first is done at 10
    assert compute_quantiles_s(get_histogram(fleet), (0.0,))[0] == pytest.approx(1.6 - 0.62, rel=0.005)


def draw_service(dice: np.random.Generator) -> ServiceModel:
    cv = float(dice.choice([0.0, 0.5, 2.0]))
    match dice.integers(3):
        case 0:
            return RequestService(int(dice.integers(1, 6)), float(dice.uniform(0.05, 0.5)), cv)
        case 1:
            window_s = float(dice.choice([0.0, 0.1]))
            return BatchService(float(dice.uniform(0.05, 0.2)), 0.02, int(dice.integers(1, 9)), window_s, cv)
        case _:
            kv = int(dice.choice([60, 500, 10**6]))
            return TokenService(0.01, 0.001, 0.0005, int(dice.integers(1, 7)), kv, 32, 1e-5, cv)


def draw_design(dice: np.random.Generator) -> FleetDesign:
    classes = tuple(
        SimulatedClass(float(dice.uniform(0.1, 1)), float(dice.uniform(0.1, 2)), float(dice.uniform(0.5, 2)))
        for _ in range(dice.integers(1, 4))
    )
    return FleetDesign(
        tuple(draw_service(dice) for _ in range(dice.integers(1, 6))),
        ROUTERS[dice.integers(len(ROUTERS))],
        classes,
        queue_limit=int(dice.choice([0, 3, 1000])),
        timeout_s=float(dice.choice([0.05, 0.5, math.inf])),
        lengths=tuple((int(dice.integers(1, 90)), int(dice.integers(1, 40))) for _ in range(dice.integers(1, 5))),
    )


@pytest.mark.parametrize("seed", range(60))
def test_every_simulated_request_has_one_outcome(seed: int) -> None:
    """Arrivals = good + late + dropped + timed out + failed + in flight, and at the end none is in flight."""
    dice = np.random.default_rng(seed)
    design = draw_design(dice)
    fleet = create_fleet(design, np.random.SeedSequence(seed))
    replicas, now_s, sent = len(design.services), 0.0, 0
    for _ in range(12):
        count = int(dice.integers(0, 200))
        arrivals_s = now_s + np.cumsum(dice.exponential(1 / float(dice.uniform(2, 60)), count))
        serve(fleet, arrivals_s, dice.standard_normal(count))
        sent += count
        now_s = float(arrivals_s[-1]) if count else now_s + 1.0
        if dice.random() < 0.5:
            fail_replica(fleet, int(dice.integers(replicas)), now_s)
        if dice.random() < 0.5:
            set_routable_replicas(fleet, np.flatnonzero(dice.random(replicas) < 0.7).tolist())
        advance_to(fleet, now_s)
        counts = get_totals(fleet)
        ended = counts.good + counts.late + counts.dropped + counts.timed_out + counts.failed
        assert counts.arrivals == sent == ended + counts.in_flight
        assert counts.in_flight == get_outstanding_counts(fleet).sum()
    advance_to(fleet, math.inf)
    counts = get_totals(fleet)
    assert counts.in_flight == 0
    assert get_histogram(fleet).sum() == counts.good + counts.late
    tallies = fleet.tallies[:, :HISTOGRAMS]
    assert (tallies[:, 0] == tallies[:, 1:].sum(axis=1)).all()


def test_failed_replica_loses_its_requests_and_restarts_empty() -> None:
    fleet = create_fleet(FleetDesign((RequestService(1, 1.0, 0.0),) * 2, "round-robin"), np.random.SeedSequence(1))
    serve(fleet, np.array([0.0, 0.1, 0.2, 0.3]), np.empty(0))
    advance_to(fleet, 0.5)
    assert get_outstanding_counts(fleet).tolist() == [2, 2]
    fail_replica(fleet, 0, 0.5)
    counts = get_totals(fleet)
    assert (counts.failed, counts.in_flight) == (2, 2)
    set_routable_replicas(fleet, [0])
    serve(fleet, np.array([1.0]), np.empty(0))
    advance_to(fleet, math.inf)
    assert get_totals(fleet).good == 3
    assert compute_quantiles_s(get_histogram(fleet), (0.0,))[0] == pytest.approx(1.0, rel=0.005)


def test_requests_without_routable_replicas_are_dropped() -> None:
    fleet = create_fleet(FleetDesign((RequestService(1, 1.0, 0.0),)), np.random.SeedSequence(1))
    set_routable_replicas(fleet, [])
    serve(fleet, np.array([0.0, 0.1]), np.empty(0))
    assert get_totals(fleet).dropped == 2


def test_arrivals_without_matching_normals_are_refused() -> None:
    fleet = create_fleet(FleetDesign((RequestService(1, 1.0, 1.0),)), np.random.SeedSequence(1))
    with pytest.raises(ValueError, match="3 arrivals have 2 normals"):
        serve(fleet, np.arange(3.0), np.zeros(2))


def test_response_is_counted_at_its_end_time() -> None:
    fleet = create_fleet(FleetDesign((RequestService(2, 1.0, 0.0),)), np.random.SeedSequence(1))
    serve(fleet, np.array([0.0, 0.4, 0.5]), np.empty(0))
    for now_s, expected_good in ((0.9, 0), (1.0, 1), (1.5, 2), (1.99, 2), (2.0, 3)):
        advance_to(fleet, now_s)
        assert get_totals(fleet).good == expected_good


def test_request_classes_have_their_share_work_limit_and_histogram() -> None:
    classes = (SimulatedClass(3.0, limit_s=0.5), SimulatedClass(1.0, limit_s=0.5, work=10.0))
    arrivals_s, _ = draw_arrivals(40_000, 1.0, 11)
    fleet = simulate_fleet(
        FleetDesign((RequestService(1000, 0.1, 0.0),), classes=classes), arrivals_s, np.zeros(40_000)
    )
    assert fleet.tallies[1, 0] / 40_000 == pytest.approx(0.25, abs=0.01)
    assert fleet.tallies[:, 1].tolist() == [fleet.tallies[0, 0], 0]  # good
    assert fleet.tallies[:, 2].tolist() == [0, fleet.tallies[1, 0]]  # late
    for row, expected_s in ((0, 0.1), (1, 1.0)):
        assert compute_quantiles_s(fleet.tallies[row, HISTOGRAMS : HISTOGRAMS + BUCKET_COUNT], (0.5,))[
            0
        ] == pytest.approx(expected_s, rel=0.005)


def test_fleet_state_size_does_not_grow_with_requests() -> None:
    design = FleetDesign((RequestService(1, 1.0, 1.0),) * 4, "least-outstanding", queue_limit=50)
    fleet = create_fleet(design, np.random.SeedSequence(1))
    size = sum(array.nbytes for array in fleet)
    now_s = 0.0
    for seed in range(20):
        arrivals_s, normals = draw_arrivals(10_000, 5.0, seed)  # more than the fleet can serve
        serve(fleet, now_s + arrivals_s, normals)
        now_s += float(arrivals_s[-1])
    assert sum(array.nbytes for array in fleet) == size
    assert get_totals(fleet).in_flight <= 4 * 51


def test_fleet_outcome_does_not_depend_on_chunk_size() -> None:
    arrivals_s, normals = draw_arrivals(5000, 3.0, 12)
    design = FleetDesign((RequestService(1, 1.0, 1.0),) * 4, "power-of-two")
    one_chunk, many_chunks = (simulate_fleet(design, arrivals_s, normals, chunk) for chunk in (5000, 123))
    assert one_chunk.tallies.tobytes() == many_chunks.tallies.tobytes()
