from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QTimer
from PySide6.QtWidgets import QApplication, QPushButton, QSystemTrayIcon, QWidget
from pytestqt.qtbot import QtBot

from app.gui.assembly import WindowComponents, assemble
from app.gui.launching import CloseConfirmation, ClosingDialog, Notifications, should_notify
from app.gui.navigation import Launch
from app.gui.window import Window
from app.profiles.secrets import REDACTED
from app.records.control import ControlCommand, ControlResponse, StopRun
from app.records.events import Event, NoteAdded, PhaseChanged, RunFinished
from app.storage.run_directory import EVENTS
from tests.fakes.program import write_profile
from tests.fakes.stored_pairs import StoredPairs
from tests.fakes.stored_runs import unfinished_run
from tests.fakes.window_actions import find_button, is_page_shown


@pytest.fixture
def window(qtbot: QtBot) -> QWidget:
    window = QWidget()
    qtbot.addWidget(window)
    return window


def make_press(name: str, pressed: list[str]) -> Callable[[], None]:
    def press() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, ClosingDialog)
        pressed.append(name)
        next(button for button in dialog.findChildren(QPushButton) if button.accessibleName() == name).click()

    return press


def reject_dialog() -> None:
    dialog = QApplication.activeModalWidget()
    if isinstance(dialog, ClosingDialog):
        dialog.reject()


def close_with(window: QWidget, closing: CloseConfirmation, name: str, pressed: list[str], stopped: list[str]) -> bool:
    QTimer.singleShot(0, window, make_press(name, pressed))
    return closing.may_close("fraud", 2, lambda: stopped.append("stopped"))


def test_window_without_a_run_closes_without_confirmation(window: QWidget) -> None:
    assert CloseConfirmation(window).may_close(None, 0, lambda: pytest.fail("no run is to be stopped"))


def test_leave_running_is_remembered_for_the_session(window: QWidget) -> None:
    confirmation, pressed, stopped = CloseConfirmation(window), list[str](), list[str]()
    assert close_with(window, confirmation, "Leave running", pressed, stopped)
    QTimer.singleShot(0, window, reject_dialog)
    assert confirmation.may_close("fraud", 0, lambda: stopped.append("stopped")), "no second confirmation is shown"
    QApplication.processEvents()
    assert (pressed, stopped) == (["Leave running"], [])


def test_stop_run_stops_the_run_and_closes_the_window(window: QWidget) -> None:
    stopped = list[str]()
    assert close_with(window, CloseConfirmation(window), "Stop run", [], stopped)
    assert stopped == ["stopped"]


def test_cancel_keeps_the_window_open_and_is_not_remembered(window: QWidget) -> None:
    confirmation, pressed, stopped = CloseConfirmation(window), list[str](), list[str]()
    for _ in range(2):
        assert not close_with(window, confirmation, "Cancel", pressed, stopped)
    assert (pressed, stopped) == (["Cancel", "Cancel"], [])


def test_closing_dialog_names_the_running_run_and_the_number_of_queued_jobs(window: QWidget, qtbot: QtBot) -> None:
    dialog = ClosingDialog(window, "fraud", 2)
    qtbot.addWidget(dialog)
    text = " ".join(str(widget.property("text")) for widget in dialog.findChildren(QWidget) if widget.property("text"))
    assert "fraud is still running" in text
    assert "Queued jobs (2) are offered again at the next start." in text


@pytest.mark.parametrize(
    ("is_active", "duration_s", "is_notified"), [(False, 31.0, True), (True, 300.0, False), (False, 30.0, False)]
)
def test_notification_needs_an_inactive_window_and_more_than_30_s(
    *, is_active: bool, duration_s: float, is_notified: bool
) -> None:
    assert should_notify(is_window_active=is_active, duration_s=duration_s) is is_notified


