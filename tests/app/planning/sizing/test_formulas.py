from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from app.planning.simulation.replica import simulate_batch_latencies, simulate_request_latencies
from app.planning.sizing.formulas import (
    compute_erlang_b,
    compute_erlang_c,
    depends_on_replicas,
    estimate_rate_within_slo,
)
from app.planning.sizing.slo_objectives import LatencyKind, LatencyObjective, SloObjectives
from app.records.service import BatchService, RequestService, ServiceModel, TokenService

TOKENS = TokenService(0.01, 1e-4, 5e-5, max_sequences=64, kv_tokens=100_000)
KINDS: tuple[LatencyKind, ...] = ("first_token", "per_token", "latency")
LENGTHS = (200.0, 100.0)


def build_slo(limit_s: float, quantile: float | None = 0.95, kind: LatencyKind = "latency") -> SloObjectives:
    return SloObjectives((LatencyObjective("", "", kind, quantile, limit_s),), None)


# from tables of the Erlang formulas
@pytest.mark.parametrize(
    ("servers", "erlangs", "blocked"),
    [(1, 1.0, 0.5), (2, 1.0, 0.2), (5, 2.218, 0.05), (10, 4.461, 0.01), (20, 12.03, 0.01), (100, 84.06, 0.01)],
)
def test_blocking_probability_equals_erlang_b_tables(servers: int, erlangs: float, blocked: float) -> None:
    assert compute_erlang_b(servers, erlangs) == pytest.approx(blocked, rel=2e-3)


# requests wait for one server with its utilization, and for two servers with a² / (2 + a)
@pytest.mark.parametrize(
    ("servers", "erlangs", "waits"),
    [(1, 0.7, 0.7), (2, 1.0, 1 / 3), (2, 1.5, 2.25 / 3.5), (3, 2.0, 4 / 9), (4, 4.0, 1.0), (4, 9.0, 1.0)],
)
def test_waiting_probability_equals_erlang_c(servers: int, erlangs: float, waits: float) -> None:
    assert compute_erlang_c(servers, erlangs) == pytest.approx(waits)


def test_erlang_formulas_do_not_overflow_with_many_servers() -> None:
    assert compute_erlang_b(0.5, 0.0) == 0.0
    assert 0 < compute_erlang_c(100_000, 99_500) < 1


def test_waiting_probability_grows_with_load_and_falls_with_servers() -> None:
    dice = random.Random(1)
    for _ in range(200):
        servers, load = dice.randint(1, 200), dice.uniform(0.05, 0.95)
        assert compute_erlang_c(servers, servers * load) <= compute_erlang_c(servers, servers * (load + 0.04))
        assert compute_erlang_c(servers + 1, servers * load) <= compute_erlang_c(servers, servers * load)


@pytest.mark.parametrize("mean_limit_s", [2.0, 4.0, 20.0])
def test_rate_within_a_mean_limit_of_one_server_equals_mm1_theory(mean_limit_s: float) -> None:
    # M/M/1: W = 1 / (mu − lambda); the Allen-Cunneen formula is exact there
    rate_per_s = estimate_rate_within_slo(RequestService(1, 1.0, 1.0), build_slo(mean_limit_s, None), 1, "random")
    assert rate_per_s == pytest.approx(1 - 1 / mean_limit_s, rel=1e-6)


def test_rate_within_a_mean_limit_of_two_servers_in_one_queue_equals_mm2_theory() -> None:
    # M/M/2: W = 1 / (1 − rho²), with a mean service of 1
    rate_per_s = estimate_rate_within_slo(RequestService(1, 1.0, 1.0), build_slo(4 / 3, None), 2, "least-work")
    assert rate_per_s == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize(("cv", "rho"), [(0.0, 0.6), (0.5, 0.8), (2.0, 0.7)])
def test_rate_within_a_mean_limit_equals_the_pollaczek_khinchine_formula(cv: float, rho: float) -> None:
    # M/G/1: W = 1 + rho / (1 − rho) × (1 + cv²) / 2
    mean_s = 1 + rho / (1 - rho) * (1 + cv * cv) / 2
    assert estimate_rate_within_slo(RequestService(1, 1.0, cv), build_slo(mean_s, None), 1, "random") == pytest.approx(
        rho, rel=1e-6
    )


