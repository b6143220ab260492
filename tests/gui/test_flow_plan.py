"""Flow (e): a plan opened in the window, its day pulled, a price tried, a fleet chosen; the terminal says the same."""

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
from tests.fakes import plan_sources, planned, results
from tests.fakes.driving import HandCounter, fill_in, press, press_key, shows

MAX_CLICKS = 6


def test_a_plan_is_opened_edited_and_copied_as_a_command(
    open_window: Callable[[], Window], qtbot: QtBot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(plan_sources.plan_file(tmp_path / "small.yaml", planned.question()))
    window = open_window()
    window.navigation.plan_requested.emit((path,))
    page = window.pages.plan
    assert window.pages.current is page
    presenter = page.presenter
    qtbot.waitUntil(lambda: presenter.state.phase == "simulated", timeout=60_000)
    bench = page.workbench
    bench.inputs.traffic.day.curve.select_hour(12)
    qtbot.keyClick(bench.inputs.traffic.day.curve, Qt.Key.Key_PageUp)
    assert bench.offers.edit_price("acme/c4@here", "0.5")
    qtbot.waitUntil(lambda: presenter.state.is_current and presenter.state.phase == "simulated", timeout=60_000)
    plan = presenter.state.plan
    assert plan is not None
    assert plan.recommendation is not None
    fleet = plan.recommendation.fleet
    assert bench.card.sentence.text().startswith(f"{fleet.instances} × {fleet.offer}: $")
    assert fleet.offer == "acme/c4@here"
    line = page.command_line()
    assert line is not None
    capsys.readouterr()
    main([*shlex.split(line)[1:], "--json"])
    assert json.loads(capsys.readouterr().out)["recommendation"]["sentence"] == plan.recommendation.sentence


def test_a_stored_run_is_planned_from_and_a_point_is_clicked(
    open_window: Callable[[], Window], qtbot: QtBot, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = tuple(replace(stage, arrival_kind="poisson") for stage in results.full_run().result.stages)
    run = Path(plan_sources.endpoint_run(home / "runs" / "20261127-120000-bench-0000", stages=stages))
    window = open_window()
    presenter = window.pages.plan.presenter
    presenter.set_simulation_delay(600_000)  # over the whole catalogue the simulation takes its time
    window.show_page("library")
    library = window.pages.library.runs_tab
    qtbot.waitUntil(lambda: library.model.rowCount() == 1)
    library.table.selectRow(0)
    press(qtbot, library, "Plan from run")
    qtbot.waitUntil(shows(window, "plan"))
    page, bench = window.pages.plan, window.pages.plan.workbench
    qtbot.waitUntil(lambda: presenter.state.phase == "preview" and presenter.state.is_current, timeout=60_000)

    def answered() -> bool:
        return presenter.state.is_current

    fill_in(qtbot, bench.inputs.traffic.peak.rate.lineEdit(), "3000")
    qtbot.waitUntil(lambda: "traffic.peak=3000.0/s" in (page.command_line() or ""))
    qtbot.waitUntil(answered, timeout=60_000)
    plan = presenter.state.plan
    assert plan is not None
    assert plan.recommendation is not None
    best = plan.recommendation.fleet.offer
    assert plan.traffic.peak_per_s == 3000
    row = bench.offers.model.find_row(best)
    assert row is not None
    place = bench.offers.model.index(row, COLUMNS.index(PRICE_COLUMN))
    bench.offers.table.setCurrentIndex(place)
    bench.offers.table.edit(place)
    editor = bench.offers.table.findChild(QLineEdit)
    assert editor is not None
    fill_in(qtbot, editor, "900")
    qtbot.waitUntil(lambda: f"price.{best}=900" in (page.command_line() or ""))
    qtbot.waitUntil(answered, timeout=60_000)
    assert bench.card.title.text() == "Alternative offer"
    assert best in bench.card.sentence.text()  # its row is chosen
    press_key(window, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: "price." not in (page.command_line() or ""))
    qtbot.waitUntil(answered, timeout=60_000)
    assert bench.card.title.text() == "Recommendation"
    assert bench.card.sentence.text().startswith(f"{plan.recommendation.fleet.instances} × {best}: $")
    chosen = click_a_point(qtbot, bench.chart, but_not=best)
    assert bench.card.title.text() == "Alternative offer"
    assert chosen in bench.card.sentence.text()
    assert bench.offers.selected_offer() == chosen
    press_key(window, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    line = QGuiApplication.clipboard().text()
    assert line == f"sizewise plan {run} --set traffic.peak=3000.0/s"
    capsys.readouterr()
    assert main([*shlex.split(line)[1:], "--json", "--estimate"]) == 0
    reported = json.loads(capsys.readouterr().out)["recommendation"]
    assert reported["fleet"]["offer"] == best
    assert reported["sentence"] == plan.recommendation.sentence


def test_an_h100_is_compared_with_an_l4_for_900_requests_a_second_in_six_clicks(
    open_window: Callable[[], Window], qtbot: QtBot, qapp: QApplication, home: Path
) -> None:
    spec = plan_sources.ENDPOINT_SPEC.replace("model: digits", "model: digits, hardware: {accelerator: l4}")
    run = Path(plan_sources.endpoint_run(home / "runs" / "run", spec.replace("900/s", "90/s")))
    window = open_window()
    page, bench = window.pages.plan, window.pages.plan.workbench
    page.presenter.set_simulation_delay(600_000)
    window.navigation.plan_requested.emit((run,))
    qtbot.waitUntil(lambda: page.presenter.state.phase == "preview", timeout=60_000)
    double_click_ms = qapp.doubleClickInterval()

    def click(widget: QWidget, place: QPoint | None = None) -> None:
        qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=place or widget.rect().center())

    with HandCounter() as hand:
        rate = bench.inputs.traffic.peak.rate.lineEdit()
        click(rate)
        rate.selectAll()
        qtbot.keyClicks(rate, "900\r")
        unmeasured = bench.inputs.rows["plan.unmeasured_gpus"]
        assert isinstance(unmeasured, ChoiceRow)
        bench.inputs.ensureWidgetVisible(unmeasured.field)
        qapp.setDoubleClickInterval(0)  # a list that has just opened takes no choice within this time
        click(unmeasured.field)
        choices = unmeasured.field.view()
        choices.keyboardSearch("Estimate (fp16)")
        qapp.processEvents()
        click(choices.viewport(), choices.visualRect(choices.currentIndex()).center())
        qapp.setDoubleClickInterval(double_click_ms)
        qtbot.waitUntil(lambda: "plan.unmeasured_gpus={dtype: fp16}" in " ".join(page.presenter.state.edits.overrides))
        qtbot.waitUntil(lambda: page.presenter.state.is_current, timeout=60_000)
        table, model = bench.offers.table, bench.offers.model
        click(bench.offers.filter_field)
        qtbot.keyClicks(bench.offers.filter_field, "h100|l4")
        pinned = []
        for accelerator in ("1 × h100-sxm5-80gb", "1 × l4"):
            shown = model.visible_frame()
            (row, *_) = (index for index, name in enumerate(shown["accelerators"]) if name == accelerator)
            pinned.append(str(shown["offer"].iloc[row]))
            table.scrollTo(model.index(row, 0))
            box = table.visualRect(model.index(row, 0))
            click(table.viewport(), QPoint(box.left() + 14, box.center().y()))
    assert hand.clicks == MAX_CLICKS
    assert bench.pinned_offers == tuple(pinned)
    assert bench.comparison.isVisible()
    texts = bench.comparison.texts()
    plan = page.presenter.state.plan
    assert plan is not None
    assert plan.traffic.peak_per_s == 900
    for column, offer in enumerate(pinned):
        fleet = next(fleet for fleet in plan.offers if fleet.offer == offer)
        assert texts["Instances"][column].startswith(f"{fleet.instances} (")
    assert texts["Monthly cost (P10–P90)"][2][0] in "+−"


def click_a_point(qtbot: QtBot, front: ParetoChart, *, but_not: str) -> str:
    """That stands apart from all others; which offer it is of."""
    chart = front.chart
    places = [
        (chart.data_to_pixel(x, y), name.partition(" × ")[2])
        for series in chart.series()
        for x, y, name in zip(series.x, series.y, series.names, strict=False)
        if series.kind == "points"
    ]

    def room(at: int) -> float:
        here, offer = places[at]
        others = [(there - here).manhattanLength() for there, other in places if other != offer]
        return 0.0 if offer == but_not else min(others)

    place, offer = places[max(range(len(places)), key=room)]
    qtbot.mouseClick(chart.plot.viewport(), Qt.MouseButton.LeftButton, pos=place.toPoint())
    return offer
