"""(a) From an empty home to a first result: one key."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from app.gui.charts.chart import Chart
from app.gui.home.page import HomePage
from app.gui.window import Window
from app.storage.run_directory import find_run
from tests.fakes.driving import press_key, shows

_LONGEST_MS = 240_000


def texts_of(window: Window) -> set[str]:
    return {label.text() for label in window.pages.results.findChildren(QLabel)}


def draws_something(window: Window) -> bool:
    return any(len(chart.frame()) for chart in window.pages.live.findChildren(Chart))


@pytest.mark.timeout(300)
def test_enter_starts_the_quick_check_and_its_result_comes(open_window: Callable[[], Window], qtbot: QtBot) -> None:
    window = open_window()
    home = window.pages.page("home")
    assert isinstance(home, HomePage)
    qtbot.waitUntil(lambda: QApplication.focusWidget() is home.quick)
    press_key(window, Qt.Key.Key_Return)
    qtbot.waitUntil(shows(window, "live"))
    qtbot.waitUntil(lambda: window.pages.live.state.phase == "model", timeout=60_000)
    qtbot.waitUntil(lambda: draws_something(window), timeout=60_000)
    qtbot.waitUntil(shows(window, "results"), timeout=_LONGEST_MS)
    run = find_run("last")
    qtbot.waitUntil(lambda: run.measured.verdict.status in texts_of(window), timeout=20_000)
    found = run.measured.max_rate  # holds of one second find none on an unquiet machine, and then there is no plan
    assert found is not None
    assert (run.measured.plan is None) == (found.per_s.value is None)
    assert window.pages.results.command_line() == f"sizewise report {run.run_id}"
