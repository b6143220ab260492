from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.planning.fleets import plan_fleets
from app.planning.what_if.relaxation import find_relaxations
from app.records.offers import PlanLimits
from app.wiring.plan_changes import apply_overrides
from tests.fakes import small_plan
from tests.tiers import first_in_unit_tier

pytestmark = pytest.mark.usefixtures("short_simulations")

QUESTION = small_plan.planning_inputs()


@pytest.mark.parametrize(
    ("limits", "change"),
    [
        ({"budget_usd_per_month": 10.0}, "plan.budget=4380 USD/month"),
        ({"regions": ("mars",)}, "plan.regions=[mars, here]"),
        ({"providers": ("nobody",)}, "plan.providers=[nobody, acme]"),
        ({"accelerators": ("h100",)}, "plan.accelerators=[h100, none]"),
        ({"sources": ("yours",)}, "plan.sources=[yours, karp-aws]"),
        ({"price": "spot"}, "plan.price=on-demand"),
    ],
)
def test_first_relaxation_is_the_smallest_change_that_makes_an_offer_feasible(
    limits: dict[str, object], change: str
) -> None:
    blocked = replace(QUESTION, limits=replace(PlanLimits(router="least-outstanding"), **limits))
    relaxations = find_relaxations(blocked)
    assert relaxations[0].changes == (change,)
    assert "acme/c2@here" in relaxations[0].text


@pytest.mark.parametrize("estimate_only", first_in_unit_tier([True, False]))
def test_plan_with_each_relaxation_applied_has_a_recommendation(estimate_only: bool) -> None:
    blocked = replace(QUESTION, limits=PlanLimits(budget_usd_per_month=2000.0))
    relaxations = find_relaxations(blocked)
    assert {change.partition("=")[0] for relaxation in relaxations for change in relaxation.changes} >= {
        "plan.budget",
        "traffic.peak",
    }
    for relaxation in relaxations:
        changed = apply_overrides(blocked, (*relaxation.changes, *(f"slo=[{text}]" for text in relaxation.slo)))
        assert plan_fleets(changed, estimate_only=estimate_only).recommendation is not None, relaxation.text


def test_slo_that_no_offer_meets_is_relaxed() -> None:
    blocked = small_plan.planning_inputs(slo="latency_ms.p95 < 150")
    relaxations = find_relaxations(blocked)
    # at 450 ms a single request is almost as slow as the limit: the capacity is uncertain by a factor of over 10, and
    # the full plan recommends nothing
    assert [relaxation.slo for relaxation in relaxations] == [("latency_ms.p95 < 750",)]
    assert (
        plan_fleets(apply_overrides(blocked, ("slo=latency_ms.p95 < 750",)), estimate_only=True).recommendation
        is not None
    )


def test_feasible_plan_has_no_relaxations() -> None:
    assert find_relaxations(QUESTION) == ()
