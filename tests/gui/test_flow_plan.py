"""Flow (e): a plan is opened, its day and prices edited, an offer selected; the command prints the same plan."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from app.cli.main import main
from app.gui.plan.offers_model import COLUMNS, PRICE_COLUMN
from app.gui.plan.pareto_chart import ParetoChart
from app.gui.plan.rows import ChoiceRow
from app.gui.window import Window
from tests.fakes import plan_sources, results, small_plan
from tests.fakes.window_actions import InputCounter, fill_in, is_page_shown, press, press_key

MAX_CLICKS = 6


def test_opened_plan_is_edited_and_equals_that_of_its_command(
    open_window: Callable[[], Window], qtbot: QtBot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(plan_sources.write_plan_file(tmp_path / "small.yaml", small_plan.planning_inputs()))
    window = open_window()
    window.navigation.plan_requested.emit((path,))
    page = window.pages.plan
    assert window.pages.current is page
    presenter = page.presenter
    qtbot.waitUntil(lambda: presenter.state.phase == "simulated", timeout=60_000)
    workbench = page.workbench
    workbench.inputs.traffic.day.curve.select_hour(12)
    qtbot.keyClick(workbench.inputs.traffic.day.curve, Qt.Key.Key_PageUp)
    assert workbench.offers.edit_price("acme/c4@here", "0.5")
    qtbot.waitUntil(lambda: presenter.state.is_current and presenter.state.phase == "simulated", timeout=60_000)
    plan = presenter.state.plan
    assert plan is not None
    assert plan.recommendation is not None
    fleet = plan.recommendation.fleet
    assert workbench.card.sentence.text().startswith(f"{fleet.instances} × {fleet.offer}: $")
    assert fleet.offer == "acme/c4@here"
    line = page.command_line()
    assert line is not None
    capsys.readouterr()
    main([*shlex.split(line)[1:], "--json"])
    assert json.loads(capsys.readouterr().out)["recommendation"]["sentence"] == plan.recommendation.sentence


def test_stored_run_is_planned_and_an_offer_selected_in_the_chart(
    open_window: Callable[[], Window], qtbot: QtBot, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = tuple(replace(stage, arrival_kind="poisson") for stage in results.full_run().result.stages)
    run = Path(plan_sources.endpoint_run(home / "runs" / "20261127-120000-bench-0000", stages=stages))
    window = open_window()
    presenter = window.pages.plan.presenter
    presenter.set_simulation_delay(600_000)  # simulating the whole catalog takes long
    window.show_page("library")
    library = window.pages.library.runs_tab
    qtbot.waitUntil(lambda: library.model.rowCount() == 1)
    library.table.selectRow(0)
    press(qtbot, library, "Plan from run")
    qtbot.waitUntil(is_page_shown(window, "plan"))
    page, workbench = window.pages.plan, window.pages.plan.workbench
    qtbot.waitUntil(lambda: presenter.state.phase == "preview" and presenter.state.is_current, timeout=60_000)

    def is_current() -> bool:
        return presenter.state.is_current

    fill_in(qtbot, workbench.inputs.traffic.peak.rate.lineEdit(), "3000")
    qtbot.waitUntil(lambda: "traffic.peak=3000.0/s" in (page.command_line() or ""))
    qtbot.waitUntil(is_current, timeout=60_000)
    plan = presenter.state.plan
    assert plan is not None
    assert plan.recommendation is not None
    best_offer = plan.recommendation.fleet.offer
    assert plan.traffic.peak_per_s == 3000
    row = workbench.offers.model.find_row(best_offer)
    assert row is not None
    price_index = workbench.offers.model.index(row, COLUMNS.index(PRICE_COLUMN))
    workbench.offers.table.setCurrentIndex(price_index)
    workbench.offers.table.edit(price_index)
    editor = workbench.offers.table.findChild(QLineEdit)
    assert editor is not None
    fill_in(qtbot, editor, "900")
    qtbot.waitUntil(lambda: f"price.{best_offer}=900" in (page.command_line() or ""))
    qtbot.waitUntil(is_current, timeout=60_000)
    assert workbench.card.title.text() == "Alternative offer"
    assert best_offer in workbench.card.sentence.text()  # its row is selected
    press_key(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: "price." not in (page.command_line() or ""))
    qtbot.waitUntil(is_current, timeout=60_000)
    assert workbench.card.title.text() == "Recommendation"
    assert workbench.card.sentence.text().startswith(f"{plan.recommendation.fleet.instances} × {best_offer}: $")
    selected_offer = click_isolated_point(qtbot, workbench.chart, excluded=best_offer)
    assert workbench.card.title.text() == "Alternative offer"
    assert selected_offer in workbench.card.sentence.text()
    assert workbench.offers.selected_offer() == selected_offer
    press_key(window, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    line = QGuiApplication.clipboard().text()
    assert line == f"sizewise plan {run} --set traffic.peak=3000.0/s"
    capsys.readouterr()
    assert main([*shlex.split(line)[1:], "--json", "--estimate"]) == 0
    recommendation = json.loads(capsys.readouterr().out)["recommendation"]
    assert recommendation["fleet"]["offer"] == best_offer
    assert recommendation["sentence"] == plan.recommendation.sentence


def test_h100_and_l4_are_compared_for_900_req_per_s_in_six_clicks(
    open_window: Callable[[], Window], qtbot: QtBot, qapp: QApplication, home: Path
) -> None:
    spec = plan_sources.ENDPOINT_SPEC.replace("model: digits", "model: digits, hardware: {accelerator: l4}")
    run = Path(plan_sources.endpoint_run(home / "runs" / "run", spec.replace("900/s", "90/s")))
    window = open_window()
    page, workbench = window.pages.plan, window.pages.plan.workbench
    page.presenter.set_simulation_delay(600_000)
    window.navigation.plan_requested.emit((run,))
    qtbot.waitUntil(lambda: page.presenter.state.phase == "preview", timeout=60_000)
    double_click_ms = qapp.doubleClickInterval()

    def click(widget: QWidget, position: QPoint | None = None) -> None:
        qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=position or widget.rect().center())

    with InputCounter() as hand:
        rate = workbench.inputs.traffic.peak.rate.lineEdit()
        click(rate)
        rate.selectAll()
        qtbot.keyClicks(rate, "900\r")
        unmeasured = workbench.inputs.rows["plan.unmeasured_gpus"]
        assert isinstance(unmeasured, ChoiceRow)
        workbench.inputs.ensureWidgetVisible(unmeasured.field)
        qapp.setDoubleClickInterval(0)  # a list ignores clicks within this time after it opens
        click(unmeasured.field)
        choices = unmeasured.field.view()
        choices.keyboardSearch("Estimate (fp16)")
        qapp.processEvents()
        click(choices.viewport(), choices.visualRect(choices.currentIndex()).center())
        qapp.setDoubleClickInterval(double_click_ms)
        qtbot.waitUntil(lambda: "plan.unmeasured_gpus={dtype: fp16}" in " ".join(page.presenter.state.edits.overrides))
        qtbot.waitUntil(lambda: page.presenter.state.is_current, timeout=60_000)
        table, model = workbench.offers.table, workbench.offers.model
        click(workbench.offers.filter_field)
        qtbot.keyClicks(workbench.offers.filter_field, "h100|l4")
        pinned = []
        for accelerator in ("1 × h100-sxm5-80gb", "1 × l4"):
            frame = model.visible_frame()
            (row, *_) = (index for index, name in enumerate(frame["accelerators"]) if name == accelerator)
            pinned.append(str(frame["offer"].iloc[row]))
            table.scrollTo(model.index(row, 0))
            box = table.visualRect(model.index(row, 0))
            click(table.viewport(), QPoint(box.left() + 14, box.center().y()))
    assert hand.clicks == MAX_CLICKS
    assert workbench.pinned_offers == tuple(pinned)
    assert workbench.comparison.isVisible()
    texts = workbench.comparison.texts()
    plan = page.presenter.state.plan
    assert plan is not None
    assert plan.traffic.peak_per_s == 900
    for column, offer in enumerate(pinned):
        fleet = next(fleet for fleet in plan.offers if fleet.offer == offer)
        assert texts["Instances"][column].startswith(f"{fleet.instances} (")
    assert texts["Monthly cost (P10–P90)"][2][0] in "+−"


def click_isolated_point(qtbot: QtBot, front: ParetoChart, *, excluded: str) -> str:
    """Click the point that is farthest from all others and return its offer."""
    chart = front.chart
    points = [
        (chart.data_to_pixel(x, y), name.partition(" × ")[2])
        for series in chart.series()
        for x, y, name in zip(series.x, series.y, series.names, strict=False)
        if series.kind == "points"
    ]

    def compute_distance(index: int) -> float:
        position, offer = points[index]
        distances = [
            (other_position - position).manhattanLength() for other_position, other in points if other != offer
        ]
        return 0.0 if offer == excluded else min(distances)

    point, offer = points[max(range(len(points)), key=compute_distance)]
    qtbot.mouseClick(chart.plot.viewport(), Qt.MouseButton.LeftButton, pos=point.toPoint())
    return offer
