from __future__ import annotations

import pytest
from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from app.gui.plan.comparison import ComparisonView, build_comparison, explain_rank, toggle_pin
from app.records.plan import Fleet, Plan, TokenUnitCosts, UnitCosts
from tests.fakes.whole_plan import A10G, L4, REFUSAL, T4, whole_plan


def find_fleet(plan: Plan, offer: str) -> Fleet:
    return next(fleet for fleet in plan.offers if fleet.offer == offer)


def compare_offers(plan: Plan, *offers: str) -> dict[str, tuple[tuple[str, ...], str]]:
    rows = build_comparison([find_fleet(plan, offer) for offer in offers], plan)
    return {row.name: (row.values, row.difference) for row in rows}


def test_third_pinned_offer_replaces_the_second_and_a_repeated_pin_is_removed() -> None:
    assert toggle_pin((), "a") == ("a",)
    assert toggle_pin(("a",), "b") == ("a", "b")
    assert toggle_pin(("a", "b"), "c") == ("a", "c")
    assert toggle_pin(("a", "b"), "a") == ("b",)


def test_pinned_offers_are_compared_with_their_differences() -> None:
    rows = compare_offers(whole_plan(), L4, A10G)
    assert rows["Verdict"] == (("recommended", "meets the SLO"), "")
    assert rows["Instances"] == (("5 (4 for load, 1 spare)",) * 2, "same")
    costs, difference = rows["Monthly cost (P10–P90)"]
    assert costs[0].startswith("$2,577 (")
    assert costs[1].startswith("$3,672 (")
    assert difference == "+$1,095 (+42 %)"
    assert rows["P(SLO met)"] == (("95.3 %", "93.1 %"), "−2.2 pp")
    assert rows["Basis"][0] == ("measured, simulated", "extrapolated, simulated")
    assert rows["Bottleneck"][0][0].startswith("peak: one instance sustains ")
    assert rows["Price date"][0] == ("2026-07-20 (on-demand)",) * 2
    assert rows["Per 1M tokens"][0] == ("$0.550", "$0.550")


def test_excluded_offer_is_compared_with_its_reason_and_no_numbers() -> None:
    rows = compare_offers(whole_plan(), L4, T4)
    assert rows["Reason"][0] == ("", f"excluded: {REFUSAL}")
    for name in ("Instances", "Monthly cost (P10–P90)", "Per 1k inferences (95 % interval)", "P(SLO met)", "Bottleneck",
                 "Peak utilization", "Per 1M tokens", "Basis"):  # fmt: skip
        assert rows[name][0][1] == "n/a", name
    assert rows["Instances"][1] == rows["Monthly cost (P10–P90)"][1] == "n/a"


def test_token_cost_row_is_hidden_unless_both_offers_have_token_costs() -> None:
    plan = whole_plan()
    plan_without_tokens = replace(plan, offers=tuple(replace(fleet, per_1m_tokens=None) for fleet in plan.offers))
    assert "Per 1M tokens" not in compare_offers(plan_without_tokens, L4, A10G)
    costs = TokenUnitCosts(UnitCosts(1.0, 2.0, 3.0), None, None)
    mixed = replace(
        plan_without_tokens,
        offers=tuple(replace(fleet, per_1m_tokens=costs) for fleet in plan_without_tokens.offers[:1])
        + plan_without_tokens.offers[1:],
    )
    assert "Per 1M tokens" not in compare_offers(mixed, L4, A10G)


@pytest.mark.parametrize(
    ("instances", "usd", "reason"),
    [
        (5, 1.006, "$1,095/month more (42 %): $1.006/h instead of $0.706/h each"),
        (8, 0.706, "$1,546/month more (60 %): 8 instead of 5 instances"),
        (5, 0.5, "$752/month less (29 %): $0.5/h instead of $0.706/h each; ranked lower because its price is old or of "
         "low trust"),
        (5, 0.706, "about the same cost"),
    ],
)  # fmt: skip
def test_rank_of_an_offer_is_explained_by_cost_and_instance_differences(
    instances: int, usd: float, reason: str
) -> None:
    plan = whole_plan()
    fleet = find_fleet(plan, A10G)
    cost = replace(fleet.usd_per_month, value=730 * instances * usd)
    assert explain_rank(replace(fleet, instances=instances, usd_per_hour_each=usd, usd_per_month=cost), plan) == reason
    assert explain_rank(find_fleet(plan, L4), plan) == ""
    autoscaled = replace(find_fleet(plan, L4), offer=A10G, usd_per_month=replace(fleet.usd_per_month, value=3650.0))
    assert explain_rank(autoscaled, plan) == "$1,073/month more (42 %)", "instance count and price are equal"


def test_offer_comparison_has_columns_and_buttons_of_the_pinned_offers(qtbot: QtBot) -> None:
    view, plan = ComparisonView(), whole_plan()
    qtbot.addWidget(view)
    view.show()
    assert view.texts() == {}
    view.show_comparison((L4, T4), plan)
    assert view.texts()["Verdict"] == ("recommended", "excluded", "")
    with qtbot.waitSignal(view.pin_toggled) as unpinned:
        view.unpin_buttons[1].click()
    assert unpinned.args == [T4]
    view.show_comparison((T4,), plan)
    assert [unpin.isVisible() for unpin in view.unpin_buttons] == [True, False]
    assert view.texts()["Verdict"] == ("excluded", "", "")
