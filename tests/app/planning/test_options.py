from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.planning.candidates import Candidate, RejectedOffer
from app.planning.fleets import plan_fleets
from app.planning.options import Option, get_candidate, list_options
from app.planning.service_models.measured import lower_trust
from app.planning.sizing import build_demand
from app.planning.slo_objectives import build_slo_objectives
from app.records.offers import PlanLimits
from app.records.planning_inputs import PlanningInputs
from app.records.result import Hardware, Validity
from app.records.service import BatchService, RequestService, ServiceFit
from tests.fakes.offers import accelerator, catalogue, curve, gpu_offer, offer, question, target
from tests.fakes.planned import sized
from tests.fakes.services import fit_of, fitted

pytestmark = pytest.mark.usefixtures("short_simulations")

LAW = fit_of(fitted(RequestService(1, 0.01, 0.5)))


def only(asked: PlanningInputs) -> Option:
    (option,), _ = sized(asked)
    return option


def refused(option: Option) -> str | None:
    looked_at = option.evaluation
    return looked_at.reason if isinstance(looked_at, RejectedOffer) else looked_at.rejected


def test_an_offer_rests_on_the_measurement_that_says_most_of_it() -> None:
    elsewhere = target(curve(500.0), Hardware("x", vcpus=16, architecture="x86_64"), name="elsewhere")
    here, slower = target(curve(100.0), name="here"), target(curve(80.0), name="slower")
    assert only(question(elsewhere, here)).target.name == "here"  # less risk
    assert only(question(slower, here)).target.name == "here"  # the faster of two as sure
    wide = target(curve(900.0, max_rate_ci95=(600.0, 1300.0)), name="wide")
    assert only(question(wide, here)).target.name == "here"


def test_what_misses_the_slo_by_formula_is_simulated_before_it_is_refused() -> None:
    law = BatchService(0.05, 0.002, 8, cv=0.05)
    measured = target(curve(0.0), fit=fit_of(fitted(law, fixed_s=0.01)))
    asked = question(measured, peak_per_s=200.0, slo=("latency_ms.p99 < 60",))
    asked = replace(asked, limits=PlanLimits(router="least-outstanding"))
    objectives, demand = build_slo_objectives(asked.slo), build_demand(asked.traffic, asked.limits)
    assert (
        refused(list_options(asked, demand, objectives, estimate_only=True)[0]) == "the SLO is violated at every load"
    )
    (option,) = list_options(asked, demand, objectives, estimate_only=False)
    assert option.is_feasible
    assert 10 < get_candidate(option).needed_instances < 40
    below_service_time = build_slo_objectives([parse_objective("latency_ms.p99 < 40")])
    (hopeless,) = list_options(replace(asked, slo=()), demand, below_service_time, estimate_only=False)
    assert refused(hopeless) == "the SLO is violated at every load"


@pytest.mark.parametrize("fit", [None, LAW])
def test_a_measurement_that_was_disturbed_has_a_wider_interval(fit: ServiceFit | None) -> None:
    widths = []
    for validity in get_args(Validity):
        found = get_candidate(only(question(lower_trust(target(fit=fit), validity)))).capacity
        assert found.basis == ("assumed" if validity == "INVALID" else "measured")
        low, high = found.estimate.ci95 or (0.0, 0.0)
        widths.append(high / low)
    valid, warned, invalid = widths
    assert 1 < valid < warned < invalid


def test_what_a_person_said_is_a_risk_of_its_own() -> None:
    found = get_candidate(only(question(target(is_assumed=True))))
    assert (found.capacity.basis, found.capacity.risks[0].level) == ("assumed", 3)
    assert found.capacity.risks[0].reason == "run-1 is assumed, not measured"


def gpu(limits: PlanLimits, tdp_w: float | None = 72.0) -> Option:
    """25 instances of two L4 each."""
    measured = target(curve(100.0), Hardware("g", offer="acme/g", accelerator="l4", accelerator_count=2))
    of = replace(
        catalogue(gpu_offer("g", "l4", 2.0)), accelerators={"l4": replace(accelerator("l4", "L4"), tdp_w=tdp_w)}
    )
    return only(question(measured, of=of, limits=replace(limits, confidence=0.5, redundancy=5)))


def test_the_vendor_and_the_power_of_all_cards_may_be_limited() -> None:
    assert gpu(PlanLimits(vendors=("NVIDIA",), max_power_w=25 * 2 * 72.0)).is_feasible
    assert refused(gpu(PlanLimits(vendors=("AMD",)))) == "vendor NVIDIA is excluded by plan.vendors"
    over = refused(gpu(PlanLimits(max_power_w=3500.0)))
    assert over == "25 instances draw 3,600 W, above plan.max_power of 3,500 W"
    assert refused(gpu(PlanLimits(max_power_w=9e9), tdp_w=None)) == "the power of L4 is unknown"


