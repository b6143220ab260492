from __future__ import annotations

from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from app.gui.plan.card import PlanCard
from app.gui.plan.state import PlanState
from app.records.plan import CapacityKnowledge, NextMeasurement, Spread
from tests.fakes.whole_plan import whole_plan

UNCERTAIN = CapacityKnowledge(
    "uncertain", "wide range", Spread(2.0, 4.0, 9.0), NextMeasurement(4.2, 480.0, 2.1), "Headline.", "Next step."
)


def test_what_is_not_known_leads_the_recommendation_and_its_absence(qtbot: QtBot) -> None:
    card = PlanCard()
    qtbot.addWidget(card)
    plan = replace(whole_plan(), capacity_knowledge=UNCERTAIN)
    card.show_state(PlanState(phase="simulated", plan=plan, is_current=True))
    assert card.sentence.text().startswith("Headline. Next step. 5 × ")
    unknown = replace(plan, recommendation=None, capacity_knowledge=replace(UNCERTAIN, state="unknown"))
    card.show_state(PlanState(phase="simulated", plan=unknown, is_current=True))
    assert card.sentence.text().startswith("Headline. Next step. No offer handles")
    known = replace(plan, capacity_knowledge=replace(UNCERTAIN, state="known"))
    card.show_state(PlanState(phase="simulated", plan=known, is_current=True))
    assert card.sentence.text().startswith("5 × ")
