from __future__ import annotations

import math

import msgspec
import pytest

from app.analysis.objectives import parse_objective
from app.planning.capacity import Capacity
from app.planning.fleet_rate import build_fleet_shape, simulate_rate
from app.planning.fleet_sizer import FleetSizer
from app.planning.fleets import plan_fleets
from app.planning.service_models.evidence import Evidence, StageEffect, collect_evidence, meets_slo
from app.planning.sizing import Demand
from app.planning.slo_objectives import build_slo_objectives
from app.records.offers import PlanLimits, Router
from app.records.planning_inputs import GapDistribution, MeasuredLoadPoint
from app.records.service import RequestService
from app.records.traffic import Traffic
from tests.fakes.offers import question, target
from tests.fakes.services import fit_of, fitted

SLO = parse_objective("latency_ms.p95 < 4000")
FAST, SLOW = RequestService(1, 0.5, 1.0), RequestService(1, 2.0, 1.0)
"""By themselves they sustain 1.1/s and 0.05/s inside the SLO."""


def point(
    per_s: float, p95_s: float, *, gaps: GapDistribution = "random", requests: int = 1000, failed: int = 0
) -> MeasuredLoadPoint:
    latencies_s = {"latency": {"p50": p95_s / 3, "p95": p95_s}}
    return MeasuredLoadPoint(per_s, None, per_s, requests / per_s, requests, failed, latencies_s, gaps=gaps)


def test_load_points_are_evaluated_by_the_plans_own_slo() -> None:
    assert meets_slo(point(1.0, 3.0), [SLO]) is True
    assert meets_slo(point(1.0, 5.0), [SLO]) is False
    assert meets_slo(point(1.0, 3.0, failed=20), [SLO]) is False  # 1 % of errors unless the SLO names another share
    assert meets_slo(point(1.0, 3.0), [parse_objective("latency_ms.p99 < 4000")]) is None
    assert meets_slo(point(1.0, 5.0), [SLO, parse_objective("ttft_ms.p95 < 100")]) is False


def test_even_gaps_and_few_requests_do_not_show_that_an_slo_is_met() -> None:
    points = (
        point(0.2, 1.0),
        point(0.5, 1.0, gaps="even"),
        point(0.6, 1.0, requests=20),
        point(0.7, 9.0, gaps="even"),
        point(0.1, 9.0, gaps="other"),
    )
    assert collect_evidence(target(load_points=points), [SLO]).tested_rates == ((0.2, True), (0.7, False))


def test_the_interval_lies_between_the_highest_met_and_the_lowest_missed() -> None:
    assert Evidence(((0.2, True), (0.4, True), (0.5, False))).interval == (0.4, 0.5)
    assert Evidence(((0.5, False),)).interval == (0.0, 0.5)
    assert Evidence(((0.4, True),), max_throughput_per_s=3.0).interval == (0.4, 3.0)
    assert Evidence(((0.4, True),), max_throughput_per_s=0.3).interval == (0.4, 0.4)


def test_where_met_and_missed_overlap_the_interval_is_the_posteriors() -> None:
    evidence = Evidence(((0.90, True), (0.98, False), (1.0, True), (1.02, True), (1.06, False), (1.1, False)))
    low, high = evidence.interval
    assert evidence.is_contradictory
    assert 0.95 < low < 1.02 < high < 1.08


@pytest.mark.parametrize(("model_per_s", "sigma"), [(4.79, 0.02), (0.3, 0.05), (1e-6, 0.02), (1e6, 3.0), (0.0, 1.0)])
def test_no_model_moves_the_rate_out_of_what_was_measured(model_per_s: float, sigma: float) -> None:
    belief = Evidence(((1.0, True), (1.5, True), (2.0, False), (2.2, False))).compute_posterior(model_per_s, sigma)
    assert 1.5 <= belief.p50 <= 2.0
    assert belief.p10 <= belief.p50 <= belief.p90
    assert belief.p10 > 1.3
    assert belief.p90 < 2.3


def test_where_every_rate_missed_the_slo_the_capacity_is_below_the_lowest_of_them() -> None:
    belief = Evidence(((4.0, False), (4.5, False), (4.9, False))).compute_posterior(4.79, 0.1)
    assert belief.p10 < belief.p50 <= 4.0


def test_a_model_inside_the_interval_keeps_its_rate_and_its_certainty() -> None:
    belief = Evidence(((1.0, True), (2.0, False))).compute_posterior(1.4, 0.03)
    assert belief.p50 == pytest.approx(1.4, rel=0.01)
    assert math.log(belief.p90 / belief.p10) == pytest.approx(2 * 1.2816 * 0.03, rel=0.3)


def test_rates_of_short_stages_are_brought_down_to_those_of_a_steady_server() -> None:
    evidence = Evidence(((1.0, True), (1.2, False)), stage_requests=300)
    steady = evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 1.0)
    assert steady.interval == pytest.approx((1.0 / 1.1, 1.2 / 1.1))
    assert steady.spread == 0.05
    assert evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 0.5).interval == pytest.approx((0.8, 0.96))
    assert evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 1.2).interval == (1.0, 1.2)


