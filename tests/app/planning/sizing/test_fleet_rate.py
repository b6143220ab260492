from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from app.analysis.columns import Floats
from app.analysis.objectives import parse_objective
from app.analysis.traces import compute_rate_per_s, select_busiest_rows
from app.planning.service_models.evidence import RUN_TO_RUN_SIGMA, Evidence
from app.planning.service_models.service_times import speed_up
from app.planning.simulation.design import compute_max_throughput_per_s
from app.planning.simulation.steady import SteadyOutcome
from app.planning.sizing.bursts import Bursts, draw_arrivals
from app.planning.sizing.fleet_rate import (
    BurstEffect,
    FleetShape,
    ReplicaRate,
    build_design,
    build_fleet_shape,
    choose_request_count,
    compute_excess,
    estimate_rate,
    find_highest_rate,
    replay_bursts,
    simulate_fleet,
    simulate_median_rate,
    simulate_rate,
)
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.offers import Router
from app.records.service import BatchService, FittedService, RequestService, ServiceFit, ServiceModel, TokenService
from app.records.traffic import Dispersion, RequestClass, TokenLengths, Traffic
from tests.fakes.services import fit_of, fitted_service
from tests.fakes.small_plan import short_fleet_simulations

SERVICE = RequestService(1, 1.0, 1.0)


def build_shape(*slo: str, router: Router = "random", **traffic: Any) -> FleetShape:
    fields: dict[str, Any] = {"peak_per_s": 1.0, "shape": "flat", "hourly_share": (1.0,) * 24}
    return build_fleet_shape(
        Traffic(**(fields | traffic)), build_slo_objectives([parse_objective(text) for text in slo]), router
    )


def find_rate(service: ServiceModel, fleet_shape: FleetShape, replicas: int = 1) -> float:
    return find_highest_rate(service, fleet_shape, replicas, 0.5)[0]


# W = 1 / (mu − lambda) × E[S], by Pollaczek and Khinchine for other CVs
@pytest.mark.parametrize(("cv", "rho"), [(0.0, 0.5), (0.5, 0.7), (1.0, 0.6)])
def test_simulated_rate_within_a_mean_limit_equals_the_pollaczek_khinchine_formula(cv: float, rho: float) -> None:
    mean_ms = 1000 * (1 + rho / (1 - rho) * (1 + cv * cv) / 2)
    assert find_rate(RequestService(1, 1.0, cv), build_shape(f"latency_ms.mean < {mean_ms}")) == pytest.approx(
        rho, rel=0.02
    )


@pytest.mark.parametrize("replicas", [1, 8])
def test_simulated_rate_within_a_p95_limit_equals_mm1_theory_for_1_and_8_replicas(replicas: int) -> None:
    # M/M/1: lambda = mu + ln(1 − q) / L. If L is 40 service times, the queue dominates, and a lognormal of CV 1 has the
    # same tail; the router is random, so each replica is an M/M/1 server
    limit_s = 40.0
    exact = 1 + math.log(0.05) / limit_s
    assert find_rate(SERVICE, build_shape(f"latency_ms.p95 < {1000 * limit_s}"), replicas) == pytest.approx(
        exact, rel=0.02
    )


def test_simulated_rate_of_constant_service_times_equals_md1_theory() -> None:
    # M/D/1: P(wait = 0) = 1 − rho, so the median wait is 0 up to rho 0.5 and more beyond
    max_rate = find_rate(RequestService(1, 1.0, 0.0), build_shape("latency_ms.p50 < 1010"))
    assert max_rate == pytest.approx(0.5, rel=0.02)


@short_fleet_simulations()
def test_routers_with_more_information_have_higher_simulated_rates() -> None:
    routers: tuple[Router, ...] = ("random", "round-robin", "power-of-two", "least-outstanding", "least-work")
    rates = [find_rate(SERVICE, build_shape("latency_ms.p95 < 8000", router=router), 16) for router in routers]
    assert rates == sorted(rates)
    assert rates[0] < 0.7 < 0.9 < rates[-1]


