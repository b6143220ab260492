from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from app.planning.fleets import plan_fleets
from app.planning.hardware.capacity import Capacity
from app.planning.offers.candidates import Candidate, evaluate_offer
from app.planning.sizing.instances import build_demand
from app.planning.what_if.changes import (
    COLD_START_MINUTES,
    FleetSize,
    WhatIfChange,
    _compute_max_ahead,
    build_cache_change,
    build_variant_change,
    compute_savings,
    compute_warm_pool_saving,
)
from app.profiles.pricing.catalog import load_catalog
from app.records.plan import Plan, Saving
from app.records.planning_inputs import Alternatives, AssumedModel, MeasuredTarget, PlanningInputs, Precision
from app.records.service import BatchService
from app.records.traffic import TokenLengths
from tests.fakes.language_models import LLAMA_8B
from tests.fakes.offers import catalog_of, gpu_offer, offer, planning_inputs, target
from tests.fakes.services import fit_of, fitted_service

pytestmark = pytest.mark.usefixtures("short_simulations")


def size_fleet(change: WhatIfChange) -> FleetSize:
    """Return the replicas for 1,000 req/s at 100 req/s each plus 4 spares, at $100/month each."""
    needed = math.ceil(1000 * change.traffic_factor / (100 * change.capacity_factor) - 1e-9)
    replicas = needed + 4
    return FleetSize(replicas, 100.0 * replicas)


def test_savings_are_sized_independently_and_sorted_by_amount() -> None:
    savings = compute_savings(
        [
            build_cache_change(0.3, usd_per_month=50),
            build_variant_change("int8", 200, 100),
            build_cache_change(0),
        ],
        size_fleet,
    )
    assert [(saving.change.name, saving.changed_size.replicas, saving.usd_per_month) for saving in savings] == [
        ("int8", 9, 500),
        ("caching", 11, 250),
        ("caching", 14, 0),
    ]
    assert savings[0].share == pytest.approx(5 / 14)
    assert [saving.change.basis for saving in savings] == ["measured", "assumed", "assumed"]


def test_saving_is_negative_if_the_change_raises_the_cost() -> None:
    (expensive,) = compute_savings([build_cache_change(0.1, usd_per_month=900)], size_fleet)
    assert expensive.usd_per_month == -800


def test_saving_without_a_feasible_size_is_unknown_and_sorted_last() -> None:
    (unknown,) = compute_savings([build_cache_change(0.5)], lambda change: FleetSize(None, None))
    assert (unknown.usd_per_month, unknown.share) == (None, None)
    savings = compute_savings([build_cache_change(0.5), build_variant_change("x", 2, 1)],
              lambda change: size_fleet(change) if change.capacity_factor == 1 else FleetSize(None, None))  # fmt: skip
    assert [saving.change.name for saving in savings] == ["caching", "x"]


def test_reason_of_a_change_has_its_factor_and_basis() -> None:
    assert build_variant_change("int8", 150, 100).reason == "1.50 × the current max rate within SLO, measured"
    assert build_cache_change(0.25).reason == "25 % of the requests are served from a cache, assumed"


HOURS = (0.1,) * 12 + (1.0,) * 12


def compute_pool_saving(inputs: PlanningInputs, per_s: float = 100.0) -> Saving:
    demand = build_demand(inputs.traffic, inputs.limits, inputs.today)
    candidate = evaluate_offer(offer(), Capacity(per_s, 0.0, 1, "measured"), demand, inputs.limits, inputs.today)
    assert isinstance(candidate, Candidate)
    (saving_of_pool,) = compute_warm_pool_saving(candidate, demand, inputs)
    return saving_of_pool


def test_warm_pool_lookahead_is_the_max_over_the_cold_start() -> None:
    needed = np.array([1.0, 1, 1, 1, 3, 1, 1])
    assert _compute_max_ahead(needed, 1).tolist() == [1, 1, 1, 3, 3, 1, 1]
    assert _compute_max_ahead(needed, 3).tolist() == [1, 3, 3, 3, 3, 1, 1]


def test_warm_pool_for_flat_traffic_costs_one_more_instance() -> None:
    pool_saving = compute_pool_saving(planning_inputs(peak_per_s=950.0))
    assert pool_saving.saved_usd_per_month == pytest.approx(-730.0), "an instance of 1 USD an hour"
    assert pool_saving.usd_per_month == pytest.approx(730.0 * 11)
    assert pool_saving.basis == "assumed"


def test_warm_pool_covers_the_steepest_rise_during_a_cold_start() -> None:
    pool_saving = compute_pool_saving(planning_inputs(peak_per_s=100_000.0, hourly_share=HOURS))
    rise = 0.9 * 1000 / 60 * COLD_START_MINUTES  # the profile rises by 900 instances within an hour
    size = int(pool_saving.change.split(" of ")[1].split()[0])
    assert rise - 2 <= size <= rise + 2
    assert (pool_saving.saved_usd_per_month or 0.0) < 0


def test_owned_hardware_has_no_warm_pool_saving() -> None:
    inputs = planning_inputs()
    demand = build_demand(inputs.traffic, inputs.limits, inputs.today)
    candidate = evaluate_offer(offer(), Capacity(100.0, 0.0, 1, "measured"), demand, inputs.limits, inputs.today)
    assert isinstance(candidate, Candidate)
    assert len(list(compute_warm_pool_saving(candidate, demand, inputs))) == 1
    assert list(compute_warm_pool_saving(msgspec.structs.replace(candidate, price_kind="owned"), demand, inputs)) == []


SLOW = BatchService(0.020, 0.004, 8, 0.030)
FAST = msgspec.structs.replace(SLOW, fixed_s=0.005, per_item_s=0.001)
CACHE = "a cache that serves 30 % of the requests"
NO_WINDOW = "a batching window of 0 ms"


