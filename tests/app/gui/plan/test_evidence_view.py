"""Tests of the evidence of a plan in the window."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.gui.plan.evidence_view import EvidenceView
from app.gui.plan.page import PlanPage
from app.gui.plan.state import PlanState
from tests.app.gui.plan.test_evidence_tables import build_evidence
from tests.fakes.widget_walk import unnamed_widgets, unreachable_widgets

pytestmark = pytest.mark.ui


@pytest.fixture
def view(qtbot: QtBot) -> EvidenceView:
    view = EvidenceView()
    qtbot.addWidget(view)
    view.resize(900, 700)
    with qtbot.waitExposed(view):
        view.show()
    return view


def test_points_are_sorted_by_value_and_their_publishers_are_named(view: EvidenceView) -> None:
    view.show_state(PlanState(evidence=build_evidence()))
    table, model = view.points.table, view.points.model
    column = list(model.frame.columns).index("tpot_ms")
    table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
    assert model.index(0, column).data() == max(
        (model.index(row, column).data() for row in range(model.rowCount())),
        key=lambda text: float(text.replace(",", "")),
    )
    assert view.nearest.isVisible()
    assert "NVIDIA" in view.attributions.text()
    assert not unnamed_widgets(view)
    assert not unreachable_widgets(view)


def test_table_keeps_its_order_while_other_inputs_change(view: EvidenceView) -> None:
    state = PlanState(evidence=build_evidence())
    view.show_state(state)
    view.points.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    first_text = view.points.model.index(0, 0).data()
    view.show_state(replace(state, evidence=build_evidence()))
    assert view.points.model.index(0, 0).data() == first_text


def test_model_without_measurements_has_a_sentence_in_place_of_a_table(view: EvidenceView) -> None:
    evidence = build_evidence()
    empty = replace(evidence, model=replace(evidence.model, rows=()), points=None, nearest=None)
    view.show_state(PlanState(evidence=empty))
    assert not view.points.isVisible()
    assert not view.nearest.isVisible()
    assert view.empty_label.text() == "There are no measured loads of llama-3.1-8b."
    assert view.empty_label.isVisible()


def test_only_plans_of_a_language_model_have_a_tab_with_evidence(small_plan_page: PlanPage) -> None:
    tabs, evidence = small_plan_page.workbench.bottom_tabs, small_plan_page.workbench.evidence
    assert tabs.indexOf(evidence) < 0
    state = replace(small_plan_page.presenter.state, evidence=build_evidence())
    small_plan_page.show_state(state)
    assert [tabs.tabText(index) for index in range(tabs.count())] == ["Offers", "Evidence"]
    tabs.setCurrentWidget(evidence)
    assert small_plan_page.filter_field() is None
    small_plan_page.show_state(replace(state, evidence=None))
    assert tabs.count() == 1
    assert small_plan_page.filter_field() is small_plan_page.workbench.offers.filter_field
