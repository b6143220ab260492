"""(a) From an empty home to a first result: one key."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from app.gui.window import Window
from app.storage.run_directory import find_run
from tests.fakes.driving import press_key, shows

_LONGEST_MS = 170_000


def test_enter_starts_the_quick_check_and_its_result_comes(open_window: Callable[[], Window], qtbot: QtBot) -> None:
    window = open_window()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)
    press_key(window, Qt.Key.Key_Return)
    qtbot.waitUntil(shows(window, "live"))
    qtbot.waitUntil(lambda: window.pages.live.state.going == "running", timeout=30_000)
    qtbot.waitUntil(shows(window, "results"), timeout=_LONGEST_MS)
    run = find_run("last")
    verdict = run.measured.verdict.status
    texts = {label.text() for label in window.pages.results.findChildren(QLabel)}
    qtbot.waitUntil(
        lambda: bool({one.text() for one in window.pages.results.findChildren(QLabel)} & {verdict}), timeout=20_000
    )
    assert texts is not None
    assert run.measured.plan is not None
    assert window.pages.results.command_line() == f"sizewise report {run.run_id}"
