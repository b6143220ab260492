from __future__ import annotations

from msgspec.structs import replace
from PySide6.QtWidgets import QLabel, QPushButton
from pytestqt.qtbot import QtBot

from app.gui.plan.card import PlanCard
from app.gui.plan.offers_model import build_frame
from app.gui.plan.state import PlanState
from app.planning.what_if.relaxation import Relaxation
from app.records.checks import Check
from app.records.plan import CapacityKnowledge, NextMeasurement, Spread
from tests.fakes.whole_plan import whole_plan

UNCERTAIN = CapacityKnowledge(
    "uncertain", "wide range", Spread(2.0, 4.0, 9.0), NextMeasurement(4.2, 480.0, 2.1), "Headline.", "Next step."
)


def test_recommendation_starts_with_the_capacity_headline_unless_capacity_is_known(qtbot: QtBot) -> None:
    card = PlanCard()
    qtbot.addWidget(card)
    plan = replace(whole_plan(), capacity_knowledge=UNCERTAIN)
    card.show_state(PlanState(phase="simulated", plan=plan, is_current=True))
    assert card.sentence.text().startswith("Headline. 5 × ")
    assert card.next_step.text() == "Next step."
    card.select_offer(plan.offers[1].offer)
    assert card.next_step.isHidden()
    card.select_offer(None)
    unknown = replace(plan, recommendation=None, capacity_knowledge=replace(UNCERTAIN, state="unknown"))
    card.show_state(PlanState(phase="simulated", plan=unknown, is_current=True))
    assert card.sentence.text().startswith("Headline. No offer sustains")
    assert card.next_step.text() == "Next step."
    known = replace(plan, capacity_knowledge=replace(UNCERTAIN, state="known"))
    card.show_state(PlanState(phase="simulated", plan=known, is_current=True))
    assert card.sentence.text().startswith("5 × ")
    assert card.next_step.isHidden()


def test_unchanged_relaxation_has_the_same_button(qtbot: QtBot) -> None:
    """A click on the button is not lost when another part of the plan changes meanwhile."""
    card = PlanCard()
    qtbot.addWidget(card)
    state = PlanState(phase="simulated", plan=replace(whole_plan(), recommendation=None), is_current=True)
    buttons: list[QPushButton] = []
    for peak in (50, 50, 40):
        relaxation = Relaxation((f"traffic.peak={peak}/s",), f"A peak of {peak} req/s fits.")
        card.show_state(replace(state, relaxations=(relaxation,), computation_ms=float(len(buttons))))
        buttons.append(card.relaxations.findChildren(QPushButton)[-1])
    assert buttons[0] is buttons[1] is not buttons[2]


def test_recommendation_has_its_probability_basis_and_folded_caveats(qtbot: QtBot) -> None:
    card, plan = PlanCard(), whole_plan()
    qtbot.addWidget(card)
    qtbot.addWidget(card.header)
    check = Check("price_age", 118.0, 90.0, "d", "WARN", "Import a current price list.")
    plan = replace(plan, checks=(check,))
    assert plan.recommendation is not None
    fleet = plan.recommendation.fleet
    card.show_state(PlanState(phase="simulated", plan=plan, is_current=True))
    assert card.confidence.text().startswith(f"Serves {plan.traffic.peak_per_s:,.0f} req/s within ")
    assert card.confidence.text().endswith(" probability.")
    assert card.based_on.text().startswith(f"The fleet is based on {fleet.measured_on}. ")
    assert not card.caveats.is_open
    texts = [caveat.text for caveat in card.caveats.displayed_caveats]
    assert texts[0] == "Import a current price list."
    assert len(texts) == 1 + len(fleet.risk_reasons)
    card.select_offer(next(offer.offer for offer in plan.offers if offer.rejected is not None))
    assert (card.confidence.text(), card.based_on.text(), card.caveats.displayed_caveats) == ("", "", ())
    card.show_state(PlanState())
    assert (card.sentence.text(), card.confidence.text()) == ("Calculating the plan…", "")


def test_plan_badge_displays_whether_the_selected_offer_was_simulated(qtbot: QtBot) -> None:
    """The best offers of a plan are simulated; others may have analytical estimates only."""
    card, plan = PlanCard(), whole_plan()
    qtbot.addWidget(card)
    qtbot.addWidget(card.header)
    assert plan.recommendation is not None
    best = replace(plan.recommendation.fleet, sizing_method="simulated")
    other = replace(best, offer="acme/other", sizing_method="formula")
    plan = replace(plan, recommendation=replace(plan.recommendation, fleet=best), offers=(best, other))
    card.show_state(PlanState(phase="simulated", plan=plan, is_current=True))
    assert card.badge.text() == "simulated"
    card.select_offer("acme/other")
    assert card.badge.text() == "estimate"
    assert "was not simulated" in card.badge.toolTip()
    card.select_offer(None)
    assert card.badge.text() == "simulated"


def test_cost_range_is_p10_to_p90_on_the_card_and_in_the_offers_table(qtbot: QtBot) -> None:
    card, plan = PlanCard(), whole_plan()
    qtbot.addWidget(card)
    qtbot.addWidget(card.header)
    assert plan.recommendation is not None
    cost = Spread(900.0, 1200.0, 1900.0)
    fleet = replace(plan.recommendation.fleet, usd_per_month_needed=cost)
    plan = replace(plan, recommendation=replace(plan.recommendation, fleet=fleet), offers=(fleet,))
    card.show_state(PlanState(phase="simulated", plan=plan, is_current=True))
    texts = [label.accessibleName() for label in card.properties.findChildren(QLabel)]
    assert "P10–P90 of the cost: $900 – $1,900" in texts
    recommended = build_frame(plan).set_index("offer").loc[fleet.offer]
    assert recommended["cost_range"] == "900–1,900"