@pytest.mark.parametrize("quantile", [0.9, 0.95, 0.99])
def test_rate_within_a_tail_limit_of_one_server_is_close_to_mm1_theory(quantile: float) -> None:
    # M/M/1: the latency quantile is −ln(1 − q) / (mu − lambda); a lognormal service of the same CV differs slightly
    limit_s = 20.0
    exact = 1 + math.log(1 - quantile) / limit_s
    rate_per_s = estimate_rate_within_slo(RequestService(1, 1.0, 1.0), build_slo(limit_s, quantile), 1, "random")
    assert rate_per_s == pytest.approx(exact, rel=0.03)


def test_p95_without_a_queue_equals_the_p95_service_time() -> None:
    # 64 slots at low load: p95 of a lognormal of mean 1 and CV 0.5
    variance = math.log(1.25)
    p95_s = math.exp(1.6449 * math.sqrt(variance) - variance / 2)
    service = RequestService(64, 1.0, 0.5, outside_s=0.3)
    assert estimate_rate_within_slo(service, build_slo(0.3 + p95_s * 0.98), 1, "random") == 0.0
    assert estimate_rate_within_slo(service, build_slo(0.3 + p95_s * 1.02), 1, "random") > 10.0


@pytest.mark.parametrize("cv", [0.3, 2.0])
def test_mean_of_processor_sharing_equals_theory_for_any_cv(cv: float) -> None:
    # M/G/1 with processor sharing: W = 1 / (1 − rho); with 2 cores 1 / (1 − rho²), as in M/M/2
    one_core, two_cores = (RequestService(cores, 1.0, cv, discipline="processor sharing") for cores in (1, 2))
    assert estimate_rate_within_slo(one_core, build_slo(4.0, None), 1, "random") == pytest.approx(0.75, rel=1e-6)
    assert estimate_rate_within_slo(two_cores, build_slo(4 / 3, None), 1, "random") == pytest.approx(2 * 0.5, rel=1e-6)


@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99])
def test_processor_sharing_estimate_is_within_the_documented_error_of_a_simulation(quantile: float) -> None:
    service, rng = RequestService(2, 1.0, 0.5, discipline="processor sharing"), np.random.default_rng(3)
    arrivals_s, normals = np.cumsum(rng.exponential(1 / 1.6, 200_000)), rng.standard_normal(200_000)
    true_s = float(np.quantile(simulate_request_latencies(arrivals_s, normals, service)[5000:], quantile))
    assert estimate_rate_within_slo(service, build_slo(true_s * 1.31, quantile), 1, "random") > 1.6
    assert estimate_rate_within_slo(service, build_slo(true_s * 0.82, quantile), 1, "random") < 1.6


def test_looser_limit_never_lowers_the_estimated_rate() -> None:
    dice = random.Random(2)
    for _ in range(150):
        service: ServiceModel = dice.choice(
            (
                RequestService(dice.randint(1, 16), 0.01, dice.uniform(0, 2), 0.001),
                RequestService(dice.randint(1, 16), 0.01, dice.uniform(0, 2), discipline="processor sharing"),
                BatchService(0.005, dice.uniform(1e-4, 5e-3), dice.choice((2, 8, 64)), dice.choice((0.0, 0.004))),
                TOKENS,
            )
        )
        router = dice.choice(("round-robin", "random", "power-of-two", "least-work", "session-hash"))
        replicas, quantile = dice.choice((1, 3, 40)), dice.choice((None, 0.5, 0.99))
        kind = dice.choice(KINDS) if service is TOKENS else "latency"
        limits = sorted(dice.uniform(0.001, 3.0) for _ in range(4))
        rates = [
            estimate_rate_within_slo(service, build_slo(s, quantile, kind), replicas, router, LENGTHS) for s in limits
        ]
        assert all(tight <= loose * (1 + 1e-9) for tight, loose in itertools.pairwise(rates))


