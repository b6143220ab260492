from __future__ import annotations

import msgspec
import pytest

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.planning.hardware.capacity import Capacity
from app.planning.sizing.instances import Demand
from app.planning.sizing.knowledge import assess_knowledge, collect_slo_evidence, compute_fit_error_at_slo
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.offers import PlanLimits
from app.records.plan import Plan
from app.records.planning_inputs import MeasuredLoadPoint, MeasuredTarget
from app.records.service import FitError, RequestService, ServiceFit
from tests.fakes.offers import planning_inputs, target
from tests.fakes.services import fit_of, fitted_service

pytestmark = pytest.mark.usefixtures("short_simulations")

SLO = parse_objective("latency_ms.p95 < 4000")
OBJECTIVES = build_slo_objectives([SLO])
DEMAND = Demand(1000.0, 1000.0, z=0.0, spares=0)
SERVICE = RequestService(8, 1.0, 1.0)


def build_load_point(per_s: float, p95_s: float) -> MeasuredLoadPoint:
    return MeasuredLoadPoint(per_s, None, per_s, 1000 / per_s, 1000, 0, {"latency": {"p50": p95_s / 3, "p95": p95_s}})


def plan_target(measured: MeasuredTarget, peak_per_s: float = 60.0, confidence: float = 0.9) -> Plan:
    limits = PlanLimits(router="random", redundancy=0, confidence=confidence)
    return plan_fleets(planning_inputs(measured, peak_per_s=peak_per_s, slo=(SLO.text,), limits=limits))


def build_unsaturated_target(mean_sigma: float) -> MeasuredTarget:
    """Return a target with flat latencies up to 2 req/s, which the model extrapolates with a wide uncertainty."""
    points = tuple(build_load_point(per_s, 2.9) for per_s in (0.5, 1.0, 1.5, 2.0))
    errors = tuple(FitError(per_s, "p50", 0.97, 0.97, 0.0) for per_s in (0.5, 1.0, 1.5, 2.0))
    fit = msgspec.structs.replace(fit_of(fitted_service(SERVICE, mean_s=mean_sigma), highest_per_s=2.0), errors=errors)
    return target(fit=fit, load_points=points)


def test_unsaturated_target_is_sized_by_its_highest_measured_throughput() -> None:
    plan = plan_target(build_unsaturated_target(0.5))
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.instances in (30, 31, 32)
    assert plan.capacity_knowledge is not None
    assert (plan.capacity_knowledge.state, plan.capacity_knowledge.reason) == ("uncertain", "capacity not reached")
    assert plan.capacity_knowledge.per_instance_per_s.p90 <= 8 / 0.97 * 1.2  # slots over the latency at low load


def test_capacity_not_reached_is_uncertain_despite_a_certain_model() -> None:
    """Nearly all latency is outside the slots, so slots over latency are below the measured rates."""
    points = tuple(build_load_point(per_s, 2.9) for per_s in (0.5, 1.0, 1.5, 2.0))
    errors = tuple(FitError(per_s, "p50", 0.97, 0.97, 0.0) for per_s in (0.5, 1.0, 1.5, 2.0))
    service = RequestService(1, 0.45, 0.1, 0.5)
    fit = msgspec.structs.replace(fit_of(fitted_service(service, mean_s=0.01), highest_per_s=2.0), errors=errors)
    plan = plan_target(target(fit=fit, load_points=points))
    assert plan.capacity_knowledge is not None
    assert (plan.capacity_knowledge.state, plan.capacity_knowledge.reason) == ("uncertain", "capacity not reached")
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.slo_probabilities is not None  # for the upper bound of the instances needed


def test_capacity_is_known_if_one_instance_is_enough_in_any_case() -> None:
    plan = plan_target(build_unsaturated_target(0.5), peak_per_s=1.5)
    assert plan.capacity_knowledge is not None
    assert plan.capacity_knowledge.state == "known"


@pytest.mark.parametrize(
    ("sigma", "state"),
    [(0.05, "known"), (0.26, "known"), (0.28, "uncertain"), (0.5, "uncertain"), (0.85, "uncertain"), (1.0, "unknown")],
)
def test_capacity_knowledge_state_depends_on_the_p90_p10_ratio(sigma: float, state: str) -> None:
    capacity = Capacity(10.0, sigma, 1, "measured")
    knowledge = assess_knowledge(capacity, collect_slo_evidence(target(), [SLO], OBJECTIVES), OBJECTIVES, DEMAND)
    assert knowledge.state == state
    assert (knowledge.next_measurement is None) == (state == "known")


def test_next_measurement_is_at_the_middle_of_the_replica_range() -> None:
    capacity = Capacity(20.0, 0.6, 2, "extrapolated", speed=2.0)
    knowledge = assess_knowledge(capacity, collect_slo_evidence(target(), [SLO], OBJECTIVES), OBJECTIVES, DEMAND)
    assert knowledge.next_measurement is not None
    assert knowledge.next_measurement.rate_per_s == pytest.approx(5.0)
    assert knowledge.next_measurement.duration_s == 400
    assert knowledge.next_measurement.expected_ratio == pytest.approx(2.16, rel=0.01)
    interval_text = "9.27 to 43.1 req/s per instance (P10–P90), so 24 to 108 instances may be needed"
    assert knowledge.headline == f"The capacity is too uncertain: {interval_text}."
    assert knowledge.next_step.startswith("Next, measure one replica of run-1 at 5 req/s for 7 min")


def test_headline_states_a_number_of_instances_only_if_it_is_uncertain() -> None:
    capacity = Capacity(5000.0, 0.6, 2, "extrapolated", speed=2.0)
    evidence = msgspec.structs.replace(collect_slo_evidence(target(), [SLO], OBJECTIVES), limitation="drift")
    knowledge = assess_knowledge(capacity, evidence, OBJECTIVES, DEMAND)
    assert knowledge.state == "uncertain"
    assert "instances" not in knowledge.headline


