from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app.gui.closing import Closing, ClosingDialog


@pytest.fixture
def window(qtbot: QtBot) -> QWidget:
    made = QWidget()
    qtbot.addWidget(made)
    return made


def pressing(name: str, seen: list[str]) -> Callable[[], None]:
    def press() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, ClosingDialog)
        seen.append(name)
        next(one for one in dialog.findChildren(QPushButton) if one.accessibleName() == name).click()

    return press


def refuse() -> None:
    dialog = QApplication.activeModalWidget()
    if isinstance(dialog, ClosingDialog):
        dialog.reject()


def answered(window: QWidget, closing: Closing, name: str, seen: list[str], stopped: list[str]) -> bool:
    QTimer.singleShot(0, window, pressing(name, seen))
    return closing.may_close("fraud", 2, lambda: stopped.append("stopped"))


def test_nothing_is_asked_while_nothing_runs(window: QWidget) -> None:
    assert Closing(window).may_close(None, 0, lambda: pytest.fail("nothing is to be stopped"))


def test_left_running_is_remembered_for_the_session(window: QWidget) -> None:
    closing, seen, stopped = Closing(window), list[str](), list[str]()
    assert answered(window, closing, "Leave it running", seen, stopped)
    QTimer.singleShot(0, window, refuse)
    assert closing.may_close("fraud", 0, lambda: stopped.append("stopped")), "it was asked again"
    QApplication.processEvents()
    assert (seen, stopped) == (["Leave it running"], [])


def test_stopping_stops_and_closes(window: QWidget) -> None:
    stopped = list[str]()
    assert answered(window, Closing(window), "Stop it", [], stopped)
    assert stopped == ["stopped"]


def test_cancelling_keeps_the_window_and_asks_again(window: QWidget) -> None:
    closing, seen, stopped = Closing(window), list[str](), list[str]()
    for _ in range(2):
        assert not answered(window, closing, "Cancel", seen, stopped)
    assert (seen, stopped) == (["Cancel", "Cancel"], [])


def test_it_says_what_becomes_of_the_run_and_of_what_waits(window: QWidget, qtbot: QtBot) -> None:
    dialog = ClosingDialog(window, "fraud", 2)
    qtbot.addWidget(dialog)
    text = " ".join(str(one.property("text")) for one in dialog.findChildren(QWidget) if one.property("text"))
    assert "fraud is still being measured" in text
    assert "Jobs that wait are kept: 2" in text
