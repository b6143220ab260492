from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.planning.fleets import plan_fleets
from app.planning.relaxation import find_relaxations
from app.records.offers import PlanLimits
from app.wiring.plan_changes import apply_overrides
from tests.fakes import planned
from tests.tiers import first_in_unit_tier

pytestmark = pytest.mark.usefixtures("short_simulations")

QUESTION = planned.question()


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
def test_the_smallest_relaxation_of_a_limit_lets_an_offer_fit(limits: dict[str, object], change: str) -> None:
    blocked = replace(QUESTION, limits=replace(PlanLimits(router="least-outstanding"), **limits))
    found = find_relaxations(blocked)
    assert found[0].changes == (change,)
    assert "acme/c2@here" in found[0].text


@pytest.mark.parametrize("estimate_only", first_in_unit_tier([True, False]))
def test_what_it_says_is_what_comes_of_it(estimate_only: bool) -> None:
    blocked = replace(QUESTION, limits=PlanLimits(budget_usd_per_month=2000.0))
    found = find_relaxations(blocked)
    assert {change.partition("=")[0] for one in found for change in one.changes} >= {"plan.budget", "traffic.peak"}
    for one in found:
        changed = apply_overrides(blocked, (*one.changes, *(f"slo=[{text}]" for text in one.slo)))
        assert plan_fleets(changed, estimate_only=estimate_only).recommendation is not None, one.text


def test_an_slo_that_nothing_holds_is_loosened() -> None:
    blocked = planned.question(slo="latency_ms.p95 < 150")
    found = find_relaxations(blocked)
    # at 450 ms one request alone nearly takes the limit: the capacity is known within a factor of over 10, and the full
    # plan recommends nothing
    assert [one.slo for one in found] == [("latency_ms.p95 < 750",)]
    assert (
        plan_fleets(apply_overrides(blocked, ("slo=latency_ms.p95 < 750",)), estimate_only=True).recommendation
        is not None
    )


def test_where_something_fits_nothing_is_relaxed() -> None:
    assert find_relaxations(QUESTION) == ()
