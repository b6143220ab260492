"""Starts requested runs one after another, and shows their progress in the toolbar, the status bar
and the docks.

The module also asks, once per session, what happens to the current run when the window closes, and
shows a desktop notification when a job ends while the window is in the background. A/B pairs that
were started in this window or left running by the previous window are shown on the Compare page.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication, QDialog, QSystemTrayIcon, QWidget

from app.gui.background import submit
from app.gui.docks.job_queue import Job, JobQueue
from app.gui.docks.job_text import turn_line
from app.gui.docks.machine_watch import MachineWatch
from app.gui.live.state import LiveState
from app.gui.navigation import Launch
from app.gui.recovery import Recovery
from app.gui.run_bar import RunBar
from app.gui.settings import are_notifications_enabled
from app.gui.widgets import button, hbox, label, vbox
from app.gui.window import Window

if TYPE_CHECKING:
    from app.gui.compare.pairs_panel import PairsPanel
    from app.gui.compare.pairs_state import PairsState
    from app.gui.live.page import LivePage


ClosingChoice = Literal["stop", "leave", "cancel"]


class ClosingDialog(QDialog):
    """Dialog that asks what to do with the current run when the window closes. The dialog is modal,
    because a wrong default would lose the measurement."""

    def __init__(self, parent: QWidget, run_name: str, waiting: int) -> None:
        super().__init__(parent)
        self.choice: ClosingChoice = "cancel"
        self.setWindowTitle("Run in progress")
        self.setModal(True)
        text = label(_question(run_name, waiting), wrap=True)
        text.setMinimumWidth(text.fontMetrics().averageCharWidth() * 60)
        leave = button("&Leave running", self._leave, primary=True)
        leave.setDefault(True)
        line = hbox(button("&Stop run", self._stop), 1, button("&Cancel", self.reject), leave)
        vbox(text, line, within=self, margins=(18, 16, 18, 14), spacing=16)
        leave.setFocus()

    def _stop(self) -> None:
        self.choice = "stop"
        self.accept()

    def _leave(self) -> None:
        self.choice = "leave"
        self.accept()


class CloseConfirmation:
    """Decides whether the window may close while a run is in progress."""

    def __init__(self, window: QWidget) -> None:
        self._window = window
        self._remembered_choice: ClosingChoice | None = None

    def may_close(self, run_name: str | None, waiting: int, stop: Callable[[], object]) -> bool:
        """Return whether the window may close. If a run is in progress, the user is asked.

        `run_name` is the name of the current run, or None if there is none; `waiting` is the number
        of queued jobs. `stop` is called if the user chooses to stop the run. The choice, unless it
        is Cancel, is remembered for the session.
        """
        if run_name is None:
            return True
        choice = self._remembered_choice or self._ask(run_name, waiting)
        if choice == "cancel":
            return False
        self._remembered_choice = choice
        if choice == "stop":
            stop()
        return True

    def _ask(self, run_name: str, waiting: int) -> ClosingChoice:
        dialog = ClosingDialog(self._window, run_name, waiting)
        dialog.exec()
        choice = dialog.choice
        dialog.deleteLater()
        return choice


def _question(run_name: str, waiting: int) -> str:
    lines = [
        f"{run_name} is still running.",
        "Leave running: the run continues without the window, and the next window attaches to it.",
        "Stop run: results so far are kept and can be opened.",
    ]
    if waiting:
        lines.append(f"Queued jobs: {waiting}. They are offered again at the next start.")
    return "\n\n".join((lines[0], "\n".join(lines[1:])))


MIN_NOTIFICATION_S = 30.0
_SHOWN_MS = 10_000


def should_notify(*, is_active: bool, duration_s: float) -> bool:
    """Return whether to notify the user that a job has ended.

    No notification is shown if the window is active, because the user already sees the end, or if
    the job took at most 30 s, because the user has hardly left in that time.
    """
    return not is_active and duration_s > MIN_NOTIFICATION_S


class Notifications(QObject):
    """Desktop notifications through the system tray. If there is no tray, the window requests
    attention in the task bar."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._tray: QSystemTrayIcon | None = None

    def notify_ended(self, name: str, outcome: str, duration_s: float) -> bool:
        """Notify the user that a job has ended; return False if no notification is needed.
        `outcome` is a word such as PASS or stopped."""
        if not should_notify(is_active=self._window.isActiveWindow(), duration_s=duration_s):
            return False
        title = f"{name}: {outcome}"
        if not (QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages()):
            QApplication.alert(self._window)
            return True
        tray = self._show_tray()
        tray.showMessage(title, "Job finished", QSystemTrayIcon.MessageIcon.Information)
        QTimer.singleShot(_SHOWN_MS, tray, tray.hide)
        return True

    def _show_tray(self) -> QSystemTrayIcon:
        """Show the tray icon and return it. The icon is only visible while a notification is
        shown."""
        if self._tray is None:
            self._tray = QSystemTrayIcon(_icon(self._window), self)
            self._tray.messageClicked.connect(self._raise_window)
        self._tray.show()
        return self._tray

    def _raise_window(self) -> None:
        self._window.raise_()
        self._window.activateWindow()


