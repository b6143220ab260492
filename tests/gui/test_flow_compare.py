"""Flow (f) of the window: two runs checked in the library, compared and exported."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QScrollArea, QStyle, QStyleOptionViewItem, QWidget
from pytestqt.qtbot import QtBot

from app.gui.docks.jobs import JobsDock
from app.gui.formatting import NOT_AVAILABLE
from app.gui.home.page import HomePage
from app.gui.window import Window
from app.records.comparison import Comparison
from tests.app.gui.compare.conftest import store_run
from tests.fakes.program import SizewiseInProcess
from tests.fakes.repeated import result, steady
from tests.fakes.window_actions import InputCounter, find_button, is_page_shown, press, press_key

OpenWindow = Callable[[], Window]
_PATIENCE_MS = 90_000


def test_comparison_of_two_checked_runs_equals_that_of_the_command(
    open_window: OpenWindow, library_runs: tuple[Path, ...], qtbot: QtBot, tmp_path: Path, home: Path
) -> None:
    window = open_window()
    window.show_page("library")
    tab = window.pages.library.runs_tab
    qtbot.waitUntil(lambda: tab.model.rowCount() == 2)
    for run in library_runs:
        row_index = tab.model.find_visible_row(str(run))
        assert row_index is not None
        tab.table.selectRow(row_index)
        qtbot.keyClick(tab.table, Qt.Key.Key_Space)
    press_key(window, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    page = window.pages.compare
    qtbot.waitUntil(is_page_shown(window, "compare"))
    presenter = page.presenter
    qtbot.waitUntil(lambda: presenter.outcome is not None and not presenter.is_busy)
    assert page.run_directories() == library_runs
    line = page.command_line()
    assert line is not None
    process = SizewiseInProcess(home, tmp_path)(*shlex.split(line)[1:], "--json")
    outcome = presenter.outcome
    assert outcome is not None
    if outcome.comparison is None:  # the machine was too busy for valid runs
        assert process.returncode == 2
        assert "INVALID" in process.stderr
        assert any("INVALID" in (entry.problem or "") for entry in outcome.request.entries)
        return
    assert outcome.comparison == msgspec.json.decode(process.stdout, type=Comparison)
    verdict = page.verdict_tab
    differences, changes = verdict.differences, verdict.changes
    assert differences.isVisible()  # the profiles differ: one scripted server is slower
    assert differences.frame_model.rowCount() == len(outcome.comparison.differences)
    assert differences.mapTo(verdict, QPoint()).y() < changes.mapTo(verdict, QPoint()).y()
    verdict.all_metrics_box.click()
    frame = changes.frame_model.frame
    frame = frame[frame["verdict"] != NOT_AVAILABLE]  # metrics that only one run has
    expected_changes = outcome.comparison.changes
    assert list(zip(frame["stage"], frame["verdict"], strict=True)) == [
        (change.stage, change.verdict) for change in expected_changes
    ]
    page.export_to(tmp_path / "comparison.html")
    qtbot.waitUntil((tmp_path / "comparison.html").exists)
    assert outcome.section is not None
    assert outcome.section.headline in (tmp_path / "comparison.html").read_text()
    assert verdict.sentence.casefold() in outcome.section.headline.casefold()


def click_on(qtbot: QtBot, widget: QWidget, position: QPoint | None = None) -> None:
    """Click as a user does: the widget must be enabled and visible at the position."""
    position = widget.rect().center() if position is None else position
    assert widget.isVisible()
    assert widget.isEnabled()
    assert widget.visibleRegion().contains(position)
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=position)


def test_two_runs_are_compared_in_three_clicks_from_library_and_one_from_home(
    open_window: OpenWindow, home: Path, qtbot: QtBot
) -> None:
    runs = tuple(
        store_run(
            result(replace(steady(10.0 + row_index, 0.1), in_headline=True), run_id=f"20261127-12000{row_index}-short"),
            1,
        )
        for row_index in range(2)
    )
    window = open_window()
    window.show_page("library")
    tab = window.pages.library.runs_tab
    qtbot.waitUntil(lambda: tab.model.rowCount() == 2)
    with InputCounter() as hand:
        for run in runs:
            row_index = tab.model.find_visible_row(str(run))
            assert row_index is not None
            index = tab.model.index(row_index, 0)
            option = QStyleOptionViewItem()
            tab.table.initViewItemOption(option)
            option.rect = tab.table.visualRect(index)
            option.features |= QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
            box = QStyle.SubElement.SE_ItemViewItemCheckIndicator
            click_on(qtbot, tab.table.viewport(), tab.table.style().subElementRect(box, option, tab.table).center())
        assert tab.checked_directories() == runs
        button = find_button(tab, "Compare 2 runs")
        assert button is not None
        click_on(qtbot, button)
    qtbot.waitUntil(is_page_shown(window, "compare"))
    assert window.pages.compare.run_directories() == runs
    assert hand.clicks == 3

    window.show_page("home")
    page = window.pages.current
    assert isinstance(page, HomePage)
    qtbot.waitUntil(lambda: find_button(page.run_rows, "Compare") is not None)
    compare_button = find_button(page.run_rows, "Compare")
    assert compare_button is not None
    page.findChildren(QScrollArea)[0].ensureWidgetVisible(compare_button)
    with InputCounter() as hand:
        click_on(qtbot, compare_button)
    qtbot.waitUntil(is_page_shown(window, "compare"))
    assert window.pages.compare.run_directories() == runs
    assert hand.clicks == 1


SHORT = """sizewise: 1
name: short
target:
  protocol: http
  scripted: {delay: 5ms, spread: 0.3, parallel: 8}