@short_fleet_simulations()
def test_tighter_limit_never_has_a_higher_simulated_rate() -> None:
    rates = [find_rate(SERVICE, build_shape(f"latency_ms.p95 < {limit}"), 4) for limit in (4000, 6000, 12_000)]
    assert rates == sorted(rates)


def test_rate_is_0_for_an_impossible_limit_and_99_5_percent_without_a_limit() -> None:
    assert find_rate(SERVICE, build_shape("latency_ms.p95 < 900")) == 0.0
    assert find_rate(SERVICE, build_shape()) == pytest.approx(0.995)


def test_goodput_share_with_a_limit_equals_its_percentile() -> None:
    goodput_rate = find_rate(SERVICE, build_shape("goodput_share > 95%", "latency_ms.p50 < 8000"))
    assert goodput_rate == pytest.approx(find_rate(SERVICE, build_shape("latency_ms.p95 < 8000")), rel=0.02)


@short_fleet_simulations()
def test_bursts_lower_the_simulated_rate() -> None:
    fit = ServiceFit((FittedService(SERVICE, 1.0, (), ()),), (), 0.0, 1.0, 0.0, highest_per_s=1.0)
    near, bursts = ReplicaRate(0.6, 0.1), Dispersion(20.0, 60.0)
    even = simulate_median_rate(fit, build_shape("latency_ms.p95 < 8000"), 4, 1.0, near)
    bursty = simulate_median_rate(fit, build_shape("latency_ms.p95 < 8000", dispersion=bursts), 4, 1.0, near)
    assert 0.3 * even.rate_per_s < bursty.rate_per_s < 0.9 * even.rate_per_s
    assert even.sigma == bursty.sigma == 0.1


@pytest.mark.parametrize("index", [600.0, 2400.0])
def test_burst_effect_depends_on_dispersion_relative_to_the_peak(index: float) -> None:
    """There are too many requests to draw them. 100 times the traffic with 100 times the index has the same relative
    variation."""
    fit = ServiceFit((FittedService(SERVICE, 1.0, (), ()),), (), 0.0, 1.0, 0.0, highest_per_s=1.0)

    def factor(peak_per_s: float, index: float, limit_ms: float) -> float:
        slo, bursts = f"latency_ms.p95 < {limit_ms}", Dispersion(index, 60.0)
        bursty, even = (
            build_shape(slo, peak_per_s=peak_per_s, dispersion=bursts),
            build_shape(slo, peak_per_s=peak_per_s),
        )
        near = ReplicaRate(0.6, 0.1)
        return (
            simulate_median_rate(fit, bursty, 8, 1.0, near).rate_per_s
            / simulate_median_rate(fit, even, 8, 1.0, near).rate_per_s
        )

    own_factor = factor(1000.0, index, 8000)
    assert own_factor == pytest.approx(factor(100_000.0, 100 * index, 8000), rel=1e-3)
    assert factor(1000.0, 2 * index, 8000) < 0.98 * own_factor


@short_fleet_simulations()
def test_request_classes_have_their_own_limits_and_work() -> None:
    light = RequestClass("light", 0.9, work=0.5, slo=("latency_ms.p95 < 3000",))
    heavy = RequestClass("heavy", 0.1, work=5.5)
    fleet_shape = build_shape("latency_ms.p95 < 30000", "goodput_share > 95%", classes=(light, heavy))
    assert [
        (request_class.share, request_class.limit_s, request_class.work) for request_class in fleet_shape.classes
    ] == [(0.9, 3.0, 0.5), (0.1, 30.0, 5.5)]
    tighter = build_shape("latency_ms.p95 < 30000", "goodput_share > 95%", classes=(
        RequestClass("light", 0.9, work=0.5, slo=("latency_ms.p95 < 2000",)), heavy,
    ))  # fmt: skip
    assert 0 < find_rate(SERVICE, tighter, 2) < find_rate(SERVICE, fleet_shape, 2)