def test_a_model_that_the_load_points_contradict_moves_no_rate() -> None:
    evidence = Evidence(((1.0, True), (1.2, False)), stage_requests=300)
    assert evidence.correct_to_steady_state(StageEffect(1.6, 0.05), 1.0).interval == pytest.approx((1.0, 1.2), rel=0.01)
    assert evidence.correct_to_steady_state(StageEffect(0.7, 0.05), 0.5).interval == pytest.approx((1.0, 1.2), rel=0.01)
    assert evidence.correct_to_steady_state(None, 1.0) == evidence
    misfit = evidence.correct_to_steady_state(StageEffect(1.1, 0.05), 0.9, fit_spread=2.0)
    assert misfit.interval[0] == pytest.approx((0.9 / 1.1) ** 0.25)


def test_however_unsure_a_model_is_no_plan_is_far_below_what_passed_in_all_repeats() -> None:
    tried = [point(0.5, 3.0), point(0.5, 3.1), point(0.6, 3.0), point(0.6, 5.0), *[point(0.25, 4.5)] * 2]
    evidence = collect_evidence(target(load_points=tried), [SLO])
    assert evidence.always_met_rate_per_s == 0.5
    assert evidence.scale_rates(2.0).always_met_rate_per_s == 1.0
    unsure = fit_of(fitted(RequestService(1, 0.7, 1.0), mean_s=0.5))
    shape = build_fleet_shape(Traffic(1.0, "flat", (1.0,) * 24), build_slo_objectives([SLO]), "random")
    free = simulate_rate(unsure, shape, 1, 1.0, 0.0, msgspec.structs.replace(evidence, always_met_rate_per_s=0.0))
    held = simulate_rate(unsure, shape, 1, 1.0, 0.0, evidence)
    assert held.rate_per_s * math.exp(-1.2816 * held.sigma) == pytest.approx(0.8 * 0.5, rel=0.01)
    assert free.rate_per_s * math.exp(-1.2816 * free.sigma) < 0.9 * 0.8 * 0.5
    lucky = msgspec.structs.replace(evidence, always_met_rate_per_s=0.64)
    assert simulate_rate(unsure, shape, 1, 1.0, 0.0, lucky).rate_per_s >= 0.8 * 0.64


def test_the_interval_of_contradictory_load_points_reaches_to_what_is_counted_on_of_a_rate_that_passed() -> None:
    tried = ((0.5, True), (1.0, False), (1.0, True), (1.05, False), (1.1, False), (1.4, False), (1.7, False))
    without = Evidence(tried)
    assert without.interval[1] < 1.15
    lucky = msgspec.structs.replace(
        without, tested_rates=(*tried[:-1], (1.5, True), tried[-1]), always_met_rate_per_s=1.5
    )
    assert 0.8 * 1.5 < lucky.interval[1] < 1.25


def test_chance_results_of_short_stages_leave_the_limit_wider() -> None:
    tried = ((0.90, True), (0.98, False), (1.0, True), (1.02, True), (1.06, False), (1.1, False))
    narrow, wide = (Evidence(tried, spread=spread).interval for spread in (0.02, 0.08))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    steady = Evidence(tried, stage_requests=300).correct_to_steady_state(StageEffect(1.0, 0.08), 1.0)
    assert steady.interval == pytest.approx((wide[0], narrow[1]))  # and no plan is above what was measured to miss


def sized(
    service: RequestService, points: tuple[MeasuredLoadPoint, ...], router: Router, replicas: int = 1
) -> tuple[float, float]:
    """The rates by formula and by simulation, of each replica."""
    shape = build_fleet_shape(Traffic(1.0, "flat", (1.0,) * 24), build_slo_objectives([SLO]), router)
    measured = target(fit=fit_of(fitted(service, mean_s=0.02)), load_points=points)
    start = plan_capacity(replicas)
    settling = FleetSizer(shape, Demand(0.2 * replicas, 0.2, z=0.0, spares=0), slo=[SLO])
    simulated = settling.simulate_capacity(measured, start)
    assert simulated is not None
    return settling.estimate_capacity(measured, start).rate_per_s / replicas, simulated[0].rate_per_s / replicas


def plan_capacity(replicas: int) -> Capacity:
    return Capacity(0.3 * replicas, 0.05, replicas, "measured")


def test_a_model_that_overrates_is_held_below_the_lowest_rate_that_missed_the_slo() -> None:
    points = (point(0.3, 5.0), point(0.4, 9.0), point(0.5, 20.0))
    for per_s in sized(FAST, points, "random"):
        assert per_s <= 0.3
    assert sized(FAST, (), "random")[1] > 1.0


@pytest.mark.parametrize("router", ["random", "least-outstanding"])
def test_a_model_that_underrates_is_held_above_the_highest_rate_that_met_the_slo(router: Router) -> None:
    points = (point(0.3, 1.0), point(0.4, 2.0), point(0.5, 3.5), point(0.6, 5.0))
    for per_s in sized(SLOW, points, router):
        assert per_s >= 0.5 * (1 - 1e-9)
    assert sized(SLOW, (), "random")[1] < 0.1


def test_a_plan_is_not_refused_for_a_model_that_misses_at_any_load_what_was_measured_to_meet_the_slo() -> None:
    hopeless = RequestService(8, 3.0, 2.0)
    points = (point(1.0, 2.0), point(2.0, 3.0), point(2.4, 3.9), point(2.6, 6.0))
    measured = target(fit=fit_of(fitted(hopeless)), load_points=points)
    limits = PlanLimits(router="random", redundancy=0)
    plan = plan_fleets(question(measured, peak_per_s=24.0, slo=(SLO.text,), limits=limits))
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.instances in (10, 11)
