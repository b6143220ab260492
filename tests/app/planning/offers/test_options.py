from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.planning.offers.candidates import Candidate, RejectedOffer
from app.planning.offers.options import Option, get_candidate, list_options
from app.planning.service_models.measured import lower_trust
from app.planning.sizing.instances import build_demand
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.offers import PlanLimits
from app.records.planning_inputs import PlanningInputs
from app.records.result import Hardware, Validity
from app.records.service import BatchService, RequestService, ServiceFit
from tests.fakes.offers import accelerator, catalog_of, curve, gpu_offer, offer, planning_inputs, target
from tests.fakes.services import fit_of, fitted_service
from tests.fakes.small_plan import sized_by_formula

pytestmark = pytest.mark.usefixtures("short_simulations")

FIT = fit_of(fitted_service(RequestService(1, 0.01, 0.5)))


def get_only_option(inputs: PlanningInputs) -> Option:
    (option,), _ = sized_by_formula(inputs)
    return option


def get_rejection(option: Option) -> str | None:
    evaluation = option.evaluation
    return evaluation.reason if isinstance(evaluation, RejectedOffer) else evaluation.rejected


def test_option_uses_the_measurement_with_the_least_risk_then_the_highest_rate() -> None:
    elsewhere = target(curve(500.0), Hardware("x", vcpus=16, architecture="x86_64"), name="elsewhere")
    measured_here, slower = target(curve(100.0), name="here"), target(curve(80.0), name="slower")
    assert get_only_option(planning_inputs(elsewhere, measured_here)).target.name == "here"  # lower risk
    assert get_only_option(planning_inputs(slower, measured_here)).target.name == "here"  # higher rate at equal risk
    uncertain = target(curve(900.0, max_rate_ci95=(600.0, 1300.0)), name="wide")
    assert get_only_option(planning_inputs(uncertain, measured_here)).target.name == "here"


def test_offer_that_misses_the_slo_by_formula_is_simulated_before_rejection() -> None:
    service = BatchService(0.05, 0.002, 8, cv=0.05)
    measured = target(curve(0.0), fit=fit_of(fitted_service(service, fixed_s=0.01)))
    inputs = planning_inputs(measured, peak_per_s=200.0, slo=("latency_ms.p99 < 60",))
    inputs = replace(inputs, limits=PlanLimits(router="least-outstanding"))
    objectives, demand = build_slo_objectives(inputs.slo), build_demand(inputs.traffic, inputs.limits)
    assert (
        get_rejection(list_options(inputs, demand, objectives, estimate_only=True)[0])
        == "the SLO is violated at every load"
    )
    (option,) = list_options(inputs, demand, objectives, estimate_only=False)
    assert option.is_feasible
    assert 10 < get_candidate(option).needed_instances < 40
    below_service_time = build_slo_objectives([parse_objective("latency_ms.p99 < 40")])
    (infeasible,) = list_options(replace(inputs, slo=()), demand, below_service_time, estimate_only=False)
    assert get_rejection(infeasible) == "the SLO is violated at every load"


@pytest.mark.parametrize("fit", [None, FIT])
def test_capacity_interval_widens_with_lower_validity(fit: ServiceFit | None) -> None:
    widths = []
    for validity in get_args(Validity):
        capacity = get_candidate(get_only_option(planning_inputs(lower_trust(target(fit=fit), validity)))).capacity
        assert capacity.basis == ("assumed" if validity == "INVALID" else "measured")
        low, high = capacity.estimate.ci95 or (0.0, 0.0)
        widths.append(high / low)
    valid, warned, invalid = widths
    assert 1 < valid < warned < invalid


def test_assumed_target_has_a_risk() -> None:
    candidate = get_candidate(get_only_option(planning_inputs(target(is_assumed=True))))
    assert (candidate.capacity.basis, candidate.capacity.risks[0].level) == ("assumed", 3)
    assert candidate.capacity.risks[0].reason == "run-1 is assumed, not measured"


def build_gpu_option(limits: PlanLimits, tdp_w: float | None = 72.0) -> Option:
    """Return the option of 25 instances with two L4 each."""
    measured = target(curve(100.0), Hardware("g", offer="acme/g", accelerator="l4", accelerator_count=2))
    offers = replace(
        catalog_of(gpu_offer("g", "l4", 2.0)), accelerators={"l4": replace(accelerator("l4", "L4"), tdp_w=tdp_w)}
    )
    return get_only_option(
        planning_inputs(measured, catalog=offers, limits=replace(limits, confidence=0.5, redundancy=5))
    )


def test_vendor_and_total_power_limits_reject_gpu_offers() -> None:
    assert build_gpu_option(PlanLimits(vendors=("NVIDIA",), max_power_w=25 * 2 * 72.0)).is_feasible
    assert get_rejection(build_gpu_option(PlanLimits(vendors=("AMD",)))) == "vendor NVIDIA is excluded by plan.vendors"
    reason = get_rejection(build_gpu_option(PlanLimits(max_power_w=3500.0)))
    assert reason == "25 instances draw 3,600 W, above plan.max_power of 3,500 W"
    assert get_rejection(build_gpu_option(PlanLimits(max_power_w=9e9), tdp_w=None)) == "the power of L4 is unknown"