def test_token_lengths_are_drawn_in_proportion_to_their_shares() -> None:
    assert build_shape().lengths == ((1, 1),)
    assert build_shape(tokens=(TokenLengths(1.0, 200.4, 99.6),)).lengths == ((200, 100),)
    two = build_shape(tokens=(TokenLengths(0.75, 100, 10), TokenLengths(0.25, 500, 0.2)))
    assert two.lengths.count((100, 10)) == 75
    assert two.lengths.count((500, 1)) == 25
    assert two.mean_lengths == pytest.approx((200.0, 7.75))


def test_rate_scales_with_speed_if_the_limit_scales_too() -> None:
    limit = build_shape("latency_ms.p95 < 8000")
    doubled_rate = find_rate(speed_up(SERVICE, 2.0), build_shape("latency_ms.p95 < 4000"))
    assert doubled_rate == pytest.approx(2 * find_rate(SERVICE, limit), rel=0.01)


@pytest.mark.parametrize(
    ("service", "fields"),
    [
        (RequestService(2, 1.0, 0.5, 0.2), {"mean_s": 0.5}),
        (BatchService(1.0, 0.1, 8, 0.3, 0.1, 0.2), {"fixed_s": 0.5, "per_item_s": 0.05}),
        (
            TokenService(1.0, 0.1, 0.01, 8, 1000, per_kv_token_s=0.001, outside_s=0.2),
            {"step_s": 0.5, "per_sequence_s": 0.05, "per_kv_token_s": 0.0005, "prefill_s_per_token": 0.005},
        ),
    ],
)
def test_speed_divides_only_the_service_times_of_the_replica(service: ServiceModel, fields: dict[str, float]) -> None:
    faster = speed_up(service, 2.0)
    for name in service.__struct_fields__:
        assert getattr(faster, name) == pytest.approx(fields.get(name, getattr(service, name)))


@pytest.mark.parametrize(
    "service",
    [BatchService(0.4, 0.05, 16), TokenService(0.01, 1e-4, 5e-5, max_sequences=32, kv_tokens=50_000)],
)
@short_fleet_simulations()
def test_batch_and_token_fleets_meet_the_limit_up_to_the_highest_rate(service: ServiceModel) -> None:
    fleet_shape = build_shape("latency_ms.p95 < 2500", tokens=(TokenLengths(1.0, 200, 100),))
    max_rate = find_rate(service, fleet_shape, 2)
    design = build_design(service, fleet_shape, 2)
    assert compute_excess(simulate_fleet(design, fleet_shape, 0.97 * max_rate, 10_000), fleet_shape) < 0.01
    assert compute_excess(simulate_fleet(design, fleet_shape, 1.05 * max_rate, 10_000), fleet_shape) > 0


def test_request_count_of_large_fleets_grows_with_replicas_up_to_64() -> None:
    assert choose_request_count(2, 20_000, 1500) == 20_000
    assert choose_request_count(64, 20_000, 1500) == choose_request_count(500, 20_000, 1500) == 96_000


def test_uncertainties_of_service_and_speed_add_in_quadrature() -> None:
    fleet_shape = build_shape("latency_ms.p95 < 8000")
    certain, of_service, of_speed, both = (
        simulate_rate(fit_of(fitted_service(SERVICE, **log_sds)), fleet_shape, 1, 1.0, speed)
        for log_sds, speed in (({}, 0.0), ({"mean_s": 0.1}, 0.0), ({}, 0.1), ({"mean_s": 0.1}, 0.1))
    )
    assert certain.sigma == pytest.approx(RUN_TO_RUN_SIGMA, rel=0.02)
    # a replica that is 10 % slower has a 10 % lower max throughput, and less of the limit left to wait
    assert of_service.sigma == pytest.approx(of_speed.sigma)
    assert 0.13 < of_service.sigma < 0.22
    assert both.sigma == pytest.approx(
        math.hypot(of_service.sigma, math.sqrt(of_speed.sigma**2 - certain.sigma**2)), rel=1e-6
    )
    assert certain.rate_per_s == of_service.rate_per_s == both.rate_per_s