def test_job_end_is_notified_without_a_system_tray(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    notifications = Notifications(window)
    assert not QSystemTrayIcon.isSystemTrayAvailable()
    assert notifications.notify_job_ended("quickstart", "PASS", 60.0)
    assert not notifications.notify_job_ended("quickstart", "PASS", 2.0)


def test_active_window_shows_no_notification(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    with qtbot.waitActive(window):
        window.show()
        window.activateWindow()
    assert not Notifications(window).notify_job_ended("quickstart", "PASS", 60.0)


@pytest.fixture
def running_pairs() -> Iterator[StoredPairs]:
    written = StoredPairs()
    yield written
    written.end()


@pytest.fixture
def opened(running_pairs: StoredPairs, qtbot: QtBot, qapp: QApplication) -> Iterator[tuple[Window, WindowComponents]]:
    """A window that is opened while A/B pairs are running."""
    window, parts = assemble(qapp)  # qtbot would close it before `may_close` is put aside
    window.show()
    try:
        qtbot.waitUntil(lambda: parts.queue.running_job is not None)
        yield window, parts
    finally:
        _close(window)


def _close(window: Window) -> None:
    window.may_close = None
    window.close()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def start_pair_run(running_pairs: StoredPairs, home: Path, name: str) -> Path:
    run = unfinished_run(home / "runs" / name, os.getpid(), name)
    running_pairs.start_run(1, "baseline", run)
    return run


def has_executed(running_pairs: StoredPairs, executed: list[ControlCommand]) -> bool:
    def execute(sent_command: ControlCommand) -> ControlResponse:
        executed.append(sent_command)
        return ControlResponse(True, "stopping")

    running_pairs.store.process_commands(execute)
    return bool(executed)


def test_window_attaches_to_running_pairs_and_shows_their_progress(
    opened: tuple[Window, WindowComponents], running_pairs: StoredPairs, home: Path, qtbot: QtBot
) -> None:
    window, parts = opened
    job = parts.queue.running_job
    assert job is not None
    assert (job.launch.kind, job.launch.directory) == ("pairs", running_pairs.directory)
    qtbot.waitUntil(lambda: "A/B pairs from another window or a terminal are still running" in window.strip.text())
    start_pair_run(running_pairs, home, "first")
    line = "Pair 1 of 2: measuring baseline"
    qtbot.waitUntil(lambda: parts.jobs_dock.phase.text() == line)
    qtbot.waitUntil(lambda: line in parts.run_launcher.run_bar.progress.text())
    assert parts.run_launcher.run_bar.stop_button.isEnabled()
    assert window.pages.compare.pairs_panel.progress.text == line


def test_live_page_follows_the_pair_runs_and_stop_stops_the_pairs(
    opened: tuple[Window, WindowComponents], running_pairs: StoredPairs, home: Path, qtbot: QtBot
) -> None:
    window, parts = opened
    first = start_pair_run(running_pairs, home, "first")
    qtbot.waitUntil(lambda: parts.queue.running_job is not None and parts.queue.running_job.measured_directory == first)
    window.navigation.watch_run_requested.emit(first)
    qtbot.waitUntil(is_page_shown(window, "live"))
    qtbot.waitUntil(lambda: window.pages.live.state.directory == first)
    second = start_pair_run(running_pairs, home, "second")
    qtbot.waitUntil(lambda: window.pages.live.state.directory == second)
    assert "pairs of scoring" in parts.run_launcher.run_bar.progress.text()
    parts.run_launcher.stop()
    assert window.pages.current.key == "compare"
    assert "Stop these A/B pairs?" in window.pages.compare.pairs_panel.stop_strip.text()
    parts.run_launcher.stop()
    executed = list[ControlCommand]()
    qtbot.waitUntil(lambda: has_executed(running_pairs, executed))
    assert executed == [StopRun()]


def test_closing_the_window_stops_the_pairs_after_stop_run_is_pressed(
    opened: tuple[Window, WindowComponents], running_pairs: StoredPairs, qtbot: QtBot
) -> None:
    window, _ = opened
    qtbot.waitUntil(lambda: window.pages.compare.pairs_panel.state.status == "running")

    def stop() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, ClosingDialog)
        button = find_button(dialog, "Stop run")
        assert button is not None
        button.click()

    QTimer.singleShot(0, window, stop)
    assert window.may_close is not None
    assert window.may_close()
    executed = list[ControlCommand]()
    qtbot.waitUntil(lambda: has_executed(running_pairs, executed))
    assert executed == [StopRun()]
    assert window.pages.compare.pairs_panel.state.status == "stopping"
    assert window.pages.created_page("live") is None


def list_jobs(parts: WindowComponents) -> tuple[Path | None, list[str]]:
    job = parts.queue.running_job
    return None if job is None else job.launch.directory, [
        queued_job.launch.name for queued_job in parts.queue.waiting_jobs
    ]


def test_window_attaches_to_running_runs_and_starts_no_queued_job(home: Path, qtbot: QtBot, qapp: QApplication) -> None:
    """Two runs of another window or a terminal are running: the job waits for both."""
    older, newer = (unfinished_run(home / "runs" / f"2026112{day}-going", os.getpid(), f"day {day}") for day in (1, 2))
    window, parts = assemble(qapp)
    window.show()
    started: list[Launch] = []
    parts.queue.launch_next.connect(started.append)
    try:
        qtbot.waitUntil(lambda: window.pages.live.state.status == "running")
        assert "day 2 is still running. See its progress on the Live page." in window.strip.text()
        window.show_page("live")
        assert window.strip.text() == "", "the notice refers to the page that is shown"
        assert parts.recovery.unfinished_runs == ()
        assert parts.status_bar.engine.text() != "Benchmark: idle"
        assert parts.run_launcher.run_bar.stop_button.isEnabled()
        window.navigation.launch_requested.emit(Launch(("run", "mine.yaml"), home / "runs" / "20261123-mine", "mine"))
        assert list_jobs(parts) == (newer, ["day 1", "mine"])
        with (newer / EVENTS).open("ab") as file:
            file.write(msgspec.json.encode(RunFinished(6_000_000_000, "VALID", 0)) + b"\n")
        qtbot.waitUntil(lambda: list_jobs(parts) == (older, ["mine"]))
        assert started == []
    finally:
        _close(window)


def test_live_page_attaches_to_an_external_run_and_adds_a_running_job(
    home: Path, qtbot: QtBot, qapp: QApplication
) -> None:
    window, parts = assemble(qapp)
    window.show()
    try:
        qtbot.waitUntil(lambda: parts.run_launcher._pairs_launcher.have_been_looked_for)
        run = unfinished_run(home / "runs" / "20261121-going", os.getpid())
        window.show_page("live")
        qtbot.waitUntil(lambda: window.pages.live.state.status == "running")
        assert parts.queue.running_job is not None
        assert parts.queue.running_job.launch.directory == run
    finally:
        _close(window)


def test_run_again_queues_a_job_unless_secrets_are_redacted(
    home: Path, tmp_path: Path, qtbot: QtBot, qapp: QApplication
) -> None:
    window, parts = assemble(qapp)
    window.show()
    parts.queue.set_paused(True)
    spec = Path(write_profile(tmp_path, "http://127.0.0.1:9"))
    try:
        text = spec.read_text()
        spec.write_text(f"{text}\n# {REDACTED}\n")
        window.navigation.repeat_profile_requested.emit(spec)
        assert "was stored without its secrets" in window.strip.text()
        assert window.pages.current.key == "run"
        qtbot.waitUntil(window.pages.run.header.start_button.isEnabled)
        assert list_jobs(parts) == (None, [])
        spec.write_text(text)
        window.navigation.repeat_profile_requested.emit(spec)
        qtbot.waitUntil(lambda: bool(parts.queue.waiting_jobs))
        (job,) = parts.queue.waiting_jobs
        assert job.launch.arguments == ("run", str(spec))
    finally:
        _close(window)


def test_live_page_and_jobs_dock_show_the_same_progress(
    home: Path, qtbot: QtBot, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The duration of a search is estimated from the last run of the same name."""
    monkeypatch.setattr("app.gui.docks.job_queue._last_duration_s", lambda _: 40.0)
    events: list[Event] = [PhaseChanged(2_000_000_000, "search", "probing"), NoteAdded(11_000_000_000, "a quarter")]
    unfinished_run(home / "runs" / "20261121-going", os.getpid(), events=events)
    window, parts = assemble(qapp)
    window.resize(1_600, 900)
    window.show()
    try:
        parts.jobs_dock.show()
        window.show_page("live")
        qtbot.waitUntil(lambda: window.pages.live.body is not None)
        body = window.pages.live.body
        assert body is not None
        qtbot.waitUntil(lambda: (body.header.bar.value(), parts.jobs_dock.bar.value()) == (50, 25))
        assert body.header.bar.isVisible()
        assert body.header.bar.maximum() == 200
    finally:
        _close(window)