def test_uncertain_capacity_is_the_first_reason() -> None:
    plan = plan_target(target(fit=fit_of(fitted_service(SERVICE, mean_s=0.32))))
    assert plan.capacity_knowledge is not None
    assert plan.capacity_knowledge.state == "uncertain"
    assert plan.recommendation is not None
    assert plan.recommendation.why[:2] == (plan.capacity_knowledge.headline, plan.capacity_knowledge.next_step)


def test_unknown_capacity_has_no_recommendation() -> None:
    plan = plan_target(target(fit=fit_of(fitted_service(SERVICE, mean_s=1.5))))
    assert plan.capacity_knowledge is not None
    assert plan.capacity_knowledge.state == "unknown"
    assert plan.recommendation is None
    assert plan.capacity_knowledge.next_measurement is not None
    assert plan.cheapest_rejected is not None


def test_plan_with_contradictory_load_points_has_no_slo_probability() -> None:
    points = (
        build_load_point(1.0, 2.0),
        build_load_point(2.0, 9.0),
        build_load_point(2.2, 8.0),
        build_load_point(3.0, 2.0),
        build_load_point(3.2, 2.5),
        build_load_point(4.0, 9.0),
    )
    plan = plan_target(target(fit=fit_of(fitted_service(SERVICE, mean_s=0.05)), load_points=points))
    assert plan.capacity_knowledge is not None
    assert (plan.capacity_knowledge.state, plan.capacity_knowledge.reason) == ("uncertain", "contradictory load points")
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.slo_probabilities is None
    assert not any("with a probability of" in reason for reason in plan.recommendation.why)
    assert plan.capacity_knowledge.next_measurement is not None
    assert 2.0 < plan.capacity_knowledge.next_measurement.rate_per_s < 3.2


def build_fit(*errors: tuple[float, str, float, float]) -> ServiceFit:
    fit_errors = tuple(FitError(rate, name, measured_s, fitted_s, 1.0) for rate, name, measured_s, fitted_s in errors)
    return msgspec.structs.replace(fit_of(fitted_service(SERVICE)), errors=fit_errors)


def test_fit_error_at_slo_is_the_relative_error_at_the_percentile_of_the_slo() -> None:
    fit = build_fit((1.0, "p50", 1.0, 1.0), (2.0, "p50", 1.0, 1.0), (1.0, "p95", 1.0, 2.0), (2.0, "p95", 2.0, 1.0))
    assert compute_fit_error_at_slo(fit, OBJECTIVES) == pytest.approx(1.0)
    assert compute_fit_error_at_slo(build_fit((1.0, "p50", 1.0, 1.0)), OBJECTIVES) is None
    first_token = build_slo_objectives([parse_objective("ttft_ms.p95 < 200")])
    assert compute_fit_error_at_slo(build_fit((4.0, "ttft p95", 0.293, 0.034)), first_token) == pytest.approx(
        7.62, rel=0.01
    )


def test_poor_fit_is_contradictory_unless_rates_bracket_the_capacity() -> None:
    fit = build_fit((1.0, "p95", 1.0, 2.26), (2.0, "p95", 2.26, 1.0))
    assert collect_slo_evidence(target(fit=fit), [SLO], OBJECTIVES).limitation == "contradictory load points"
    bracketed = target(fit=fit, load_points=(build_load_point(2.0, 3.0), build_load_point(2.4, 9.0)))
    assert collect_slo_evidence(bracketed, [SLO], OBJECTIVES).limitation == "model does not fit"


def test_recommended_fleet_has_the_fit_error_at_slo() -> None:
    fit = build_fit((1.0, "p95", 1.0, 1.2))
    plan = plan_target(target(fit=fit))
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.fit_error_at_slo == pytest.approx(0.2)


def test_plan_with_a_poor_fit_has_no_slo_probability() -> None:
    points = (
        build_load_point(1.0, 2.0),
        build_load_point(2.0, 3.0),
        build_load_point(3.0, 3.5),
        build_load_point(4.0, 9.0),
    )
    poor_fit = build_fit(
        (1.0, "p95", 2.0, 1.2), (2.0, "p95", 3.0, 5.0), (3.0, "p95", 3.5, 2.1), (4.0, "p95", 9.0, 15.0)
    )
    errors = tuple(msgspec.structs.replace(error, sigma=0.05) for error in poor_fit.errors)
    plan = plan_target(target(fit=msgspec.structs.replace(poor_fit, errors=errors), load_points=points))
    assert plan.capacity_knowledge is not None
    assert (plan.capacity_knowledge.state, plan.capacity_knowledge.reason) == ("uncertain", "model does not fit")
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.slo_probabilities is None


def test_plan_with_drift_has_no_slo_probability() -> None:
    rates = (1.0, 4.0, 2.0, 3.5, 3.0, 1.0)
    points = tuple(
        msgspec.structs.replace(build_load_point(rate, 2.0 * 1.08**index), start_s=30.0 * index)
        for index, rate in enumerate(rates)
    )
    errors = tuple(FitError(rate, "p95", 2.4, 2.4, 0.0, 2.4, 0.05) for rate in (1.0, 2.0, 3.0, 4.0))
    fit = msgspec.structs.replace(fit_of(fitted_service(SERVICE, mean_s=0.05)), errors=errors)
    plan = plan_target(target(fit=fit, load_points=points))
    assert plan.capacity_knowledge is not None
    assert (plan.capacity_knowledge.state, plan.capacity_knowledge.reason) == ("uncertain", "drift")
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.slo_probabilities is None
