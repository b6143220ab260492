"""Tests of the evidence of a plan in the window."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QMessageBox
from pytestqt.qtbot import QtBot

from app.cli.main import main
from app.errors import ExitCode
from app.gui.navigation import Notice
from app.gui.plan.evidence_view import EvidenceView
from app.gui.plan.page import PlanPage
from app.gui.plan.state import Change, PlanState
from app.gui.theme import ThemeController
from app.profiles.bundled import DATA_DIRECTORY
from app.storage.own_evidence import list_evidence
from app.wiring.planning import PlanRequest
from tests.app.gui.plan.conftest import wait_for_plan
from tests.app.gui.plan.test_evidence_tables import MODEL, build_evidence, plan_model
from tests.fakes.widget_walk import clipped_texts, shared_mnemonics, unnamed_widgets, unreachable_widgets

RESULT = DATA_DIRECTORY / "examples" / "vllm-before.json"

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
    assert view.mlperf.isVisible()
    assert "v5.1" in set(view.mlperf.model.frame["round"])
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


def open_form(view: EvidenceView, source: Path, accelerator: str = "h100-sxm5-80gb") -> None:
    """Open the form for a result of the planned model."""
    view.show_state(PlanState(inputs=plan_model()[1], evidence=build_evidence()))
    view.open_form(source)
    assert view.dialog is not None
    view.dialog.model.show_value(MODEL)
    view.dialog.accelerator.show_value(accelerator)


def get_problem(view: EvidenceView, qtbot: QtBot) -> str:
    """Click the button, and return the problem that the form shows."""
    dialog = view.dialog
    assert dialog is not None
    qtbot.mouseClick(dialog.add_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(dialog.problem.isVisible)
    assert dialog.isVisible()
    assert dialog.add_button.isEnabled()
    return dialog.problem.text()


def test_result_is_added_as_by_the_command(
    view: EvidenceView, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    view.show_state(PlanState(inputs=plan_model()[1], evidence=build_evidence()))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(RESULT), ""))
    view.add_button.menu().actions()[0].trigger()
    dialog = view.dialog
    assert dialog is not None
    dialog.model.show_value(MODEL)
    dialog.accelerator.show_value("h100-sxm5-80gb")
    dialog.tensor_parallel.setValue(2)
    with qtbot.waitSignal(view.evidence_changed) as changed:
        qtbot.keyClick(dialog.version, Qt.Key.Key_Return)
    assert changed.args is not None
    notice: Notice = changed.args[0]
    (added,), _ = list_evidence()
    assert notice.summary.startswith(f"{added.id}: 1 point of {MODEL} stored in ")
    assert notice.reason is not None
    assert "another model" not in notice.reason
    assert (added.served.engine, added.served.precision, added.kv_dtype) == ("vllm", "bf16", "bf16")
    command = ["evidence", "add", str(RESULT), "--engine", "vllm", "--precision", "bf16", "--model", MODEL]
    assert main([*command, "--accelerator", "h100-sxm5-80gb", "--tensor-parallel", "2"]) == ExitCode.USAGE
    assert f"{added.id} already has these measurements" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"), [("{", "cannot be read"), ("[]", ""), ("{}", "")], ids=["damaged", "list", "empty"]
)
def test_bad_file_has_the_message_of_the_command(
    view: EvidenceView, qtbot: QtBot, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    source = tmp_path / "result.json"
    source.write_text(content, encoding="utf-8")
    open_form(view, source)
    problem = get_problem(view, qtbot)
    assert main(["evidence", "add", str(source), "--engine", "vllm", "--precision", "bf16"]) == ExitCode.USAGE
    error = capsys.readouterr().err.replace("\n", " ")
    assert message in problem
    assert all(line.rstrip(".")[1:] in error for line in problem.split("\n"))
    assert list_evidence() == ([], [])


def test_result_without_an_accelerator_is_a_problem_that_the_user_resolves(view: EvidenceView, qtbot: QtBot) -> None:
    open_form(view, RESULT, accelerator="")
    assert "does not name its accelerator" in get_problem(view, qtbot)
    assert view.dialog is not None
    view.dialog.accelerator.show_value("l4")
    with qtbot.waitSignal(view.evidence_changed):
        view.dialog.add_button.click()
    assert list_evidence()[0][0].served.accelerator == "l4"


def test_measurements_of_another_model_say_that_the_plan_does_not_use_them(view: EvidenceView, qtbot: QtBot) -> None:
    open_form(view, RESULT)
    other = replace(plan_model()[1], assumed_model=None)
    view.show_state(PlanState(inputs=other, evidence=build_evidence()))
    assert view.dialog is not None
    with qtbot.waitSignal(view.evidence_changed) as changed:
        view.dialog.add_button.click()
    assert changed.args is not None
    assert changed.args[0].reason.endswith(" This plan is of another model, and does not use them.")


def test_form_is_readable_and_operable_with_large_text(
    view: EvidenceView, qtbot: QtBot, theme: ThemeController
) -> None:
    open_form(view, RESULT)
    dialog = view.dialog
    assert dialog is not None
    for scale in (1.0, 2.0):
        theme.scale_text(scale)
        with qtbot.waitExposed(dialog):
            dialog.show()
        assert not unnamed_widgets(dialog)
        assert not unreachable_widgets(dialog)
        assert not shared_mnemonics(dialog)
        qtbot.waitUntil(lambda: not clipped_texts(dialog))


def test_added_measurements_calibrate_the_plan_until_they_are_removed(
    page: PlanPage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.presenter.set_simulation_delay(600_000)
    lengths = "traffic.tokens={input: 1000, output: 270}"
    overrides = ("traffic.peak=20/s", lengths, "plan.accelerators=h100-sxm5-80gb")
    page.presenter.open(PlanRequest((), overrides, slo=("tpot_ms.p95 < 40",), model=MODEL))
    wait_for_plan(page, qtbot)
    evidence = page.workbench.evidence
    page.workbench.bottom_tabs.setCurrentWidget(evidence)
    assert not evidence.remove_button.isEnabled()
    evidence.open_form(RESULT)
    assert evidence.dialog is not None
    assert evidence.dialog.model.findData(MODEL) == 1
    evidence.dialog.model.show_value(MODEL)
    evidence.dialog.accelerator.show_value("h100-sxm5-80gb")
    page.presenter.apply_change(Change("Peak", (("traffic.peak", "30/s"),)))
    wait_for_plan(page, qtbot)
    evidence.dialog.add_button.click()
    qtbot.waitUntil(lambda: "own" in set(evidence.points.model.frame["source"]), timeout=60_000)
    wait_for_plan(page, qtbot)
    inputs = page.presenter.state.inputs
    assert inputs is not None
    assert inputs.traffic.peak_per_s == 30.0, "the edit is kept"
    (own,) = inputs.own_evidence
    assert own.id in page.strip.text()
    evidence.points.table.selectRow(1)
    assert not evidence.remove_button.isEnabled(), "a published point"
    evidence.points.table.selectRow(0)
    assert evidence.remove_button.isEnabled()
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    evidence.remove_button.click()
    assert list_evidence()[0] == [own]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    evidence.remove_button.click()
    qtbot.waitUntil(lambda: "own" not in set(evidence.points.model.frame["source"]), timeout=60_000)
    assert list_evidence()[0] == []
    assert f"{own.id} was removed" in page.strip.text()
    assert not evidence.remove_button.isEnabled()