workload: {body: {features: [0.1, 0.2]}}
load:
  warmup: 0s
  stages: [{name: steady, arrivals: constant, rate: 40/s, duration: 1s}]
slo: ["latency_ms.p95 < 200"]
"""


@pytest.fixture
def short_runs(home: Path, tmp_path: Path) -> tuple[Path, ...]:
    """Two runs of one profile with too few responses for a conclusive comparison; a busy machine makes them INVALID."""
    profile = tmp_path / "short.yaml"
    profile.write_text(SHORT)
    runs = tuple(home / "runs" / f"20261127-12000{index}-short-000{index}" for index in range(2))
    for run in runs:
        process = SizewiseInProcess(home, tmp_path, draws=False).measured(str(profile), out=run)
        assert process.returncode in (0, 4), process.stderr
    return runs


@pytest.mark.soak  # test_pairs_panel.py watches running pairs, and seams/test_comparison.py measures a pair
def test_another_ab_pair_is_measured_and_joins_the_comparison(
    open_window: OpenWindow, short_runs: tuple[Path, ...], qtbot: QtBot, tmp_path: Path, home: Path
) -> None:
    window = open_window()
    window.navigation.comparison_requested.emit(short_runs)
    page = window.pages.compare
    presenter, panel, card = page.presenter, page.pairs_panel, page.verdict_tab.pairs_card
    qtbot.waitUntil(lambda: presenter.outcome is not None and not presenter.is_busy)
    if any("INVALID" in (entry.problem or "") for entry in presenter.request.entries):
        assert not card.isVisible()
        return
    card.pair_count_box.setValue(1)
    press(qtbot, card, "Run 1 more pair")
    qtbot.waitUntil(lambda: panel.progress.text == "Pair 1 of 1: measuring baseline")
    assert find_button(card, "Run 1 more pair") is None
    jobs = window.findChild(JobsDock)
    assert jobs is not None
    qtbot.waitUntil(lambda: jobs.phase.text() == panel.progress.text)
    qtbot.waitUntil(lambda: not panel.state.is_running, timeout=_PATIENCE_MS)
    if panel.state.complete_pair_count == 0:  # the machine was too busy for a valid pair
        assert "exit code 4" in panel.strip.text()
        assert page.run_directories() == short_runs
        return
    qtbot.waitUntil(lambda: presenter.outcome is not None and not presenter.is_busy)
    (baseline,), (candidate,) = panel.state.run_directories("baseline"), panel.state.run_directories("candidate")
    assert page.run_directories() == (short_runs[0], baseline, short_runs[1], candidate)
    assert {baseline.parent, candidate.parent} == {home / "runs"}
    line, outcome = page.command_line(), presenter.outcome
    assert line is not None
    assert outcome is not None
    process = SizewiseInProcess(home, tmp_path)(*shlex.split(line)[1:], "--json")
    assert outcome.comparison == msgspec.json.decode(process.stdout, type=Comparison)
    qtbot.waitUntil(lambda: jobs.finished_model.rowCount() == 1)
