from __future__ import annotations

import msgspec
import pytest

from app.planning.fleets import plan_fleets
from app.records.plan import Plan
from app.records.plan_question import MeasuredTarget
from app.records.service import BatchService
from tests.fakes.offers import question, target
from tests.fakes.services import fit_of, fitted

SLOW = BatchService(0.020, 0.004, 8, 0.030)
FAST = msgspec.structs.replace(SLOW, fixed_s=0.005, per_item_s=0.001)
CACHE = "a cache that answers 30 % of the requests"
NO_WINDOW = "a batching window of 0 ms"


def variant(name: str, service: BatchService) -> MeasuredTarget:
    return target(name=name, fit=fit_of(fitted(service), highest_per_s=service.most_per_s))


def plan(*targets: MeasuredTarget, preview: bool = False, limit_ms: int = 150) -> Plan:
    return plan_fleets(question(*targets, slo=(f"latency_ms.p95 < {limit_ms}",)), preview=preview)


def cost(of: Plan) -> float:
    assert of.recommendation is not None
    assert of.recommendation.fleet.usd_per_month.value is not None
    return of.recommendation.fleet.usd_per_month.value


def test_another_measured_variant_is_planned_from_its_own_run_but_not_for_a_preview() -> None:
    both = plan(variant("fp32", SLOW), variant("int8", FAST))
    slow = next(one for one in both.savings if one.change == "fp32 alone")
    assert slow.basis == "measured"
    assert slow.usd_per_month == pytest.approx(cost(plan(variant("fp32", SLOW), preview=True)))
    assert slow.usd_per_month is not None
    assert slow.saved_usd_per_month == pytest.approx(cost(both) - slow.usd_per_month)
    assert slow.saved_usd_per_month is not None
    assert slow.saved_usd_per_month < 0
    quick = plan(variant("fp32", SLOW), variant("int8", FAST), preview=True)
    assert {one.basis for one in quick.savings} == {"assumed"}


def test_a_window_that_costs_more_than_it_gains_is_told() -> None:
    waiting = {one.change: one for one in plan(variant("fp32", SLOW), limit_ms=85).savings}
    assert (waiting[NO_WINDOW].saved_usd_per_month or 0.0) > 0
    assert waiting[NO_WINDOW].basis == waiting[CACHE].basis == "assumed"
    without = plan(variant("fp32", msgspec.structs.replace(SLOW, window_s=0.0)), limit_ms=85)
    assert NO_WINDOW not in {one.change for one in without.savings}
