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
from tests.app.gui.compare.conftest import store
from tests.fakes.driving import HandCounter, find_button, press, press_key, shows
from tests.fakes.program import SizewiseHere
from tests.fakes.repeated import result, steady

OpenWindow = Callable[[], Window]
_PATIENCE_MS = 90_000


def test_two_ticked_runs_are_compared_as_the_command_compares_them(
    open_window: OpenWindow, kept_runs: tuple[Path, ...], qtbot: QtBot, tmp_path: Path, home: Path
) -> None:
    window = open_window()
    window.show_page("library")
    tab = window.pages.library.runs_tab
    qtbot.waitUntil(lambda: tab.model.rowCount() == 2)
    for run in kept_runs:
        place = tab.model.find_visible_row(str(run))
        assert place is not None
        tab.table.selectRow(place)
        qtbot.keyClick(tab.table, Qt.Key.Key_Space)
    press_key(window, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    page = window.pages.compare
    qtbot.waitUntil(shows(window, "compare"))
    presenter = page.presenter
    qtbot.waitUntil(lambda: presenter.outcome is not None and not presenter.is_busy)
    assert page.run_directories() == kept_runs
    line = page.command_line()
    assert line is not None
    printed = SizewiseHere(home, tmp_path)(*shlex.split(line)[1:], "--json")
    outcome = presenter.outcome
    assert outcome is not None
    if outcome.comparison is None:  # the machine was too busy for a run to be relied on
        assert printed.returncode == 2
        assert "INVALID" in printed.stderr
        assert any("INVALID" in (entry.problem or "") for entry in outcome.request.entries)
        return
    assert outcome.comparison == msgspec.json.decode(printed.stdout, type=Comparison)
    verdict = page.verdict_tab
    differing, changes = verdict.differences, verdict.changes
    assert differing.isVisible()  # another profile: its scripted server is slower
    assert differing.frame_model.rowCount() == len(outcome.comparison.differences)
    assert differing.mapTo(verdict, QPoint()).y() < changes.mapTo(verdict, QPoint()).y()
    verdict.all_metrics_box.click()
    shown = changes.frame_model.frame
    shown = shown[shown["verdict"] != NOT_AVAILABLE]  # metrics that only one run has
    reported = outcome.comparison.changes
    assert list(zip(shown["stage"], shown["verdict"], strict=True)) == [(one.stage, one.verdict) for one in reported]
    page.export_to(tmp_path / "comparison.html")
    qtbot.waitUntil((tmp_path / "comparison.html").exists)
    assert outcome.section is not None
    assert outcome.section.headline in (tmp_path / "comparison.html").read_text()
    assert verdict.sentence.casefold() in outcome.section.headline.casefold()


def click_on(qtbot: QtBot, widget: QWidget, place: QPoint | None = None) -> None:
    """As a user: the widget must be visible and enabled at the place."""
    place = widget.rect().center() if place is None else place
    assert widget.isVisible()
    assert widget.isEnabled()
    assert widget.visibleRegion().contains(place)
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=place)


def test_two_runs_are_compared_in_three_clicks_from_the_library_and_in_one_from_home(
    open_window: OpenWindow, home: Path, qtbot: QtBot
) -> None:
    runs = tuple(
        store(result(replace(steady(10.0 + place, 0.1), in_headline=True), run_id=f"20261127-12000{place}-short"), 1)
        for place in range(2)
    )
    window = open_window()
    window.show_page("library")
    tab = window.pages.library.runs_tab
    qtbot.waitUntil(lambda: tab.model.rowCount() == 2)
    with HandCounter() as hand:
        for run in runs:
            place = tab.model.find_visible_row(str(run))
            assert place is not None
            index = tab.model.index(place, 0)
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
    qtbot.waitUntil(shows(window, "compare"))
    assert window.pages.compare.run_directories() == runs
    assert hand.clicks == 3

    window.show_page("home")
    page = window.pages.current
    assert isinstance(page, HomePage)
    qtbot.waitUntil(lambda: find_button(page.run_rows, "Compare") is not None)
    compare = find_button(page.run_rows, "Compare")
    assert compare is not None
    page.findChildren(QScrollArea)[0].ensureWidgetVisible(compare)
    with HandCounter() as hand:
        click_on(qtbot, compare)
    qtbot.waitUntil(shows(window, "compare"))
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
    """Two of one profile: so few answers that what changed cannot be told. They may be INVALID, as the machine was."""
    profile = tmp_path / "short.yaml"
    profile.write_text(SHORT)
    runs = tuple(home / "runs" / f"20261127-12000{place}-short-000{place}" for place in range(2))
    for run in runs:
        done = SizewiseHere(home, tmp_path, draws=False).measured(str(profile), out=run)
        assert done.returncode in (0, 4), done.stderr
    return runs


@pytest.mark.soak  # test_pairs_panel.py follows pairs that go on, and seams/test_comparison.py measures one
def test_one_more_pair_is_measured_from_the_window_and_joins_what_is_compared(
    open_window: OpenWindow, short_runs: tuple[Path, ...], qtbot: QtBot, tmp_path: Path, home: Path
) -> None:
    window = open_window()
    window.navigation.comparison_requested.emit(short_runs)
    page = window.pages.compare
    presenter, part, card = page.presenter, page.pairs_panel, page.verdict_tab.pairs_card
    qtbot.waitUntil(lambda: presenter.outcome is not None and not presenter.is_busy)
    if any("INVALID" in (entry.problem or "") for entry in presenter.request.entries):
        assert not card.isVisible()
        return
    card.pair_count_box.setValue(1)
    press(qtbot, card, "Run 1 more pair")
    qtbot.waitUntil(lambda: part.progress.text == "Pair 1 of 1: measuring baseline")
    assert find_button(card, "Run 1 more pair") is None
    jobs = window.findChild(JobsDock)
    assert jobs is not None
    qtbot.waitUntil(lambda: jobs.phase.text() == part.progress.text)
    qtbot.waitUntil(lambda: not part.state.is_running, timeout=_PATIENCE_MS)
    if part.state.complete_pair_count == 0:  # the machine was too busy for three runs in a row to be relied on
        assert "exit code 4" in part.strip.text()
        assert page.run_directories() == short_runs
        return
    qtbot.waitUntil(lambda: presenter.outcome is not None and not presenter.is_busy)
    (baseline,), (candidate,) = part.state.run_directories("baseline"), part.state.run_directories("candidate")
    assert page.run_directories() == (short_runs[0], baseline, short_runs[1], candidate)
    assert {baseline.parent, candidate.parent} == {home / "runs"}
    line, outcome = page.command_line(), presenter.outcome
    assert line is not None
    assert outcome is not None
    printed = SizewiseHere(home, tmp_path)(*shlex.split(line)[1:], "--json")
    assert outcome.comparison == msgspec.json.decode(printed.stdout, type=Comparison)
    qtbot.waitUntil(lambda: jobs.finished_model.rowCount() == 1)