def test_routers_with_more_information_have_higher_rates() -> None:
    service = RequestService(1, 1.0, 1.0)
    routers = ("random", "round-robin", "power-of-two", "least-work")
    rates = [estimate_rate_within_slo(service, build_slo(6.0), 16, router) for router in routers]
    assert rates[0] < min(rates[1:3])
    assert max(rates[1:3]) < rates[3]


def test_rate_without_an_slo_is_95_percent_of_the_max_throughput() -> None:
    assert estimate_rate_within_slo(RequestService(4, 2.0, 1.0), SloObjectives((), None), 1, "random") == pytest.approx(
        0.95 * 2.0
    )


def test_tightest_objective_sets_the_rate() -> None:
    service = RequestService(2, 1.0, 0.5)
    looser, tighter = build_slo(5.0, 0.95), build_slo(5.0, 0.99)
    both = SloObjectives((*looser.latency_objectives, *tighter.latency_objectives), None)
    assert estimate_rate_within_slo(service, both, 1, "random") == estimate_rate_within_slo(
        service, tighter, 1, "random"
    )


def test_batch_rate_is_at_most_the_rate_of_full_batches() -> None:
    service = BatchService(0.004, 0.0005, 64)
    assert 0 < estimate_rate_within_slo(service, build_slo(10.0), 1, "random") <= service.max_throughput_per_s
    assert estimate_rate_within_slo(service, build_slo(0.004), 1, "random") == 0.0


def test_batch_estimate_is_within_the_documented_error_of_a_simulation() -> None:
    # p99 −12 to +17 % while batching pays and the load is under 0.7
    service, rng = BatchService(0.004, 0.0005, 64), np.random.default_rng(3)
    per_s = 0.5 * service.max_throughput_per_s
    arrivals_s = np.cumsum(rng.exponential(1 / per_s, 400_000))
    simulated_s = float(np.quantile(simulate_batch_latencies(arrivals_s, np.zeros(400_000), service), 0.99))
    assert estimate_rate_within_slo(service, build_slo(simulated_s / 1.13, 0.99), 1, "random") < per_s
    assert estimate_rate_within_slo(service, build_slo(simulated_s * 1.18, 0.99), 1, "random") > per_s


def test_token_service_rate_is_limited_by_kv_cache_and_step_time() -> None:
    small_cache = TokenService(0.01, 1e-4, 5e-5, max_sequences=64, kv_tokens=600)
    loose = build_slo(60.0)
    assert estimate_rate_within_slo(small_cache, loose, 1, "random", LENGTHS) < 0.2 * estimate_rate_within_slo(
        TOKENS, loose, 1, "random", LENGTHS
    )
    assert estimate_rate_within_slo(TOKENS, build_slo(0.009, 0.95, "per_token"), 1, "random", LENGTHS) == 0.0
    assert estimate_rate_within_slo(TOKENS, build_slo(0.02, 0.95, "per_token"), 1, "random", LENGTHS) > 0.0


def test_rate_within_a_limit_met_only_by_an_idle_replica_is_0() -> None:
    # 1 in 100 requests takes over 6.93 s without a queue, so a limit of 7 s leaves no time to wait
    service = RequestService(2, 1.0, 1.5)
    assert estimate_rate_within_slo(service, build_slo(7.0, 0.99), 1, "random") == 0.0
    assert estimate_rate_within_slo(service, build_slo(8.0, 0.99), 1, "random") > 0.1


@pytest.mark.parametrize("router", ["round-robin", "random", "power-of-two", "least-outstanding"])
def test_batch_and_token_estimates_do_not_depend_on_the_replica_count(router: str) -> None:
    services: tuple[ServiceModel, ...] = (BatchService(0.004, 0.0006, 16, 0.001, 0.1, 0.002), TOKENS)
    for service in services:
        assert not depends_on_replicas(service)
        one_replica, nine_replicas = (
            estimate_rate_within_slo(service, build_slo(2.0), replicas, router) for replicas in (1, 9)
        )
        assert one_replica == nine_replicas > 0
    assert depends_on_replicas(RequestService(2, 0.01, 0.5))