def list_sizing_methods(count: int, slo_ms: int = 500, usd_step: float = 1.0) -> list[str]:
    """Return the sizing method of each offer, by rising price; each offer has its own measurement."""
    targets = [target(hardware=Hardware("x", offer=f"acme/a{n}"), fit=FIT, name=f"{n}") for n in range(count)]
    offers = [offer(f"a{n}", on_demand_usd_per_hour=1.0 + usd_step * n) for n in range(count)]
    inputs = planning_inputs(
        *targets, catalog=catalog_of(*offers), peak_per_s=300.0, slo=(f"latency_ms.p95 < {slo_ms}",)
    )
    demand = build_demand(inputs.traffic, inputs.limits, inputs.today)
    options = list_options(inputs, demand, build_slo_objectives(inputs.slo), estimate_only=False)
    assert [option.evaluation.offer.instance_type for option in options] == [listed.instance_type for listed in offers]
    return [option.evaluation.capacity.sizing_method for option in options if isinstance(option.evaluation, Candidate)]


def test_five_cheapest_options_are_simulated_and_others_sized_by_formula() -> None:
    assert list_sizing_methods(7) == ["simulated"] * 5 + ["formula"] * 2


def test_all_options_that_could_be_the_cheapest_are_simulated() -> None:
    assert list_sizing_methods(8, usd_step=0.08) == ["simulated"] * 7 + [
        "formula"
    ]  # 1.48 and 1.56 times the lowest cost


def test_pareto_front_of_a_simulated_plan_has_no_estimates() -> None:
    fast = fit_of(fitted_service(RequestService(1, 0.001, 0.5)))
    targets = [
        target(hardware=Hardware("x", offer=f"acme/a{n}"), fit=fast if n == 6 else FIT, name=f"{n}") for n in range(7)
    ]
    offers = [offer(f"a{n}", on_demand_usd_per_hour=100.0 if n == 6 else 1.0 + n) for n in range(7)]
    inputs = planning_inputs(*targets, catalog=catalog_of(*offers), peak_per_s=300.0, slo=("latency_ms.p95 < 500",))
    plan = plan_fleets(inputs)
    methods = {fleet.instance_type: fleet.sizing_method for fleet in plan.offers}
    assert methods["a6"] == "formula"
    assert {fleet.sizing_method for fleet in plan.pareto} == {"simulated"}
    estimate = plan_fleets(inputs, estimate_only=True)
    assert "a6" in {fleet.instance_type for fleet in estimate.pareto}


def test_offers_with_the_same_measurement_are_all_simulated() -> None:
    measured = target(hardware=Hardware("x", vcpus=1, architecture="x86_64"), fit=FIT)
    offers = [offer(f"a{n}", vcpus=float(n + 1), on_demand_usd_per_hour=1.0 + n) for n in range(7)]
    inputs = planning_inputs(measured, catalog=catalog_of(*offers), peak_per_s=300.0, slo=("latency_ms.p95 < 500",))
    demand = build_demand(inputs.traffic, inputs.limits, inputs.today)
    options = list_options(inputs, demand, build_slo_objectives(inputs.slo), estimate_only=False)
    assert {get_candidate(option).capacity.sizing_method for option in options} == {"simulated"}
    assert all(option.latency_curve.rates_per_s for option in options)


def test_offer_without_a_measurement_on_its_hardware_is_rejected() -> None:
    inputs = replace(
        planning_inputs(), measured=(target(hardware=Hardware("g", accelerator="l4", accelerator_count=1)),)
    )
    option = get_only_option(inputs)
    assert not option.is_feasible
    assert option.capacity is None
    assert "measured on NVIDIA L4" in (get_rejection(option) or "")


def test_declared_hardware_has_a_risk() -> None:
    capacity = get_candidate(get_only_option(planning_inputs(target(is_hardware_declared=True)))).capacity
    assert (capacity.basis, capacity.risks[0].level) == ("assumed", 2)
    assert capacity.risks[0].reason == "the hardware of run-1 (acme/c16) was declared, not measured"


def test_rejection_reason_comes_from_the_measurement_on_the_same_accelerator() -> None:
    on_l4 = Hardware("l4", accelerator="l4", accelerator_count=1.0)
    on_l40s = Hardware("two l40s", accelerator="l40s", accelerator_count=2.0)
    measured = target(curve(), on_l4, name="l4"), target(curve(), on_l40s, name="l40s")
    evaluation = get_only_option(planning_inputs(*measured, catalog=catalog_of(gpu_offer("g", "l40s")))).evaluation
    assert isinstance(evaluation, RejectedOffer)
    assert evaluation.reason_id == "shared_accelerator"


@pytest.mark.parametrize(("metric", "has_latency"), [("latency_ms.p95", True), ("ttft_ms.p95", False)])
def test_latency_at_peak_is_unknown_if_the_curve_has_another_metric(metric: str, has_latency: bool) -> None:
    measured = target(curve(latency_metric=metric), fit=FIT)
    plan = plan_fleets(planning_inputs(measured, peak_per_s=50.0), estimate_only=True)
    assert plan.latency_metric == "latency_ms.p95"
    assert plan.recommendation is not None
    assert (plan.recommendation.fleet.latency_at_peak.value is not None) is has_latency