def _icon(window: QWidget) -> QIcon:
    own = window.windowIcon()
    if not own.isNull():
        return own
    return window.style().standardIcon(window.style().StandardPixmap.SP_ComputerIcon)


class PairsLauncher(QObject):
    def __init__(self, window: Window, queue: JobQueue, recovery: Recovery, bar: RunBar) -> None:
        super().__init__(window)
        self._window, self._queue, self._recovery, self._bar = window, queue, recovery, bar
        self._is_listening = False
        self._run: Path | None = None
        window.navigation.watch_pairs_requested.connect(self.watch)

    def find_running_pairs(self) -> None:
        """Look for A/B pairs that the previous window left running, and show them as if they had
        been started in this window."""
        submit(self, _find_pairs_to_show, self._attach, self._window.navigation.notify_error)

    def launch(self, launch: Launch) -> None:
        self._shown().launch(launch)  # the load generator starts while the page is drawn
        self._window.show_page("compare")

    def watch(self, directory: Path) -> None:
        self._window.show_page("compare")
        self._shown().watch(directory)

    def show_pairs(self, directory: Path) -> PairsPanel:
        """Return the A/B pairs panel of the Compare page, showing the pairs in `directory`."""
        pairs = self._shown()
        if pairs.state.directory != directory:
            pairs.watch(directory)
        return pairs

    def _shown(self) -> PairsPanel:
        pairs = self._window.pages.compare.pairs
        if not self._is_listening:
            self._is_listening = True
            pairs.changed.connect(self._show)
        return pairs

    def _attach(self, pairs: tuple[Path, bool] | None) -> None:
        if pairs is None:
            return
        directory, is_running = pairs
        message = "A/B pairs finished while no window was open. See the result on Compare."
        if is_running:
            message = "A/B pairs from another window or a terminal are still running. See their progress on Compare."
            self._queue.watch(directory, directory.name, "pairs")
        self._shown().watch(directory)
        self._window.navigation.notify("news", message)

    def _show(self, state: PairsState) -> None:
        self._bar.show_state(_pairs_as_run_state(state))
        turn = state.progress.pair_run
        if turn is not None and Path(turn.directory) != self._run:
            self._follow(Path(turn.directory))
        if state.status == "failed" and state.directory is not None:
            self._queue.report_launch_failure(state.directory, state.last_message)

    def _follow(self, run: Path) -> None:
        """Track the next run of the A/B pairs. If the Live page shows the previous run, switch it
        to the next run."""
        previous, self._run = self._run, run
        self._recovery.exclude(run)
        live = self._window.pages.created_page("live")
        if live is not None and previous in live.runs():
            self._window.pages.live.watch(run)


def _pairs_as_run_state(state: PairsState) -> LiveState:
    progress = state.progress
    return LiveState(
        status=state.status if state.status != "ended" else "finished",
        name=state.name,
        directory=state.directory,
        phase="" if progress.pair_run is None else turn_line(progress.pair_run),
        done=progress.completed,
        total=progress.total,
        elapsed_s=progress.elapsed_s,
        eta_s=state.eta_s(),
    )


def _find_pairs_to_show() -> tuple[Path, bool] | None:
    from app.gui.compare.entries import find_pairs_to_show

    return find_pairs_to_show()


