from __future__ import annotations

import math

import msgspec
import pytest

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.planning.hardware.capacity import Capacity
from app.planning.service_models.evidence import Evidence, StageEffect, collect_evidence, meets_slo
from app.planning.sizing.fleet_rate import build_fleet_shape, estimate_rate, simulate_rate
from app.planning.sizing.fleet_sizer import FleetSizer
from app.planning.sizing.instances import Demand
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.offers import PlanLimits, Router
from app.records.planning_inputs import GapDistribution, MeasuredLoadPoint
from app.records.service import RequestService
from app.records.traffic import Traffic
from tests.fakes.offers import planning_inputs, target
from tests.fakes.services import fit_of, fitted_service

SLO = parse_objective("latency_ms.p95 < 4000")
FAST, SLOW = RequestService(1, 0.5, 1.0), RequestService(1, 2.0, 1.0)
"""Alone, these services sustain 1.1 req/s and 0.05 req/s within the SLO."""


def build_load_point(
    per_s: float, p95_s: float, *, gaps: GapDistribution = "random", requests: int = 1000, failed: int = 0
) -> MeasuredLoadPoint:
    latencies_s = {"latency": {"p50": p95_s / 3, "p95": p95_s}}
    return MeasuredLoadPoint(per_s, None, per_s, requests / per_s, requests, failed, latencies_s, gaps=gaps)


def test_load_points_are_evaluated_against_the_slo_of_the_plan() -> None:
    assert meets_slo(build_load_point(1.0, 3.0), [SLO]) is True
    assert meets_slo(build_load_point(1.0, 5.0), [SLO]) is False
    # 1 % of errors unless the SLO names another share
    assert meets_slo(build_load_point(1.0, 3.0, failed=20), [SLO]) is False
    assert meets_slo(build_load_point(1.0, 3.0), [parse_objective("latency_ms.p99 < 4000")]) is None
    assert meets_slo(build_load_point(1.0, 5.0), [SLO, parse_objective("ttft_ms.p95 < 100")]) is False


def test_even_gaps_or_few_requests_are_no_evidence_that_the_slo_is_met() -> None:
    points = (
        build_load_point(0.2, 1.0),
        build_load_point(0.5, 1.0, gaps="even"),
        build_load_point(0.6, 1.0, requests=20),
        build_load_point(0.7, 9.0, gaps="even"),
        build_load_point(0.1, 9.0, gaps="other"),
    )
    assert collect_evidence(target(load_points=points), [SLO]).tested_rates == ((0.2, True), (0.7, False))


def test_capacity_interval_spans_highest_met_to_lowest_missed_rate() -> None:
    assert Evidence(((0.2, True), (0.4, True), (0.5, False))).interval == (0.4, 0.5)
    assert Evidence(((0.5, False),)).interval == (0.0, 0.5)
    assert Evidence(((0.4, True),), max_throughput_per_s=3.0).interval == (0.4, 3.0)
    assert Evidence(((0.4, True),), max_throughput_per_s=0.3).interval == (0.4, 0.4)


def test_contradictory_rates_give_an_interval_around_their_overlap() -> None:
    evidence = Evidence(((0.90, True), (0.98, False), (1.0, True), (1.02, True), (1.06, False), (1.1, False)))
    low, high = evidence.interval
    assert evidence.is_contradictory
    assert 0.95 < low < 1.02 < high < 1.08


@pytest.mark.parametrize(("model_per_s", "sigma"), [(4.79, 0.02), (0.3, 0.05), (1e-6, 0.02), (1e6, 3.0), (0.0, 1.0)])
def test_posterior_stays_within_the_measured_interval_for_any_model_rate(model_per_s: float, sigma: float) -> None:
    posterior = Evidence(((1.0, True), (1.5, True), (2.0, False), (2.2, False))).compute_posterior(model_per_s, sigma)
    assert 1.5 <= posterior.p50 <= 2.0
    assert posterior.p10 <= posterior.p50 <= posterior.p90
    assert posterior.p10 > 1.3
    assert posterior.p90 < 2.3


def test_posterior_is_below_the_lowest_rate_if_all_rates_missed_the_slo() -> None:
    posterior = Evidence(((4.0, False), (4.5, False), (4.9, False))).compute_posterior(4.79, 0.1)
    assert posterior.p10 < posterior.p50 <= 4.0


