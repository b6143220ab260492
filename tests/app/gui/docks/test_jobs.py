from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app.gui.docks.job_queue import JobQueue
from app.gui.docks.jobs import JobsDock
from app.gui.navigation import Launch, Navigation
from app.gui.settings import open_settings
from tests.fakes.stored_pairs import StoredPairs


@pytest.fixture
def queue(owner: QWidget) -> JobQueue:
    return JobQueue(open_settings(), owner)


@pytest.fixture
def dock(qtbot: QtBot, navigation: Navigation, queue: JobQueue) -> JobsDock:
    dock = JobsDock(navigation, queue)
    qtbot.addWidget(dock)
    dock.show()
    return dock


def add(queue: JobQueue, tmp_path: Path, *names: str) -> None:
    for name in names:
        queue.add(Launch(("run", name), tmp_path / name, name))


def press(qtbot: QtBot, dock: JobsDock, name: str) -> None:
    (button,) = (
        candidate
        for candidate in dock.findChildren(QPushButton)
        if candidate.accessibleName() == name and candidate.isVisible()
    )
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_jobs_dock_without_jobs_hides_its_sections(dock: JobsDock) -> None:
    assert not dock.waiting_section.isVisible()
    assert not dock.finished_section.isVisible()
    assert dock.objectName() == "jobs-dock"


def test_running_job_is_watched_and_stopped_by_buttons(
    qtbot: QtBot, navigation: Navigation, dock: JobsDock, queue: JobQueue, tmp_path: Path
) -> None:
    add(queue, tmp_path, "a")
    assert dock.running_name.text() == "a"
    with qtbot.waitSignal(navigation.watch_run_requested) as watched:
        press(qtbot, dock, "Watch")
    with qtbot.waitSignal(dock.stop_requested) as stopped:
        press(qtbot, dock, "Stop")
    assert watched.args == stopped.args == [tmp_path / "a"]


def test_queued_job_is_moved_removed_and_restored_by_undo(
    qtbot: QtBot, dock: JobsDock, queue: JobQueue, tmp_path: Path
) -> None:
    add(queue, tmp_path, "a", "b", "c")
    QAbstractItemModelTester(dock.waiting_model, QAbstractItemModelTester.FailureReportingMode.Fatal, dock)
    assert not dock.remove_button.isEnabled()
    dock.waiting_list.setCurrentIndex(dock.waiting_model.index(1, 0))
    press(qtbot, dock, "Move up")
    assert [job.launch.name for job in queue.waiting_jobs] == ["c", "b"]
    assert dock.waiting_list.currentIndex().row() == 0
    press(qtbot, dock, "Remove")
    assert [job.launch.name for job in queue.waiting_jobs] == ["b"]
    dock.undo_strip.action_triggered.emit()
    assert [job.launch.name for job in queue.waiting_jobs] == ["c", "b"]


def test_job_that_did_not_start_is_opened_from_the_finished_list(
    qtbot: QtBot, navigation: Navigation, dock: JobsDock, queue: JobQueue, tmp_path: Path
) -> None:
    add(queue, tmp_path, "a")
    queue.report_launch_failure(tmp_path / "a", "no such program")
    dock.finished_list.setCurrentIndex(dock.finished_model.index(0, 0))
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        press(qtbot, dock, "Open")
    assert opened.args == [tmp_path / "a"]


def test_ab_pairs_are_watched_by_their_current_run_and_opened_in_compare(
    qtbot: QtBot, navigation: Navigation, dock: JobsDock, queue: JobQueue, tmp_path: Path
) -> None:
    written = StoredPairs()
    queue.watch(written.directory, "pairs", "pairs")
    with qtbot.waitSignal(navigation.watch_pairs_requested) as shown:
        press(qtbot, dock, "Watch")
    assert shown.args == [written.directory]
    written.start_run(1, "baseline", tmp_path / "first")
    qtbot.waitUntil(lambda: "Pair 1 of 2" in dock.phase.text())
    with qtbot.waitSignal(navigation.watch_run_requested) as watched:
        press(qtbot, dock, "Watch")
    assert watched.args == [tmp_path / "first"]
    written.end()
    qtbot.waitUntil(lambda: queue.running_job is None)
    dock.finished_list.setCurrentIndex(dock.finished_model.index(0, 0))
    with qtbot.waitSignal(navigation.watch_pairs_requested) as opened:
        press(qtbot, dock, "Open")
    assert opened.args == [written.directory]


def test_jobs_queued_in_the_last_window_are_offered(
    qtbot: QtBot, navigation: Navigation, owner: QWidget, queue: JobQueue, tmp_path: Path
) -> None:
    add(queue, tmp_path, "a", "b")
    for accept in (False, True):
        next_queue = JobQueue(open_settings(), owner)
        dock = JobsDock(navigation, next_queue)
        qtbot.addWidget(dock)
        assert "The last window closed while jobs were still queued (1)." in dock.offer_strip.text()
        if accept:
            dock.offer_strip.action_triggered.emit()
            assert next_queue.running_job is not None
            assert next_queue.running_job.launch.name == "b"
        assert dock.offer_strip.isHidden() is accept


def test_job_name_with_markup_is_plain_text(dock: JobsDock, queue: JobQueue, tmp_path: Path) -> None:
    queue.add(Launch((), tmp_path / "x", "<b>bold</b>"))
    assert dock.running_name.textFormat() == Qt.TextFormat.PlainText
