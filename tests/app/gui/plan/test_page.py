"""Tests of the Plan page by its widgets, as a user operates them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QLineEdit, QPushButton
from pytestqt.qtbot import QtBot

from app.analysis.language_models import load_language_models
from app.cli.main import main
from app.gui.plan.card import PlanCard
from app.gui.plan.exporting import ExportKind
from app.gui.plan.multi_choice_row import MultiChoiceRow
from app.gui.plan.offers_model import COLUMNS, PRICE_COLUMN
from app.gui.plan.page import PlanPage
from app.gui.plan.rows import ChoiceRow, InputRow, NumberRow
from app.gui.plan.state import Edits
from app.gui.plan.traffic_rows import PeakRow
from app.records.planning_inputs import AssumedModel
from app.records.traffic import Traffic
from app.wiring.plan_files import read_plan
from tests.app.gui.plan.conftest import wait_for_plan, wait_for_simulation
from tests.fakes import plan_sources
from tests.fakes.small_plan import planning_inputs
from tests.fakes.widget_walk import clipped_texts, unnamed_widgets, unreachable_widgets

PRICE = COLUMNS.index(PRICE_COLUMN)


def get_recommendation(page: PlanPage) -> tuple[str, int | None]:
    plan = page.presenter.state.plan
    assert plan is not None
    assert plan.recommendation is not None
    return plan.recommendation.fleet.offer, plan.recommendation.fleet.instances


def run_command_of(page: PlanPage, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    line = page.command_line()
    assert line is not None
    words = shlex.split(line)
    capsys.readouterr()
    preview = ["--estimate"] if page.presenter.state.phase == "preview" else []
    main([*words[1:], "--json", *preview])
    output: dict[str, object] = json.loads(capsys.readouterr().out)
    return output


def assert_command_recommends_the_same(page: PlanPage, capsys: pytest.CaptureFixture[str]) -> None:
    import msgspec

    plan = page.presenter.state.plan
    output = run_command_of(page, capsys)
    assert plan is not None
    assert output["recommendation"] == json.loads(msgspec.json.encode(plan))["recommendation"]


def test_empty_plan_page_links_to_the_run_page_or_to_assumptions(page: PlanPage, qtbot: QtBot) -> None:
    empty = page.empty_state
    assert empty.title.text() == "No measurements yet"
    with qtbot.waitSignal(page.navigation.page_requested) as page_request:
        qtbot.mouseClick(empty.sweep_button, Qt.MouseButton.LeftButton)
    assert page_request.args == ["run"]
    qtbot.mouseClick(empty.assume_button, Qt.MouseButton.LeftButton)
    assert empty.assumptions.isVisible()
    assert page.command_line() is None


def test_plan_from_a_typed_curve_equals_that_of_the_command_line(
    page: PlanPage, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = page.empty_state
    qtbot.mouseClick(empty.assume_button, Qt.MouseButton.LeftButton)
    empty.assumptions.curve.peak.setValue(300.0)
    page.presenter.set_simulation_delay(600_000)  # simulating the whole catalog takes long
    qtbot.mouseClick(empty.assumptions.curve.plan_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.presenter.state.phase == "preview", timeout=60_000)
    plan = page.presenter.state.plan
    assert plan is not None
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.basis == "assumed"
    assert_command_recommends_the_same(page, capsys)


def test_day_curve_keys_change_the_peak_and_the_plan_is_estimated_then_simulated(
    small_plan_page: PlanPage, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    small_plan_page.presenter.set_simulation_delay(50)
    day = small_plan_page.workbench.inputs.traffic.day
    assert day.curve.rates()[12] == 60.0
    day.curve.setFocus()
    day.curve.select_hour(12)
    qtbot.keyClick(day.curve, Qt.Key.Key_PageUp)
    question = small_plan_page.presenter.state.inputs
    assert question is not None
    assert question.traffic.peak_per_s == 75.0
    assert question.traffic.hourly_share[13] == pytest.approx(0.8, abs=1e-4)
    assert day.preset.currentText() == "Custom"
    assert small_plan_page.source_bar.badge.text() == "planning…"
    qtbot.waitUntil(lambda: small_plan_page.source_bar.badge.text() == "estimate")
    wait_for_simulation(small_plan_page, qtbot)
    assert small_plan_page.source_bar.badge.text() == "simulated"
    assert_command_recommends_the_same(small_plan_page, capsys)


def test_edited_price_changes_the_recommendation_and_is_reset_and_undone(
    small_plan_page: PlanPage, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    offers = small_plan_page.workbench.offers
    assert offers.table.isColumnHidden(COLUMNS.index("user_rate"))
    assert get_recommendation(small_plan_page) == ("acme/c2@here", 6)
    row = offers.model.find_row("acme/c4@here")
    assert row is not None
    offers.table.setCurrentIndex(offers.model.index(row, PRICE))
    offers.table.edit(offers.model.index(row, PRICE))
    editor = offers.table.findChild(QLineEdit)
    assert editor is not None
    editor.selectAll()
    qtbot.keyClicks(editor, "0.5")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "price.acme/c4@here=0.5" in (small_plan_page.command_line() or ""))
    wait_for_plan(small_plan_page, qtbot)
    assert get_recommendation(small_plan_page)[0] == "acme/c4@here"
    row = offers.model.find_row("acme/c4@here")
    assert row is not None
    assert offers.model.data(offers.model.index(row, PRICE)) == "✎ 0.5"
    assert_command_recommends_the_same(small_plan_page, capsys)
    offers.table.selectRow(row)
    qtbot.mouseClick(offers.reset_button, Qt.MouseButton.LeftButton)
    wait_for_plan(small_plan_page, qtbot)
    assert get_recommendation(small_plan_page) == ("acme/c2@here", 6)
    stack = small_plan_page.undo_stack()
    assert stack is not None
    stack.undo()
    wait_for_plan(small_plan_page, qtbot)
    assert get_recommendation(small_plan_page)[0] == "acme/c4@here"
    qtbot.mouseClick(offers.reset_all_button, Qt.MouseButton.LeftButton)
    wait_for_plan(small_plan_page, qtbot)
    assert get_recommendation(small_plan_page) == ("acme/c2@here", 6)


def set_number(row: InputRow, value: int) -> None:
    assert isinstance(row, NumberRow)
    row.field.setValue(value)


def set_choice(row: InputRow, index: int) -> None:
    assert isinstance(row, ChoiceRow)
    row.field.setCurrentIndex(index)
    row.field.activated.emit(index)


def test_every_plan_input_is_on_the_command_line_and_undone(
    small_plan_page: PlanPage, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = small_plan_page.workbench.inputs
    rows, traffic = inputs.rows, inputs.traffic
    traffic.peak.slider.setValue(600)
    set_choice(traffic.rows[2], 1)
    set_number(traffic.rows[3], 20)
    set_number(traffic.rows[4], 10)
    set_number(traffic.rows[5], 25)
    qtbot.mouseClick(
        traffic.spike.enabled_check_box,
        Qt.MouseButton.LeftButton,
        pos=QPoint(8, traffic.spike.enabled_check_box.height() // 2),
    )
    set_number(rows["plan.confidence"], 95)
    set_number(rows["plan.redundancy"], 2)
    set_number(rows["plan.zones"], 2)
    set_choice(rows["plan.router"], 2)
    set_number(rows["plan.budget"], 900_000)
    set_number(rows["plan.max_price_age"], 3000)
    set_choice(rows["plan.low_trust_prices"], 1)
    set_number(rows["plan.max_accelerators"], 8)
    providers = rows["plan.providers"]
    assert isinstance(providers, MultiChoiceRow)
    providers.model.item(0).setCheckState(Qt.CheckState.Checked)
    inputs.slo.lines[0].setText("latency_ms.p95 < 900")
    wait_for_plan(small_plan_page, qtbot)
    edits = small_plan_page.presenter.state.edits
    assert {key for key, _ in edits.values} == {
        "traffic.peak", "traffic.week", "traffic.growth", "traffic.uncertainty", "traffic.cache", "traffic.spikes",
        "plan.confidence", "plan.redundancy", "plan.zones", "plan.router", "plan.budget", "plan.max_price_age",
        "plan.max_accelerators", "plan.low_trust_prices", "plan.providers",
    }  # fmt: skip
    assert edits.slo == ("latency_ms.p95 < 900",)
    assert_command_recommends_the_same(small_plan_page, capsys)
    stack = small_plan_page.undo_stack()
    assert stack is not None
    for _ in range(stack.count()):
        stack.undo()
    wait_for_plan(small_plan_page, qtbot)
    assert get_recommendation(small_plan_page) == ("acme/c2@here", 6)
    assert providers.selected_names() == ()


def test_run_is_planned_for_a_peak_of_users_and_an_edited_slo(
    page: PlanPage, qtbot: QtBot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from msgspec.structs import replace

    from tests.fakes import results

    stages = tuple(replace(stage, arrival_kind="poisson") for stage in results.full_run().result.stages)
    run = plan_sources.endpoint_run(tmp_path / "run", stages=stages)
    presenter = page.presenter
    presenter.set_simulation_delay(600_000)
    page.open_sources((run,))
    qtbot.waitUntil(lambda: presenter.state.phase == "preview", timeout=60_000)
    inputs = page.workbench.inputs
    peak: PeakRow = inputs.traffic.peak
    qtbot.mouseClick(peak.users_check_box, Qt.MouseButton.LeftButton, pos=QPoint(8, peak.users_check_box.height() // 2))
    peak.user_count.setValue(36_000)
    inputs.slo.lines[0].setText("latency_ms.p95 < 80")
    qtbot.waitUntil(lambda: presenter.state.is_current, timeout=60_000)
    question = page.presenter.state.inputs
    assert question is not None
    assert question.traffic.peak_per_s == pytest.approx(60.0)
    assert not peak.rate.isEnabled()
    assert_command_recommends_the_same(page, capsys)


def test_infeasible_plan_offers_a_relaxation_button(small_plan_page: PlanPage, qtbot: QtBot) -> None:
    inputs, card = small_plan_page.workbench.inputs, small_plan_page.workbench.card
    small_plan_page.presenter.set_simulation_delay(1)
    set_number(inputs.rows["plan.budget"], 10)
    wait_for_simulation(small_plan_page, qtbot)
    assert card.sentence.text() == "No offer sustains a peak of 60 req/s within p95 latency < 1000 ms."
    assert "2 offers: " in card.blockers.text()
    relax_button = find_relaxation_button(card, "Set budget to 4380 USD/month")
    qtbot.mouseClick(relax_button, Qt.MouseButton.LeftButton)
    wait_for_plan(small_plan_page, qtbot)
    assert get_recommendation(small_plan_page) == ("acme/c2@here", 6)


def find_relaxation_button(card: PlanCard, text: str) -> QPushButton:
    return next(button for button in card.relaxations.findChildren(QPushButton) if button.text() == text)


def test_plan_card_has_cost_probability_and_sensitivity_of_the_selected_offer(
    small_plan_page: PlanPage, qtbot: QtBot
) -> None:
    bench, card = small_plan_page.workbench, small_plan_page.workbench.card
    properties = card.properties.texts()
    assert properties["Monthly cost"] == "$4,380"
    assert properties["Instances"] == "6 (5 for load, 1 spare)"
    assert "with one instance fewer" in properties["Probability of meeting SLO"]
    assert "peak" in card.reasons.text()
    assert "needs one more instance" in card.sensitivity_notes.text()
    assert len(card.sensitivity.texts()) >= 5
    row = bench.offers.model.find_row("acme/c4@here")
    assert row is not None
    bench.offers.table.selectRow(row)
    assert bench.card.title.text() == "Alternative offer"
    assert bench.card.sentence.text().startswith("4 × acme/c4@here")
    assert card.reasons.text() == "• $4,380/month more (100 %): 4 instead of 6 instances; $3/h instead of $1/h each."
    assert card.capacity.texts()[1][0] == "3 (planned)"
    qtbot.mouseClick(bench.chart.pin_button, Qt.MouseButton.LeftButton)
    assert bench.pinned_offers == ("acme/c4@here",)
    assert bench.offers.pin_button.isChecked()
    qtbot.mouseClick(bench.offers.pin_button, Qt.MouseButton.LeftButton)
    assert list(bench.pinned_offers) == []
    assert not bench.chart.pin_button.isChecked()
    qtbot.mouseClick(bench.card.back_button, Qt.MouseButton.LeftButton)
    assert bench.card.title.text() == "Recommendation"
    assert bench.offers.selected_offer() is None
    bench.chart.offer_selected.emit("acme/c4@here")
    assert bench.offers.selected_offer() == "acme/c4@here"


def test_imported_price_list_and_custom_offer_join_the_catalog(
    small_plan_page: PlanPage, qtbot: QtBot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(plan_sources.write_file(tmp_path / "own.yaml", plan_sources.OFFERS))
    small_plan_page.open_prices(path)
    wait_for_plan(small_plan_page, qtbot)
    plan = small_plan_page.presenter.state.plan
    assert plan is not None
    assert any(fleet.offer == "own/rack@cellar" for fleet in plan.offers)
    assert small_plan_page.workbench.offers.edit_price("own/rack@cellar", "0.01")
    wait_for_plan(small_plan_page, qtbot)
    assert small_plan_page.presenter.state.error is None
    assert_command_recommends_the_same(small_plan_page, capsys)
    stack = small_plan_page.undo_stack()
    assert stack is not None
    stack.undo()
    stack.undo()
    wait_for_plan(small_plan_page, qtbot)
    form = small_plan_page.workbench.offers.form
    form.open_form()
    form.vcpus.setValue(2)
    form.price.setValue(0.01)
    qtbot.mouseClick(form.add_button, Qt.MouseButton.LeftButton)
    wait_for_plan(small_plan_page, qtbot)
    plan = small_plan_page.presenter.state.plan
    assert plan is not None
    assert any(fleet.offer == "mine/server@here" for fleet in plan.offers)
    assert form.isHidden()


def test_plan_page_is_exported_and_not_clipped_at_twice_the_text_size(
    small_plan_page: PlanPage, qtbot: QtBot, tmp_path: Path
) -> None:
    small_plan_page.resize(1440, 900)
    QApplication.processEvents()
    assert (unnamed_widgets(small_plan_page), unreachable_widgets(small_plan_page), clipped_texts(small_plan_page)) == (
        [],
        [],
        [],
    )
    small_plan_page.theme_controller.scale_text(2.0)
    QApplication.processEvents()
    assert (small_plan_page.width(), clipped_texts(small_plan_page)) == (1440, [])

    def export(kind: ExportKind, name: str) -> None:
        small_plan_page.export_to(kind, tmp_path / name)
        qtbot.waitUntil(lambda: name in small_plan_page.strip.text())

    export("plan", "out.yaml")
    export("report", "out.html")
    export("k8s", "k8s")
    export("terraform", "tf")
    export("csv", "csv")
    assert read_plan(tmp_path / "out.yaml").plan == small_plan_page.presenter.state.plan
    assert len(list(tmp_path.glob("catalogue-*.csv"))) == 1
    assert "<html" in (tmp_path / "out.html").read_text()
    assert list((tmp_path / "k8s").iterdir())


def test_run_without_traffic_is_planned_for_an_assumed_peak(page: PlanPage, tmp_path: Path, qtbot: QtBot) -> None:
    run = plan_sources.endpoint_run(tmp_path / "run", spec=plan_sources.ENDPOINT_SPEC.partition("traffic:")[0])
    page.presenter.set_simulation_delay(600_000)
    page.open_sources((Path(run),))
    wait_for_plan(page, qtbot)
    question = page.presenter.state.inputs
    assert question is not None
    assert question.traffic.peak_per_s == 100
    assert "A peak of 100 req/s is assumed." in page.strip.text()
    assert "--set traffic.peak=100/s" in (page.command_line() or "")


def test_share_of_prefix_cached_input_is_asked_only_for_a_language_model_by_its_shape(
    small_plan_page: PlanPage, qtbot: QtBot
) -> None:
    row = next(row for row in small_plan_page.workbench.inputs.traffic.rows if row.key == "traffic.prefix_cached")
    assert row.isHidden()
    traffic = Traffic(20.0, "flat", (1.0,) * 24, prefix_cached_share=0.6)
    model = AssumedModel("llama-3.1-8b", load_language_models()["llama-3.1-8b"].shape)
    row.show_inputs(planning_inputs(measured=(), assumed_model=model, traffic=traffic), Edits())
    assert not row.isHidden()
    with qtbot.waitSignal(row.change_requested) as change:
        set_number(row, 75)
    assert change.args is not None
    assert change.args[0].values == (("traffic.prefix_cached", "75%"),)