def test_uncertainty_of_an_irrelevant_parameter_does_not_increase_sigma() -> None:
    # the window is far shorter than a batch, so its uncertainty does not matter
    uncertain_service = fitted_service(BatchService(1.0, 0.1, 8, window_s=1e-4), window_s=2.0)
    replica_rate = simulate_rate(fit_of(uncertain_service), build_shape("latency_ms.p95 < 4000"), 4, 1.0, 0.0)
    assert replica_rate.sigma == pytest.approx(RUN_TO_RUN_SIGMA, rel=0.1)


def test_probability_of_another_service_increases_sigma() -> None:
    fleet_shape = build_shape("latency_ms.p95 < 8000")
    other_service = FittedService(speed_up(SERVICE, 1.5), 0.25, (), ())
    mixed_rate = simulate_rate(fit_of(fitted_service(SERVICE, 0.75), other_service), fleet_shape, 1, 1.0, 0.0)
    log_ratio = math.log(find_rate(speed_up(SERVICE, 1.5), fleet_shape) / find_rate(SERVICE, fleet_shape))
    assert mixed_rate.rate_per_s == simulate_rate(fit_of(fitted_service(SERVICE)), fleet_shape, 1, 1.0, 0.0).rate_per_s
    assert mixed_rate.sigma == pytest.approx(math.hypot(0.5 * log_ratio, RUN_TO_RUN_SIGMA), rel=0.05)


def test_rate_is_capped_at_the_highest_measured_rate() -> None:
    fleet_shape, fit = build_shape("latency_ms.p95 < 8000"), fit_of(fitted_service(SERVICE), highest_per_s=0.3)
    for replica_rate in (
        simulate_rate(fit, fleet_shape, 1, 1.0, 0.0),
        simulate_median_rate(fit, fleet_shape, 1, 1.0, ReplicaRate(0.5, 0.0)),
        estimate_rate(fit, fleet_shape, 1, 1.0, 0.0),
    ):
        assert replica_rate.rate_per_s == 0.3
        assert replica_rate.extrapolated_per_s == pytest.approx(0.62, rel=0.05), "M/M/1: 1 - ln 20 / 8"
    assert simulate_rate(fit, fleet_shape, 1, 2.0, 0.0).rate_per_s == 0.6
    assert simulate_rate(fit_of(fitted_service(SERVICE)), fleet_shape, 1, 1.0, 0.0).extrapolated_per_s is None


def test_fleet_that_misses_the_slo_at_any_load_has_rate_0() -> None:
    assert simulate_rate(
        fit_of(fitted_service(SERVICE, mean_s=0.1)), build_shape("latency_ms.p95 < 900"), 1, 1.0, 0.1
    ) == ReplicaRate(0, 0)


def test_sigma_by_formula_includes_mean_and_speed_but_not_cv() -> None:
    fleet_shape = build_shape("latency_ms.p95 < 8000")
    uncertain_service = fitted_service(RequestService(1, 1.0, 1.0, 0.001), mean_s=0.1, cv=0.4, outside_s=3.0)
    replica_rate = estimate_rate(fit_of(uncertain_service), fleet_shape, 1, 1.0, 0.05)
    assert replica_rate.sigma == pytest.approx(math.hypot(0.1, 0.05, RUN_TO_RUN_SIGMA), rel=1e-3)
    assert replica_rate.rate_per_s == pytest.approx(find_rate(SERVICE, fleet_shape), rel=0.05)