def simulated(count: int, slo_ms: int = 500, usd_step: float = 1.0) -> list[str]:
    """Each offer has a measurement of its own; the dearer the later."""
    targets = [target(hardware=Hardware("x", offer=f"acme/a{n}"), fit=LAW, name=f"{n}") for n in range(count)]
    offers = [offer(f"a{n}", on_demand_usd_per_hour=1.0 + usd_step * n) for n in range(count)]
    asked = question(*targets, of=catalogue(*offers), peak_per_s=300.0, slo=(f"latency_ms.p95 < {slo_ms}",))
    demand = build_demand(asked.traffic, asked.limits, asked.today)
    found = list_options(asked, demand, build_slo_objectives(asked.slo), estimate_only=False)
    assert [option.evaluation.offer.instance_type for option in found] == [one.instance_type for one in offers]
    return [option.evaluation.capacity.sizing_method for option in found if isinstance(option.evaluation, Candidate)]


def test_the_five_cheapest_kinds_are_simulated_and_the_rest_left_to_formulae() -> None:
    assert simulated(7) == ["simulated"] * 5 + ["formula"] * 2


def test_all_kinds_that_could_become_the_cheapest_are_simulated() -> None:
    assert simulated(8, usd_step=0.08) == ["simulated"] * 7 + ["formula"]  # 1.48 and 1.56 times the lowest cost


def test_the_front_of_a_simulated_plan_has_no_estimates() -> None:
    fast = fit_of(fitted(RequestService(1, 0.001, 0.5)))
    targets = [
        target(hardware=Hardware("x", offer=f"acme/a{n}"), fit=fast if n == 6 else LAW, name=f"{n}") for n in range(7)
    ]
    offers = [offer(f"a{n}", on_demand_usd_per_hour=100.0 if n == 6 else 1.0 + n) for n in range(7)]
    asked = question(*targets, of=catalogue(*offers), peak_per_s=300.0, slo=("latency_ms.p95 < 500",))
    plan = plan_fleets(asked)
    methods = {fleet.instance_type: fleet.sizing_method for fleet in plan.offers}
    assert methods["a6"] == "formula"
    assert {fleet.sizing_method for fleet in plan.pareto} == {"simulated"}
    preview = plan_fleets(asked, estimate_only=True)
    assert "a6" in {fleet.instance_type for fleet in preview.pareto}


def test_offers_of_one_kind_are_simulated_together() -> None:
    measured = target(hardware=Hardware("x", vcpus=1, architecture="x86_64"), fit=LAW)
    offers = [offer(f"a{n}", vcpus=float(n + 1), on_demand_usd_per_hour=1.0 + n) for n in range(7)]
    asked = question(measured, of=catalogue(*offers), peak_per_s=300.0, slo=("latency_ms.p95 < 500",))
    demand = build_demand(asked.traffic, asked.limits, asked.today)
    found = list_options(asked, demand, build_slo_objectives(asked.slo), estimate_only=False)
    assert {get_candidate(option).capacity.sizing_method for option in found} == {"simulated"}
    assert all(option.latency_curve.rates_per_s for option in found)


def test_without_a_measurement_nothing_is_said_of_an_offer() -> None:
    asked = replace(question(), measured=(target(hardware=Hardware("g", accelerator="l4", accelerator_count=1)),))
    option = only(asked)
    assert not option.is_feasible
    assert option.capacity is None
    assert "measured on NVIDIA L4" in (refused(option) or "")


def test_hardware_that_a_person_said_is_a_risk_too() -> None:
    found = get_candidate(only(question(target(is_hardware_declared=True)))).capacity
    assert (found.basis, found.risks[0].level) == ("assumed", 2)
    assert found.risks[0].reason == "the hardware of run-1 (acme/c16) was declared, not measured"


def test_the_reason_of_an_offer_is_that_of_the_measurement_on_its_accelerator() -> None:
    on_l4 = Hardware("l4", accelerator="l4", accelerator_count=1.0)
    on_l40s = Hardware("two l40s", accelerator="l40s", accelerator_count=2.0)
    measured = target(curve(), on_l4, name="l4"), target(curve(), on_l40s, name="l40s")
    evaluation = only(question(*measured, of=catalogue(gpu_offer("g", "l40s")))).evaluation
    assert isinstance(evaluation, RejectedOffer)
    assert evaluation.reason_id == "shared_accelerator"


@pytest.mark.parametrize(("metric", "has_latency"), [("latency_ms.p95", True), ("ttft_ms.p95", False)])
def test_a_latency_of_another_metric_than_the_plan_states_is_unknown(metric: str, has_latency: bool) -> None:
    seen = target(curve(latency_metric=metric), fit=LAW)
    plan = plan_fleets(question(seen, peak_per_s=50.0), estimate_only=True)
    assert plan.latency_metric == "latency_ms.p95"
    assert plan.recommendation is not None
    assert (plan.recommendation.fleet.latency_at_peak.value is not None) is has_latency
