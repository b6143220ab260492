from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from app.planning.candidates import Candidate, evaluate_offer
from app.planning.capacity import Capacity
from app.planning.changes import (
    COLD_START_MINUTES,
    FleetSize,
    WhatIfChange,
    _compute_max_ahead,
    build_cache_change,
    build_variant_change,
    compute_savings,
    compute_warm_pool_saving,
)
from app.planning.fleets import plan_fleets
from app.planning.sizing import build_demand
from app.records.plan import Plan, Saving
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.service import BatchService
from tests.fakes.offers import offer, question, target
from tests.fakes.services import fit_of, fitted

pytestmark = pytest.mark.usefixtures("short_simulations")


def sized(change: WhatIfChange) -> FleetSize:
    """1,000/s over 100/s each, and four kept for a rise; 100 USD a month each."""
    needed = math.ceil(1000 * change.traffic_factor / (100 * change.capacity_factor) - 1e-9)
    replicas = needed + 4
    return FleetSize(replicas, 100.0 * replicas)


def test_each_change_is_sized_by_itself_and_the_best_leads() -> None:
    found = compute_savings(
        [
            build_cache_change(0.3, usd_per_month=50),
            build_variant_change("int8", 200, 100),
            build_cache_change(0),
        ],
        sized,
    )
    assert [(one.change.name, one.changed_size.replicas, one.usd_per_month) for one in found] == [
        ("int8", 9, 500),
        ("caching", 11, 250),
        ("caching", 14, 0),
    ]
    assert all(one.baseline_size == FleetSize(14, 1400.0) for one in found)
    assert found[0].share == pytest.approx(5 / 14)
    assert [one.change.basis for one in found] == ["measured", "assumed", "assumed"]


def test_a_change_may_cost_more_than_it_saves() -> None:
    (dear,) = compute_savings([build_cache_change(0.1, usd_per_month=900)], sized)
    assert dear.usd_per_month == -800


def test_a_sizing_that_finds_nothing_saves_nothing_known() -> None:
    (unknown,) = compute_savings([build_cache_change(0.5)], lambda change: FleetSize(None, None))
    assert (unknown.usd_per_month, unknown.share) == (None, None)
    known = compute_savings([build_cache_change(0.5), build_variant_change("x", 2, 1)],
                    lambda change: sized(change) if change.capacity_factor == 1 else FleetSize(None, None))  # fmt: skip
    assert [one.change.name for one in known] == ["caching", "x"]


def test_what_a_change_rests_on_is_said() -> None:
    assert build_variant_change("int8", 150, 100).reason == "1.50 × the current max rate within SLO, measured"
    assert build_cache_change(0.25).reason == "25 % of the requests are served from a cache, assumed"


HOURS = (0.1,) * 12 + (1.0,) * 12


def saving(asked: PlanningInputs, per_s: float = 100.0) -> Saving:
    demand = build_demand(asked.traffic, asked.limits, asked.today)
    found = evaluate_offer(offer(), Capacity(per_s, 0.0, 1, "measured"), demand, asked.limits, asked.today)
    assert isinstance(found, Candidate)
    (one,) = compute_warm_pool_saving(found, demand, asked)
    return one


def test_a_fleet_looks_ahead_as_far_as_a_start_takes() -> None:
    needed = np.array([1.0, 1, 1, 1, 3, 1, 1])
    assert _compute_max_ahead(needed, 1).tolist() == [1, 1, 1, 3, 3, 1, 1]
    assert _compute_max_ahead(needed, 3).tolist() == [1, 3, 3, 3, 3, 1, 1]


def test_of_flat_traffic_a_pool_is_one_instance_for_nothing() -> None:
    one = saving(question(peak_per_s=950.0))
    assert one.saved_usd_per_month == pytest.approx(-730.0), "an instance of 1 USD an hour"
    assert one.usd_per_month == pytest.approx(730.0 * 11)
    assert one.basis == "assumed"


def test_the_pool_is_as_large_as_the_steepest_rise_during_a_cold_start() -> None:
    one = saving(question(peak_per_s=100_000.0, hourly_share=HOURS))
    rise = 0.9 * 1000 / 60 * COLD_START_MINUTES  # the profile rises by 900 instances within an hour
    size = int(one.change.split(" of ")[1].split()[0])
    assert rise - 2 <= size <= rise + 2
    assert (one.saved_usd_per_month or 0.0) < 0


def test_owned_hardware_is_there_all_the_time() -> None:
    asked = question()
    demand = build_demand(asked.traffic, asked.limits, asked.today)
    found = evaluate_offer(offer(), Capacity(100.0, 0.0, 1, "measured"), demand, asked.limits, asked.today)
    assert isinstance(found, Candidate)
    assert len(list(compute_warm_pool_saving(found, demand, asked))) == 1
    assert list(compute_warm_pool_saving(msgspec.structs.replace(found, price_kind="owned"), demand, asked)) == []


SLOW = BatchService(0.020, 0.004, 8, 0.030)
FAST = msgspec.structs.replace(SLOW, fixed_s=0.005, per_item_s=0.001)
CACHE = "a cache that serves 30 % of the requests"
NO_WINDOW = "a batching window of 0 ms"


def variant(name: str, service: BatchService) -> MeasuredTarget:
    return target(name=name, fit=fit_of(fitted(service), highest_per_s=service.max_throughput_per_s))


def plan(*targets: MeasuredTarget, estimate_only: bool = False, limit_ms: int = 150) -> Plan:
    return plan_fleets(question(*targets, slo=(f"latency_ms.p95 < {limit_ms}",)), estimate_only=estimate_only)


def cost(of: Plan) -> float:
    assert of.recommendation is not None
    assert of.recommendation.fleet.usd_per_month.value is not None
    return of.recommendation.fleet.usd_per_month.value


def test_another_measured_variant_is_planned_from_its_own_run_but_not_for_a_preview() -> None:
    both = plan(variant("fp32", SLOW), variant("int8", FAST))
    slow = next(one for one in both.savings if one.change == "fp32 only")
    assert slow.basis == "measured"
    assert slow.usd_per_month == pytest.approx(cost(plan(variant("fp32", SLOW), estimate_only=True)))
    assert slow.usd_per_month is not None
    assert slow.saved_usd_per_month == pytest.approx(cost(both) - slow.usd_per_month)
    assert slow.saved_usd_per_month is not None
    assert slow.saved_usd_per_month < 0
    quick = plan(variant("fp32", SLOW), variant("int8", FAST), estimate_only=True)
    assert {one.basis for one in quick.savings} == {"assumed"}


def test_a_window_that_costs_more_than_it_gains_is_reported() -> None:
    waiting = {one.change: one for one in plan(variant("fp32", SLOW), limit_ms=85).savings}
    assert (waiting[NO_WINDOW].saved_usd_per_month or 0.0) > 0
    assert waiting[NO_WINDOW].basis == waiting[CACHE].basis == "assumed"
    without = plan(variant("fp32", msgspec.structs.replace(SLOW, window_s=0.0)), limit_ms=85)
    assert NO_WINDOW not in {one.change for one in without.savings}