@short_fleet_simulations()
def test_simulated_rate_is_reproducible(simulated_fleets: dict[object, SteadyOutcome]) -> None:
    fleet_shape, fit = (
        build_shape("latency_ms.p95 < 8000", router="power-of-two"),
        fit_of(fitted_service(SERVICE, mean_s=0.05, cv=0.2)),
    )
    first = simulate_rate(fit, fleet_shape, 3, 1.1, 0.1)
    simulated_fleets.clear()
    assert simulate_rate(fit, fleet_shape, 3, 1.1, 0.1) == first


def test_trace_shorter_than_one_hour_adds_sigma_by_its_unevenness() -> None:
    """The interval depends on how late requests are distributed over the trace: one burst is less evidence than 20."""
    service, slo = RequestService(2, 1.0, 0.0), build_shape("latency_ms.p95 < 1500", router="least-outstanding")
    even_s = np.arange(0.0, 300.0, 0.5)
    once_s = np.sort(np.concatenate([even_s, np.linspace(100.0, 110.0, 60)]))

    def effect(at_s: Floats) -> BurstEffect:
        rows = select_busiest_rows(at_s)
        fleet_shape = msgspec.structs.replace(slo, bursts=Bursts(rows, Dispersion(), compute_rate_per_s(rows)))
        arrivals = draw_arrivals(fleet_shape.bursts, 1.0) if fleet_shape.bursts else None
        assert arrivals is not None
        return replay_bursts(service, fleet_shape, 4, 1.9, arrivals, True)

    assert effect(even_s).sigma < 0.05 < effect(once_s).sigma
    assert effect(once_s).factor < effect(even_s).factor
    hour_s = np.concatenate([once_s + repetition * 300.0 for repetition in range(13)])
    assert effect(hour_s).sigma == 0.0


SLOW_TOKEN_SERVICE = TokenService(0.02, 0.0003, 1e-6, max_sequences=256, kv_tokens=10**9, cv=0.1)


def test_token_fleet_over_saturation_misses_the_slo_despite_long_requests() -> None:
    """At 5 % over saturation, a request takes 20 s: a tenth of a simulation of 1,000 requests per replica."""
    fleet_shape = build_shape(
        "ttft_ms.p50 < 1000", router="least-outstanding", tokens=(TokenLengths(1.0, 100.0, 200.0),)
    )
    design = build_design(SLOW_TOKEN_SERVICE, fleet_shape, 8)
    saturation_per_s = compute_max_throughput_per_s(SLOW_TOKEN_SERVICE, fleet_shape.lengths)
    assert compute_excess(simulate_fleet(design, fleet_shape, 0.8 * saturation_per_s, 8_000), fleet_shape) < 0
    assert compute_excess(simulate_fleet(design, fleet_shape, 1.05 * saturation_per_s, 8_000), fleet_shape) > 0


@short_fleet_simulations()
def test_gain_of_pooling_adds_sigma_for_token_services() -> None:
    """Load points give the rate of one replica within 1 %; the gain of a fleet is known from the model only."""
    service = TokenService(0.01, 0.001, 1e-6, max_sequences=4, kv_tokens=10**9, cv=0.1)
    tokens = (TokenLengths(1.0, 10.0, 20.0),)
    unpooled, pooled = (
        build_shape("ttft_ms.p95 < 150", router=router, tokens=tokens) for router in ("random", "least-outstanding")
    )
    one_replica_per_s = find_highest_rate(service, unpooled, 1, 5.0)[0]
    evidence = Evidence(tuple((one_replica_per_s * factor, factor < 1) for factor in [0.9, 0.99, 1.01, 1.1] * 8))
    fit = fit_of(fitted_service(service), highest_per_s=100.0)
    rates = {
        fleet_shape.router: simulate_rate(fit, fleet_shape, 8, 1.0, 0.0, evidence) for fleet_shape in (unpooled, pooled)
    }
    gain = math.log(rates["least-outstanding"].rate_per_s / rates["random"].rate_per_s)
    assert gain > 0.2
    assert rates["random"].sigma < 0.03
    assert rates["least-outstanding"].sigma == pytest.approx(math.hypot(0.04, rates["random"].sigma), rel=0.1)


