"""(a) From an empty home to a first result: one key."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from app.gui.charts.chart import Chart
from app.gui.home import presenter
from app.gui.home.page import HomePage
from app.gui.window import Window
from app.records.result import Result
from app.storage.run_directory import find_run, runs_home
from tests.fakes.driving import press_key, shows

_LONGEST_MS = 600_000
"""Seventy seconds on a quiet machine; on a busy one its report and plan wait for processor time."""


def texts_of(window: Window) -> set[str]:
    return {label.text() for label in window.pages.results.findChildren(QLabel)}


def draws_something(window: Window) -> bool:
    return any(len(chart.frame()) for chart in window.pages.live.findChildren(Chart))


def last_told() -> str:
    *_, last = sorted(runs_home().glob("*/events.jsonl"))
    return "\n".join(line[:300] for line in last.read_text().splitlines()[-5:])


def press_enter(window: Window, qtbot: QtBot) -> None:
    """On Home, and wait until Live draws what is measured."""
    window.show_page("home")
    home = window.pages.page("home")
    assert isinstance(home, HomePage)
    qtbot.waitUntil(lambda: QApplication.focusWidget() is home.quick_check_button)
    press_key(window, Qt.Key.Key_Return)
    qtbot.waitUntil(shows(window, "live"))
    qtbot.waitUntil(lambda: window.pages.live.state.phase == "model", timeout=60_000)
    qtbot.waitUntil(lambda: draws_something(window), timeout=60_000)


def shown_result(window: Window, qtbot: QtBot) -> Result:
    """Of the run, once Results shows it."""
    try:
        qtbot.waitUntil(shows(window, "results"), timeout=_LONGEST_MS)
    except qtbot.TimeoutError:
        raise AssertionError(f"no result, and this was told last: {last_told()}") from None
    run = find_run("last")
    command = f"sizewise report {run.run_id}"
    qtbot.waitUntil(lambda: window.pages.results.command_line() == command)
    return run.complete_result


def test_enter_starts_the_quick_check_and_what_it_measured_until_it_is_stopped_is_shown(
    open_window: Callable[[], Window], qtbot: QtBot
) -> None:
    window = open_window()
    press_enter(window, qtbot)
    qtbot.waitUntil(lambda: '"stage_finished"' in last_told(), timeout=60_000)
    window.pages.live.stop()
    window.pages.live.stop()
    result = shown_result(window, qtbot)
    assert result.name == "quickstart"
    assert [cause.id for cause in result.exit.causes] == ["interrupted"]
    assert any(stage.variant for stage in result.stages)
    qtbot.waitUntil(lambda: result.verdict.status in texts_of(window))


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_enter_starts_the_quick_check_and_its_result_comes(
    open_window: Callable[[], Window], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, _, seconds, *options = presenter.QUICK_CHECK
    assert (command, float(seconds)) == ("quickstart", 2)
    monkeypatch.setattr(presenter, "QUICK_CHECK", (command, "--seconds", "1", *options))  # half as long
    window = open_window()
    press_enter(window, qtbot)
    result = shown_result(window, qtbot)  # short steps find no rate on a busy machine, and the run says so
    qtbot.waitUntil(lambda: result.verdict.status in texts_of(window))
    assert result.max_rate is not None
    if result.max_rate.per_s.value is None:
        assert any(str(result.max_rate.per_s.reason) in text for text in texts_of(window)), "the page says why not"
    else:
        assert result.plan is not None
