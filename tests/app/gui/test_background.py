from __future__ import annotations

import threading
from collections.abc import Callable

from PySide6.QtCore import QObject, QThreadPool
from pytestqt.qtbot import QtBot

from app.gui.background import LatestRunner, submit


def test_work_is_done_elsewhere_and_reported_in_the_windows_thread(qtbot: QtBot) -> None:
    owner = QObject()
    reported: list[tuple[int, int]] = []
    errors: list[Exception] = []
    submit(owner, threading.get_ident, lambda ident: reported.append((ident, threading.get_ident())), errors.append)
    qtbot.waitUntil(lambda: bool(reported or errors))
    worked, received = reported[0]
    assert worked != threading.get_ident()
    assert received == threading.get_ident()


def test_what_fails_is_reported_as_an_error(qtbot: QtBot) -> None:
    owner = QObject()
    reported: list[object] = []
    submit(owner, lambda: 1 // 0, reported.append, lambda error: reported.append(type(error)))
    qtbot.waitUntil(lambda: bool(reported))
    assert reported == [ZeroDivisionError]


def test_nobody_is_reported_once_the_owner_is_gone(qtbot: QtBot) -> None:
    owner, go = QObject(), threading.Event()
    reported: list[object] = []
    submit(owner, lambda: go.wait(60), reported.append, reported.append)
    owner.deleteLater()
    with qtbot.waitSignal(owner.destroyed):
        pass
    go.set()
    assert QThreadPool.globalInstance().waitForDone(60_000)
    seen: list[object] = []
    other = QObject()
    submit(other, lambda: 1, seen.append, seen.append)
    qtbot.waitUntil(lambda: bool(seen))
    assert reported == []


def test_of_a_question_that_changes_only_the_newest_answer_is_reported(qtbot: QtBot) -> None:
    owner = QObject()
    reported: list[int | Exception] = []
    worked: list[int] = []
    gate = threading.Event()
    latest: LatestRunner[int] = LatestRunner(owner, reported.append, reported.append)

    def answer(number: int) -> Callable[[], int]:
        def work() -> int:
            worked.append(number)
            gate.wait(60)
            return number

        return work

    for number in range(5):
        latest.request(answer(number))
    gate.set()
    qtbot.waitUntil(lambda: reported == [4])
    assert worked == [0, 4], "what was asked in between was worked on"
    assert not latest.is_busy


def test_what_is_forgotten_is_reported_to_nobody_and_the_next_question_is_answered(qtbot: QtBot) -> None:
    owner, gate = QObject(), threading.Event()
    reported: list[object] = []
    latest: LatestRunner[object] = LatestRunner(owner, reported.append, reported.append)
    latest.request(lambda: gate.wait(60))
    latest.cancel()
    gate.set()
    latest.request(lambda: "next")
    qtbot.waitUntil(lambda: reported == ["next"])