@short_fleet_simulations()
def test_evidence_is_compared_with_a_replica_of_the_measured_lengths() -> None:
    """Measured with responses of 20 tokens and planned with 40, the rate is about half."""
    service = TokenService(0.01, 0.001, 1e-6, max_sequences=4, kv_tokens=10**9, cv=0.1)
    short, long = (
        build_shape("ttft_ms.p95 < 400", tokens=(TokenLengths(1.0, 10.0, outputs),)) for outputs in (20.0, 40.0)
    )
    short_per_s = find_highest_rate(service, short, 1, 5.0)[0]
    tested_rates = tuple((short_per_s * factor, factor < 1) for factor in [0.9, 0.99, 1.01, 1.1])
    fit = fit_of(fitted_service(service), highest_per_s=1.1 * short_per_s)
    rates = [
        simulate_rate(fit, fleet_shape, 8, 1.0, 0.0, Evidence(tested_rates, lengths=((10, 20),))).rate_per_s
        for fleet_shape in (short, long)
    ]
    assert rates[0] == pytest.approx(short_per_s, rel=0.02)
    assert rates[1] == pytest.approx(find_highest_rate(service, long, 1, 5.0)[0], rel=0.03)
    assert rates[1] < 0.6 * rates[0]


@pytest.mark.parametrize(("measured_tokens", "exceeds"), [(100, False), (101, False), (110, True)])
@short_fleet_simulations()
def test_rate_exceeds_the_measured_rate_only_for_clearly_lighter_requests(measured_tokens: int, exceeds: bool) -> None:
    service = TokenService(0.01, 0.001, 1e-6, max_sequences=4, kv_tokens=10**9, cv=0.1)
    fleet_shape = build_shape("ttft_ms.p95 < 4000", tokens=(TokenLengths(1.0, 40.0, 100.0),))
    measured_per_s = 0.5 * find_highest_rate(service, fleet_shape, 8, 5.0)[0]
    evidence = Evidence(((0.5 * measured_per_s, True), (measured_per_s, True)), lengths=((10, measured_tokens),))
    replica_rate = simulate_rate(
        fit_of(fitted_service(service), highest_per_s=measured_per_s), fleet_shape, 8, 1.0, 0.0, evidence
    )
    assert (replica_rate.rate_per_s > measured_per_s) is exceeds
    assert replica_rate.rate_per_s == pytest.approx(measured_per_s * (1.1 if exceeds else 1.0), rel=0.01)


@short_fleet_simulations()
def test_replica_rate_has_the_p90_of_the_max_throughput() -> None:
    """Two slots of 1 s with a sigma of 5 % sustain 2 req/s; the 90th percentile is exp(1.28 × 0.05) times as high."""
    fleet_shape = build_shape("latency_ms.p95 < 6000")
    replica_rate = simulate_rate(
        fit_of(fitted_service(RequestService(2, 1.0, 1.0), mean_s=0.05)), fleet_shape, 1, 1.0, 0.0
    )
    assert replica_rate.max_throughput_per_s == pytest.approx(2.0 * math.exp(1.2816 * 0.05), rel=0.01)
    faster_by_two = simulate_rate(fit_of(fitted_service(RequestService(2, 1.0, 1.0))), fleet_shape, 1, 2.0, 0.0)
    assert faster_by_two.max_throughput_per_s == pytest.approx(4.0, rel=0.01)
    median_rate = simulate_median_rate(
        fit_of(fitted_service(RequestService(2, 1.0, 1.0))), fleet_shape, 4, 1.0, replica_rate
    )
    assert median_rate.max_throughput_per_s == replica_rate.max_throughput_per_s
