from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.assembly import Parts, assemble
from app.gui.closing import ClosingDialog
from app.gui.window import Window
from app.records.control import Answer, StopRun, Wish
from tests.fakes.driving import find_button, shows
from tests.fakes.stored_pairs import WrittenPairs
from tests.fakes.stored_runs import going_on


@pytest.fixture
def going() -> Iterator[WrittenPairs]:
    written = WrittenPairs()
    yield written
    written.end()


@pytest.fixture
def opened(going: WrittenPairs, qtbot: QtBot, qapp: QApplication) -> Iterator[tuple[Window, Parts]]:
    """A window that is opened while pairs go on."""
    window, parts = assemble(qapp)  # qtbot would close it before `may_close` is put aside
    window.show()
    try:
        qtbot.waitUntil(lambda: parts.queue.running is not None)
        yield window, parts
    finally:
        _close(window)


def _close(window: Window) -> None:
    window.may_close = None
    window.close()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def run_of(going: WrittenPairs, home: Path, name: str) -> Path:
    run = going_on(home / "runs" / name, os.getpid(), name)
    going.tell_begun(1, "base", run)
    return run


def has_heard(going: WrittenPairs, heard: list[Wish]) -> bool:
    def obey(wish: Wish) -> Answer:
        heard.append(wish)
        return Answer(True, "stopping")

    going.store.obey_wishes(obey)
    return bool(heard)


def test_the_next_window_attaches_and_tells_of_them_everywhere(
    opened: tuple[Window, Parts], going: WrittenPairs, home: Path, qtbot: QtBot
) -> None:
    window, parts = opened
    job = parts.queue.running
    assert job is not None
    assert (job.launch.kind, job.launch.directory) == ("pairs", going.directory)
    qtbot.waitUntil(lambda: "Pairs are still measured" in window.strip.text())
    run_of(going, home, "first")
    line = "Pair 1 of 2: the baseline is measured"
    qtbot.waitUntil(lambda: parts.jobs.phase.text() == line)
    qtbot.waitUntil(lambda: line in parts.launching.bar.progress.text())
    assert parts.launching.bar.stop.isEnabled()
    assert window.pages.compare.contents.pairs.progress.line == line


def test_live_goes_on_to_the_next_run_and_stop_still_means_the_pairs(
    opened: tuple[Window, Parts], going: WrittenPairs, home: Path, qtbot: QtBot
) -> None:
    window, parts = opened
    first = run_of(going, home, "first")
    qtbot.waitUntil(lambda: parts.queue.running is not None and parts.queue.running.measured == first)
    window.navigation.run_watched.emit(first)
    qtbot.waitUntil(shows(window, "live"))
    second = run_of(going, home, "second")
    qtbot.waitUntil(lambda: window.pages.live.state.directory == second)
    assert "pairs of scoring" in parts.launching.bar.progress.text()
    parts.launching.stop()
    assert window.pages.shown.key == "compare"
    assert "Stop these pairs?" in window.pages.compare.contents.pairs.stop_strip.text()
    parts.launching.stop()
    heard = list[Wish]()
    qtbot.waitUntil(lambda: has_heard(going, heard))
    assert heard == [StopRun()]


def test_closing_asks_about_them_and_stops_them_where_that_is_chosen(
    opened: tuple[Window, Parts], going: WrittenPairs, qtbot: QtBot
) -> None:
    window, _ = opened
    qtbot.waitUntil(lambda: window.pages.compare.contents.pairs.state.going == "running")

    def stop() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, ClosingDialog)
        button = find_button(dialog, "Stop it")
        assert button is not None
        button.click()

    QTimer.singleShot(0, window, stop)
    assert window.may_close is not None
    assert window.may_close()
    heard = list[Wish]()
    qtbot.waitUntil(lambda: has_heard(going, heard))
    assert heard == [StopRun()]
    assert window.pages.compare.contents.pairs.state.going == "stopping"
    assert window.pages.found("live") is None