def build_variant(name: str, service: BatchService) -> MeasuredTarget:
    return target(name=name, fit=fit_of(fitted_service(service), highest_per_s=service.max_throughput_per_s))


def plan_targets(*targets: MeasuredTarget, estimate_only: bool = False, limit_ms: int = 150) -> Plan:
    return plan_fleets(planning_inputs(*targets, slo=(f"latency_ms.p95 < {limit_ms}",)), estimate_only=estimate_only)


def get_usd_per_month(fleet_plan: Plan) -> float:
    assert fleet_plan.recommendation is not None
    assert fleet_plan.recommendation.fleet.usd_per_month.value is not None
    return fleet_plan.recommendation.fleet.usd_per_month.value


def test_variant_saving_is_planned_from_its_run_and_omitted_from_estimates() -> None:
    plan_of_both = plan_targets(build_variant("fp32", SLOW), build_variant("int8", FAST))
    fp32_only = next(saving for saving in plan_of_both.savings if saving.change == "fp32 only")
    assert fp32_only.basis == "measured"
    assert fp32_only.usd_per_month == pytest.approx(
        get_usd_per_month(plan_targets(build_variant("fp32", SLOW), estimate_only=True))
    )
    assert fp32_only.usd_per_month is not None
    assert fp32_only.saved_usd_per_month == pytest.approx(get_usd_per_month(plan_of_both) - fp32_only.usd_per_month)
    assert fp32_only.saved_usd_per_month is not None
    assert fp32_only.saved_usd_per_month < 0
    estimate = plan_targets(build_variant("fp32", SLOW), build_variant("int8", FAST), estimate_only=True)
    assert {saving.basis for saving in estimate.savings} == {"assumed"}


def test_removing_an_expensive_batching_window_is_a_saving() -> None:
    savings = {saving.change: saving for saving in plan_targets(build_variant("fp32", SLOW), limit_ms=85).savings}
    assert (savings[NO_WINDOW].saved_usd_per_month or 0.0) > 0
    assert savings[NO_WINDOW].basis == savings[CACHE].basis == "assumed"
    plan_without_window = plan_targets(build_variant("fp32", msgspec.structs.replace(SLOW, window_s=0.0)), limit_ms=85)
    assert NO_WINDOW not in {saving.change for saving in plan_without_window.savings}


def plan_language_model(
    precision: Precision, alternatives: Alternatives, *, prefix_cached_share: float = 0.0, estimate_only: bool = False
) -> Plan:
    inputs = planning_inputs(
        peak_per_s=600.0,
        slo=("tpot_ms.p95 < 60",),
        tokens=(TokenLengths(1.0, 1000.0, 200.0),),
        prefix_cached_share=prefix_cached_share,
    )
    catalog = catalog_of(gpu_offer("one", "h100-sxm5-80gb", 1.0))
    model = AssumedModel("llama", LLAMA_8B, precision, alternatives=alternatives)
    inputs = msgspec.structs.replace(
        inputs,
        measured=(),
        assumed_model=model,
        catalog=msgspec.structs.replace(catalog, accelerators=load_catalog().accelerators),
    )
    return plan_fleets(inputs, estimate_only=estimate_only)


def test_savings_of_a_language_model_by_name_are_those_of_its_other_weights_and_engines() -> None:
    plan = plan_language_model(Precision(), Alternatives())
    assert plan.recommendation is not None
    current_usd = plan.recommendation.fleet.usd_per_month
    assert current_usd is not None
    assert current_usd.value is not None
    first, *others = (saving for saving in plan.savings if saving.change.startswith(("weights", "SGLang", "TensorRT")))
    assert {first.change, *(saving.change for saving in others)} == {
        "weights in fp8, if the model is as accurate",
        "weights in fp4, if the model is as accurate",
        "SGLang as the engine",
        "TensorRT-LLM as the engine",
    }
    saved = {saving.change: saving.saved_usd_per_month or 0.0 for saving in (first, *others)}
    assert list(saved.values()) == sorted(saved.values(), reverse=True)
    assert saved["weights in fp8, if the model is as accurate"] > 0
    for saving in (first, *others):
        assert saving.basis == "assumed"
        assert saving.usd_per_month == pytest.approx(current_usd.value - saved[saving.change])
    assert not any("1.5×" in saving.change for saving in plan.savings)


def test_heavier_alternative_weights_cost_more_without_a_condition() -> None:
    plan = plan_language_model(Precision(), Alternatives(weights=("fp8",)))
    saved = {saving.change: saving.saved_usd_per_month for saving in plan.savings}
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.served_replica is not None
    assert plan.recommendation.fleet.served_replica.weights == "fp8"
    assert "weights in fp8, if the model is as accurate" not in saved
    assert (saved["weights in bf16"] or 0.0) < 0


def test_hits_in_the_prefix_cache_save_as_much_as_their_loss_costs_where_they_are_assumed() -> None:
    without, cached = (
        plan_language_model(Precision(), Alternatives(), prefix_cached_share=share) for share in (0.0, 0.5)
    )
    saved = {saving.change: saving.saved_usd_per_month for saving in without.savings}
    assert (saved["a prefix cache that serves 50 % of the input tokens"] or 0.0) > 0
    lost = {saving.change: saving.saved_usd_per_month for saving in cached.savings}
    assert (lost["no hits in the prefix cache"] or 0.0) < 0
    assert get_usd_per_month(cached) < get_usd_per_month(without)


def test_savings_of_other_weights_and_engines_are_omitted_from_estimates() -> None:
    plan = plan_language_model(Precision(), Alternatives(), estimate_only=True)
    assert not any(saving.change.startswith(("weights", "SGLang")) for saving in plan.savings)
