from __future__ import annotations

import threading
from collections.abc import Callable

from PySide6.QtCore import QObject, QThreadPool
from pytestqt.qtbot import QtBot

from app.gui.background import LatestRunner, submit


def test_background_work_runs_in_another_thread_and_reports_in_the_gui_thread(qtbot: QtBot) -> None:
    owner = QObject()
    results: list[tuple[int, int]] = []
    errors: list[Exception] = []
    submit(owner, threading.get_ident, lambda ident: results.append((ident, threading.get_ident())), errors.append)
    qtbot.waitUntil(lambda: bool(results or errors))
    worked, received = results[0]
    assert worked != threading.get_ident()
    assert received == threading.get_ident()


def test_failed_background_work_reports_its_exception(qtbot: QtBot) -> None:
    owner = QObject()
    errors: list[object] = []
    submit(owner, lambda: 1 // 0, errors.append, lambda error: errors.append(type(error)))
    qtbot.waitUntil(lambda: bool(errors))
    assert errors == [ZeroDivisionError]


def test_background_result_is_dropped_after_its_owner_is_destroyed(qtbot: QtBot) -> None:
    owner, go = QObject(), threading.Event()
    results: list[object] = []
    submit(owner, lambda: go.wait(60), results.append, results.append)
    owner.deleteLater()
    with qtbot.waitSignal(owner.destroyed):
        pass
    go.set()
    assert QThreadPool.globalInstance().waitForDone(60_000)
    other_results: list[object] = []
    other = QObject()
    submit(other, lambda: 1, other_results.append, other_results.append)
    qtbot.waitUntil(lambda: bool(other_results))
    assert results == []


def test_latest_runner_reports_only_the_newest_request(qtbot: QtBot) -> None:
    owner = QObject()
    results: list[int | Exception] = []
    started_numbers: list[int] = []
    gate = threading.Event()
    latest: LatestRunner[int] = LatestRunner(owner, results.append, results.append)

    def make_work(number: int) -> Callable[[], int]:
        def work() -> int:
            started_numbers.append(number)
            gate.wait(60)
            return number

        return work

    for number in range(5):
        latest.request(make_work(number))
    gate.set()
    qtbot.waitUntil(lambda: results == [4])
    assert started_numbers == [0, 4], "requests in between are not started"
    assert not latest.is_busy


def test_canceled_request_is_not_reported_and_a_later_request_is(qtbot: QtBot) -> None:
    owner, gate = QObject(), threading.Event()
    results: list[object] = []
    latest: LatestRunner[object] = LatestRunner(owner, results.append, results.append)
    latest.request(lambda: gate.wait(60))
    latest.cancel()
    gate.set()
    latest.request(lambda: "next")
    qtbot.waitUntil(lambda: results == ["next"])