class RunLauncher(QObject):
    """Passes launch requests to the job queue and to the Live page, which starts the load generator
    and watches the run."""

    def __init__(self, window: Window, queue: JobQueue, machine: MachineWatch, recovery: Recovery) -> None:
        super().__init__(window)
        self._window, self._queue, self._machine, self._recovery = window, queue, machine, recovery
        recovery.is_measuring = lambda: queue.running is not None
        self._closing, self._notifications = CloseConfirmation(window), Notifications(window)
        self._last: Launch | None = None
        self._is_listening = False
        self._live_state = LiveState()
        self.bar = RunBar(window.toolbar, window.theme_controller)
        self.bar.start.clicked.connect(self.start)
        self.bar.stop.clicked.connect(self.stop)
        self._pairs = PairsLauncher(window, queue, recovery, self.bar)
        navigation = window.navigation
        navigation.launch_requested.connect(self._remember)
        navigation.launch_requested.connect(queue.add)
        navigation.watch_run_requested.connect(self._watch)
        queue.launch_next.connect(self._launch)
        queue.job_ended.connect(self._on_job_ended)
        queue.changed.connect(self._update_machine_source)
        window.may_close = self._may_close

    def find_running_pairs(self) -> None:
        self._pairs.find_running_pairs()

    def start(self) -> None:
        """Start what the current page shows. If the page has nothing to start, switch to the Run
        page and start from that page."""
        if not self._window.pages.current.start():
            self._window.show_page("run")
            self._window.pages.current.start()

    def repeat(self) -> None:
        """Repeat the last run of this session. If there is none, behave like `start`."""
        if self._last is None:
            self.start()
            return
        from app.storage.run_directory import new_run_id, runs_home

        directory = runs_home() / new_run_id(self._last.name, datetime.now(UTC))
        self._queue.add(msgspec.structs.replace(self._last, directory=directory))

    def stop(self) -> None:
        """Stop the current job. The first call asks for confirmation on the Live page (for A/B
        pairs on the Compare page); the second call stops the job."""
        running = self._queue.running
        if running is None:
            return
        if running.launch.kind == "pairs":
            self._window.show_page("compare")
            self._pairs.show_pairs(running.launch.directory).stop()
        else:
            self._window.show_page("live")
            self._live_page_for(running).stop()

    def _live_page_for(self, job: Job) -> LivePage:
        """Return the Live page, showing the run of this job."""
        self._connect_live()
        live = self._window.pages.live
        if live.state.directory != job.launch.directory:
            live.watch(job.launch.directory)
        return live

    def _remember(self, launch: Launch) -> None:
        if launch.kind == "run":
            self._last = launch

    def _launch(self, launch: Launch) -> None:
        if launch.kind == "pairs":
            self._pairs.launch(launch)
            return
        self._connect_live()
        self._recovery.exclude(launch.directory)
        self._window.pages.live.run.engine.launch(launch)  # the load generator starts while the page is drawn
        self._window.show_page("live")

    def _watch(self, directory: Path) -> None:
        self._connect_live()
        self._window.show_page("live")
        self._window.pages.live.watch(directory)
        self._queue.watch(directory, directory.name)

    def _connect_live(self) -> None:
        """Connect the signals of the Live page, which is created on first use."""
        if not self._is_listening:
            self._is_listening = True
            self._window.pages.live.state_changed.connect(self._show)

    def _show(self, state: LiveState) -> None:
        self._live_state = state
        running = self._queue.running
        # otherwise the toolbar shows the A/B pairs that this run belongs to
        if running is None or running.launch.kind == "run":
            self.bar.show_state(state)
        if state.status == "failed" and state.directory is not None:
            self._queue.report_launch_failure(state.directory, state.message)

    def _update_machine_source(self) -> None:
        """Show the telemetry that the current run already records, so that no second sampling
        disturbs the measurement."""
        running = self._queue.running
        self._machine.follow_run(None if running is None else running.measured_directory)

    def _on_job_ended(self, job: Job) -> None:
        if are_notifications_enabled(self._window.settings):
            self._notifications.notify_ended(job.launch.name, job.status, job.duration_s)

    def _may_close(self) -> bool:
        running, live_state = self._queue.running, self._live_state
        if running is None or (live_state.directory == running.launch.directory and not live_state.is_running):
            return self._closing.may_close(None, 0, lambda: None)
        return self._closing.may_close(running.launch.name, len(self._queue.waiting), lambda: self._stop_now(running))

    def _stop_now(self, job: Job) -> None:
        if job.launch.kind == "pairs":
            self._pairs.show_pairs(job.launch.directory).stop_now()
        else:
            self._live_page_for(job).stop_now()
