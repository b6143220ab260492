from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from app.planning.fleets import plan_fleets
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.planning.what_if.sensitivity import compute_sensitivity
from app.records.offers import PlanLimits
from app.records.plan import SensitivityRange
from app.records.planning_inputs import PlanningInputs
from app.records.service import RequestService
from tests.fakes.offers import catalog_of, curve, offer, planning_inputs, target
from tests.fakes.small_plan import planning_inputs as modelled
from tests.fakes.small_plan import sized_by_formula

# 100 req/s per vCPU; a spare c4 costs four times as much as a spare c1
OFFERS = (
    offer("c1", vcpus=1.0, on_demand_usd_per_hour=1.0),
    offer("c4", vcpus=4.0, on_demand_usd_per_hour=4.1),
)


def build_inputs(**changes: Any) -> PlanningInputs:
    fields: dict[str, Any] = {"peak_per_s": 1500.0, "limits": PlanLimits(confidence=0.9, redundancy=1)}
    return planning_inputs(target(curve(100.0)), catalog=catalog_of(*OFFERS), **(fields | changes))


def compute_ranges(inputs: PlanningInputs) -> dict[str, SensitivityRange]:
    options, demand = sized_by_formula(inputs)
    ranges = compute_sensitivity(options, demand, inputs, build_slo_objectives(inputs.slo))
    widths = [
        abs((input_range.usd_per_month_high or 0) - (input_range.usd_per_month_low or 0)) for input_range in ranges
    ]
    assert widths == sorted(widths, reverse=True)
    return {input_range.input: input_range for input_range in ranges}


def estimate_plan(inputs: PlanningInputs) -> tuple[float | None, str | None]:
    recommendation = plan_fleets(inputs, estimate_only=True).recommendation
    assert recommendation is not None
    return recommendation.fleet.usd_per_month.value, recommendation.fleet.offer


def build_repriced_inputs(price_factor: float) -> PlanningInputs:
    repriced = replace(OFFERS[0], on_demand_usd_per_hour=price_factor)
    return replace(build_inputs(), catalog=catalog_of(repriced, OFFERS[1]))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("peak", build_inputs(peak_per_s=1200.0), build_inputs(peak_per_s=1800.0)),
        ("price of the recommended offer", build_repriced_inputs(0.8), build_repriced_inputs(1.2)),
        (
            "confidence",
            build_inputs(limits=PlanLimits(confidence=0.8)),
            build_inputs(limits=PlanLimits(confidence=0.99)),
        ),
        (
            "spare instances",
            build_inputs(limits=PlanLimits(redundancy=0)),
            build_inputs(limits=PlanLimits(redundancy=2)),
        ),
    ],
)
def test_ends_of_each_sensitivity_range_equal_new_plans(name: str, low: PlanningInputs, high: PlanningInputs) -> None:
    sensitivity = compute_ranges(build_inputs())[name]
    assert (sensitivity.usd_per_month_low, sensitivity.winner_low) == pytest.approx(estimate_plan(low))
    assert (sensitivity.usd_per_month_high, sensitivity.winner_high) == pytest.approx(estimate_plan(high))


def test_sensitivity_names_the_winner_at_each_end() -> None:
    sensitivity = compute_ranges(build_inputs())["price of the recommended offer"]
    assert (sensitivity.low, sensitivity.high) == ("−20 %", "+20 %")
    assert estimate_plan(build_inputs())[1] == sensitivity.winner_low == "acme/c1@here"
    assert sensitivity.winner_high == "acme/c4@here"


def test_peak_and_max_rate_vary_by_their_uncertainty() -> None:
    uncertain_peak = compute_ranges(build_inputs(uncertainty=0.3))["peak"]
    # the 80 % interval of a lognormal around 1,500 req/s with a deviation of 30 %
    assert (uncertain_peak.low, uncertain_peak.high) == ("1,030 req/s", "2,185 req/s")
    default_peak = compute_ranges(build_inputs())["peak"]
    assert (default_peak.low, default_peak.high) == ("1,200 req/s", "1,800 req/s")
    rate = compute_ranges(build_inputs())["max rate of a replica"]
    assert (rate.usd_per_month_low or 0) < (estimate_plan(build_inputs())[0] or 0) < (rate.usd_per_month_high or 0)


def test_slo_limits_and_router_have_a_range_only_with_a_service_model() -> None:
    assert not {"SLO limits", "router"} & set(compute_ranges(build_inputs()))
    inputs = modelled(RequestService(1, 0.1, 1.0), slo="latency_ms.p95 < 600", limits=PlanLimits(router="round-robin"))
    ranges = compute_ranges(inputs)
    slo, router = ranges["SLO limits"], ranges["router"]
    assert (slo.usd_per_month_low or 0) < (slo.usd_per_month_high or 0)
    assert (router.usd_per_month_low or 0) < (router.usd_per_month_high or 0)
    assert (router.low, router.high) == ("least-outstanding", "random")