def test_posterior_equals_model_rate_and_spread_inside_the_measured_interval() -> None:
    posterior = Evidence(((1.0, True), (2.0, False))).compute_posterior(1.4, 0.03)
    assert posterior.p50 == pytest.approx(1.4, rel=0.01)
    assert math.log(posterior.p90 / posterior.p10) == pytest.approx(2 * 1.2816 * 0.03, rel=0.3)


def test_rates_of_short_stages_are_corrected_to_steady_state() -> None:
    evidence = Evidence(((1.0, True), (1.2, False)), stage_requests=300)
    steady = evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 1.0)
    assert steady.interval == pytest.approx((1.0 / 1.1, 1.2 / 1.1))
    assert steady.spread == 0.05
    assert evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 0.5).interval == pytest.approx((0.8, 0.96))
    assert evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 1.2).interval == (1.0, 1.2)


def test_steady_state_correction_is_limited_if_load_points_contradict_the_model() -> None:
    evidence = Evidence(((1.0, True), (1.2, False)), stage_requests=300)
    assert evidence.correct_to_steady_state(StageEffect(1.6, 0.05), 1.0).interval == pytest.approx((1.0, 1.2), rel=0.01)
    assert evidence.correct_to_steady_state(StageEffect(0.7, 0.05), 0.5).interval == pytest.approx((1.0, 1.2), rel=0.01)
    assert evidence.correct_to_steady_state(None, 1.0) == evidence
    misfit = evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 0.9, fit_spread=2.0)
    assert misfit.interval[0] == pytest.approx((0.9 / 1.1) ** 0.25)


def test_omitted_part_of_the_steady_state_correction_increases_sigma() -> None:
    evidence = Evidence(((1.0, True), (1.2, False)), stage_requests=300)
    log_ratio = math.log(1.1)
    applied = evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 1.0)
    misfit = evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 1.0, fit_spread=2.0)
    assert applied.steady_sigma == pytest.approx(0.2 * log_ratio)
    assert misfit.steady_sigma == pytest.approx((0.2 + 0.75) * log_ratio)
    assert evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 1.2).steady_sigma == 0.0
    fit = fit_of(fitted_service(RequestService(1, 0.5, 1.0), mean_s=0.5))
    shape = build_fleet_shape(Traffic(1.0, "flat", (1.0,) * 24), build_slo_objectives([SLO]), "random")
    steady = Evidence(((1.0, True), (1.2, False)))
    certain = estimate_rate(fit, shape, 1, 1.0, 0.0, steady)
    uncertain = estimate_rate(fit, shape, 1, 1.0, 0.0, msgspec.structs.replace(steady, steady_sigma=0.3))
    assert uncertain.rate_per_s == certain.rate_per_s
    assert uncertain.sigma == pytest.approx(math.hypot(certain.sigma, 0.3))


def test_simulated_rate_is_at_least_80_percent_of_the_rate_always_within_the_slo() -> None:
    load_points = [
        build_load_point(0.5, 3.0),
        build_load_point(0.5, 3.1),
        build_load_point(0.6, 3.0),
        build_load_point(0.6, 5.0),
        *[build_load_point(0.25, 4.5)] * 2,
    ]
    evidence = collect_evidence(target(load_points=load_points), [SLO])
    assert evidence.always_met_rate_per_s == 0.5
    assert evidence.scale_rates(2.0).always_met_rate_per_s == 1.0
    uncertain_fit = fit_of(fitted_service(RequestService(1, 0.7, 1.0), mean_s=0.5))
    shape = build_fleet_shape(Traffic(1.0, "flat", (1.0,) * 24), build_slo_objectives([SLO]), "random")
    unbounded = simulate_rate(
        uncertain_fit, shape, 1, 1.0, 0.0, msgspec.structs.replace(evidence, always_met_rate_per_s=0.0)
    )
    bounded = simulate_rate(uncertain_fit, shape, 1, 1.0, 0.0, evidence)
    assert bounded.rate_per_s * math.exp(-1.2816 * bounded.sigma) == pytest.approx(0.8 * 0.5, rel=0.01)
    assert unbounded.rate_per_s * math.exp(-1.2816 * unbounded.sigma) < 0.9 * 0.8 * 0.5
    higher_evidence = msgspec.structs.replace(evidence, always_met_rate_per_s=0.64)
    assert simulate_rate(uncertain_fit, shape, 1, 1.0, 0.0, higher_evidence).rate_per_s >= 0.8 * 0.64


def test_contradictory_interval_reaches_80_percent_of_the_rate_always_within_the_slo() -> None:
    tested_rates = ((0.5, True), (1.0, False), (1.0, True), (1.05, False), (1.1, False), (1.4, False), (1.7, False))
    evidence = Evidence(tested_rates)
    assert evidence.interval[1] < 1.15
    higher_evidence = msgspec.structs.replace(
        evidence, tested_rates=(*tested_rates[:-1], (1.5, True), tested_rates[-1]), always_met_rate_per_s=1.5
    )
    assert 0.8 * 1.5 < higher_evidence.interval[1] < 1.25


def test_spread_of_short_stage_results_widens_the_capacity_interval() -> None:
    tested_rates = ((0.90, True), (0.98, False), (1.0, True), (1.02, True), (1.06, False), (1.1, False))
    narrow, wide = (Evidence(tested_rates, spread=spread).interval for spread in (0.02, 0.08))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    steady = Evidence(tested_rates, stage_requests=300).correct_to_steady_state(StageEffect(1.0, 0.08), 1.0)
    assert steady.interval == pytest.approx((wide[0], narrow[1]))  # the upper end does not exceed the rates that missed


def estimate_and_simulate(
    service: RequestService, points: tuple[MeasuredLoadPoint, ...], router: Router, replicas: int = 1
) -> tuple[float, float]:
    """Return the rate per replica by formula and by simulation, in req/s."""
    shape = build_fleet_shape(Traffic(1.0, "flat", (1.0,) * 24), build_slo_objectives([SLO]), router)
    measured = target(fit=fit_of(fitted_service(service, mean_s=0.02)), load_points=points)
    capacity = plan_capacity(replicas)
    sizer = FleetSizer(shape, Demand(0.2 * replicas, 0.2, z=0.0, spares=0), slo=[SLO])
    simulated = sizer.simulate_capacity(measured, capacity)
    assert simulated is not None
    return sizer.estimate_capacity(measured, capacity).rate_per_s / replicas, simulated[0].rate_per_s / replicas


def plan_capacity(replicas: int) -> Capacity:
    return Capacity(0.3 * replicas, 0.05, replicas, "measured")


def test_optimistic_model_is_capped_at_the_lowest_rate_that_missed_the_slo() -> None:
    points = (build_load_point(0.3, 5.0), build_load_point(0.4, 9.0), build_load_point(0.5, 20.0))
    for per_s in estimate_and_simulate(FAST, points, "random"):
        assert per_s <= 0.3
    assert estimate_and_simulate(FAST, (), "random")[1] > 1.0


@pytest.mark.parametrize("router", ["random", "least-outstanding"])
def test_pessimistic_model_is_raised_to_the_highest_rate_that_met_the_slo(router: Router) -> None:
    points = (
        build_load_point(0.3, 1.0),
        build_load_point(0.4, 2.0),
        build_load_point(0.5, 3.5),
        build_load_point(0.6, 5.0),
    )
    for per_s in estimate_and_simulate(SLOW, points, router):
        assert per_s >= 0.5 * (1 - 1e-9)
    assert estimate_and_simulate(SLOW, (), "random")[1] < 0.1


def test_plan_uses_measured_rates_if_the_model_never_meets_the_slo() -> None:
    hopeless = RequestService(8, 3.0, 2.0)
    points = (
        build_load_point(1.0, 2.0),
        build_load_point(2.0, 3.0),
        build_load_point(2.4, 3.9),
        build_load_point(2.6, 6.0),
    )
    measured = target(fit=fit_of(fitted_service(hopeless)), load_points=points)
    limits = PlanLimits(router="random", redundancy=0)
    plan = plan_fleets(planning_inputs(measured, peak_per_s=24.0, slo=(SLO.text,), limits=limits))
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.instances in (10, 11)
