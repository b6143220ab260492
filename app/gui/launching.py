"""Launching of requested runs, one after another, with their progress in the toolbar and the docks.

When the window closes, the user is asked once per session what to do with the current run. When a
job ends while the window is in the background, a desktop notification is shown. A/B pairs that were
started in this window or left running by the previous window are shown on the Compare page.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication, QDialog, QSystemTrayIcon, QWidget

from app.gui.background import submit
from app.gui.docks.job_queue import Job, JobQueue
from app.gui.docks.job_text import format_pair_run
from app.gui.docks.machine_watch import MachineWatch
from app.gui.live.state import LiveState
from app.gui.navigation import Launch
from app.gui.recovery import Recovery
from app.gui.run_bar import RunBar
from app.gui.settings import are_notifications_enabled
from app.gui.theme import CARD_MARGINS, GAP_SECTION
from app.gui.widgets import button, hbox, label, vbox
from app.gui.window import Window

if TYPE_CHECKING:
    from app.gui.compare.pairs_panel import PairsPanel
    from app.gui.compare.pairs_state import PairsState
    from app.gui.live.page import LivePage


ClosingChoice = Literal["stop", "leave", "cancel"]


class ClosingDialog(QDialog):
    """Dialog that asks what to do with the current run when the window closes. The dialog is modal,
    because an accidental choice would lose the measurement."""

    def __init__(self, parent: QWidget, run_name: str, waiting_count: int) -> None:
        super().__init__(parent)
        self.choice: ClosingChoice = "cancel"
        self.setWindowTitle("Run in progress")
        self.setModal(True)
        text_label = label(_format_question(run_name, waiting_count), wrap=True)
        text_label.setMinimumWidth(text_label.fontMetrics().averageCharWidth() * 60)
        leave_button = button("&Leave running", self._leave, primary=True)
        leave_button.setDefault(True)
        button_row = hbox(button("&Stop run", self._stop), 1, button("&Cancel", self.reject), leave_button)
        vbox(text_label, button_row, within=self, margins=CARD_MARGINS, spacing=GAP_SECTION)
        leave_button.setFocus()

    def _stop(self) -> None:
        self.choice = "stop"
        self.accept()

    def _leave(self) -> None:
        self.choice = "leave"
        self.accept()


class CloseConfirmation:
    """Decision whether the window may close while a run is in progress."""

    def __init__(self, window: QWidget) -> None:
        self._window = window
        self._remembered_choice: ClosingChoice | None = None

    def may_close(self, run_name: str | None, waiting_count: int, stop: Callable[[], object]) -> bool:
        """Return whether the window may close. If a run is in progress, the user is asked.

        `run_name` is the name of the current run, or None if there is none; `waiting_count` is the
        number of queued jobs. `stop` is called if the user chooses to stop the run. The choice,
        unless it is Cancel, is remembered for the session.
        """
        if run_name is None:
            return True
        choice = self._remembered_choice or self._request_choice(run_name, waiting_count)
        if choice == "cancel":
            return False
        self._remembered_choice = choice
        if choice == "stop":
            stop()
        return True

    def _request_choice(self, run_name: str, waiting_count: int) -> ClosingChoice:
        dialog = ClosingDialog(self._window, run_name, waiting_count)
        dialog.exec()
        choice = dialog.choice
        dialog.deleteLater()
        return choice


def _format_question(run_name: str, waiting_count: int) -> str:
    lines = [
        f"{run_name} is still running.",
        "Leave running: the run continues without the window, and the next window attaches to it.",
        "Stop run: the results so far are stored and can be opened.",
    ]
    if waiting_count:
        lines.append(f"Queued jobs ({waiting_count}) are offered again at the next start.")
    return "\n\n".join((lines[0], "\n".join(lines[1:])))


MIN_NOTIFIED_DURATION_S = 30.0
_NOTIFICATION_MS = 10_000


def should_notify(*, is_window_active: bool, duration_s: float) -> bool:
    """Return whether to notify the user that a job has ended.

    No notification is shown if the window is active, because the user already sees that the job has
    ended, or if the job took at most 30 s, because the user is probably still at the screen.
    """
    return not is_window_active and duration_s > MIN_NOTIFIED_DURATION_S


class Notifications(QObject):
    """Desktop notifications through the system tray. If there is no tray, the window requests
    attention in the task bar."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._tray: QSystemTrayIcon | None = None

    def notify_job_ended(self, name: str, outcome: str, duration_s: float) -> bool:
        """Notify the user that a job has ended. Return False if no notification was needed.
        `outcome` is the status of the job, such as PASS or stopped."""
        if not should_notify(is_window_active=self._window.isActiveWindow(), duration_s=duration_s):
            return False
        title = f"{name}: {outcome}"
        if not (QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages()):
            QApplication.alert(self._window)
            return True
        tray = self._show_tray()
        tray.showMessage(title, "The job has finished.", QSystemTrayIcon.MessageIcon.Information)
        QTimer.singleShot(_NOTIFICATION_MS, tray, tray.hide)
        return True

    def _show_tray(self) -> QSystemTrayIcon:
        """Show the tray icon and return it. The icon is only visible while a notification is
        shown."""
        if self._tray is None:
            self._tray = QSystemTrayIcon(_get_icon(self._window), self)
            self._tray.messageClicked.connect(self._raise_window)
        self._tray.show()
        return self._tray

    def _raise_window(self) -> None:
        self._window.raise_()
        self._window.activateWindow()


def _get_icon(window: QWidget) -> QIcon:
    window_icon = window.windowIcon()
    if not window_icon.isNull():
        return window_icon
    return window.style().standardIcon(window.style().StandardPixmap.SP_ComputerIcon)


class PairsLauncher(QObject):
    def __init__(self, window: Window, queue: JobQueue, recovery: Recovery, run_bar: RunBar) -> None:
        super().__init__(window)
        self._window, self._queue, self._recovery, self._run_bar = window, queue, recovery, run_bar
        self._is_connected = False
        self._current_directory: Path | None = None
        self.have_been_looked_for = False
        window.navigation.watch_pairs_requested.connect(self.watch)

    looked_for = Signal()
    """Signal that is emitted after `find_running_pairs` has found the A/B pairs, if any."""

    def find_running_pairs(self) -> None:
        """Look for A/B pairs that the previous window left running, and show them as if they had
        been started in this window."""
        submit(self, _find_pairs_to_show, self._on_pairs_listed, self._on_find_error)

    def _on_pairs_listed(self, pairs_to_show: tuple[Path, bool] | None) -> None:
        self._attach(pairs_to_show)
        self.have_been_looked_for = True
        self.looked_for.emit()

    def _on_find_error(self, error: Exception) -> None:
        self._window.navigation.notify_error(error)
        self._on_pairs_listed(None)

    def launch(self, launch: Launch) -> None:
        self._connect_panel().launch(launch)  # the load generator starts while the page is drawn
        self._window.show_page("compare")

    def watch(self, directory: Path) -> None:
        self._window.show_page("compare")
        self._connect_panel().watch(directory)

    def show_pairs(self, directory: Path) -> PairsPanel:
        """Show the A/B pairs in `directory` on the Compare page, and return their panel."""
        panel = self._connect_panel()
        if panel.state.directory != directory:
            panel.watch(directory)
        return panel

    def _connect_panel(self) -> PairsPanel:
        panel = self._window.pages.compare.pairs_panel
        if not self._is_connected:
            self._is_connected = True
            panel.changed.connect(self._show_state)
        return panel

    def _attach(self, pairs_to_show: tuple[Path, bool] | None) -> None:
        if pairs_to_show is None:
            return
        directory, is_running = pairs_to_show
        message = "A/B pairs finished while no window was open. See the result on the Compare page."
        if is_running:
            message = (
                "A/B pairs from another window or a terminal are still running. See their progress on the Compare page."
            )
            self._queue.watch(directory, directory.name, "pairs")
        self._connect_panel().watch(directory)
        self._window.navigation.notify("news", message, page="compare")

    def _show_state(self, state: PairsState) -> None:
        self._run_bar.show_state(_build_run_state(state))
        pair_run = state.progress.pair_run
        if pair_run is not None and Path(pair_run.directory) != self._current_directory:
            self._follow(Path(pair_run.directory))
        if state.status == "failed" and state.directory is not None:
            self._queue.report_launch_failure(state.directory, state.last_message)

    def _follow(self, directory: Path) -> None:
        """Track the next run of the A/B pairs. If the Live page shows the previous run, show the
        next run there."""
        previous_directory, self._current_directory = self._current_directory, directory
        self._recovery.exclude(directory)
        live = self._window.pages.created_page("live")
        if live is not None and previous_directory in live.run_directories():
            self._window.pages.live.watch(directory)


def _build_run_state(state: PairsState) -> LiveState:
    progress = state.progress
    return LiveState(
        status=state.status if state.status != "ended" else "finished",
        name=state.name,
        directory=state.directory,
        phase="" if progress.pair_run is None else format_pair_run(progress.pair_run),
        completed_count=progress.completed,
        total_count=progress.total,
        elapsed_s=progress.elapsed_s,
        eta_s=state.eta_s(),
    )


def _find_pairs_to_show() -> tuple[Path, bool] | None:
    from app.gui.compare.entries import find_pairs_to_show

    return find_pairs_to_show()


class RunLauncher(QObject):
    """Launcher that passes launch requests to the job queue and to the Live page, which starts the
    load generator and watches the run."""

    def __init__(self, window: Window, queue: JobQueue, machine: MachineWatch, recovery: Recovery) -> None:
        super().__init__(window)
        self._window, self._queue, self._machine, self._recovery = window, queue, machine, recovery
        recovery.is_measuring = lambda: queue.running_job is not None
        self._close_confirmation, self._notifications = CloseConfirmation(window), Notifications(window)
        self._last_launch: Launch | None = None
        self._is_connected = False
        self._live_state = LiveState()
        self.run_bar = RunBar(window.toolbar, window.theme_controller)
        self.run_bar.start_button.clicked.connect(self.start)
        self.run_bar.stop_button.clicked.connect(self.stop)
        self._pairs_launcher = PairsLauncher(window, queue, recovery, self.run_bar)
        navigation = window.navigation
        navigation.launch_requested.connect(self._store_last_launch)
        navigation.launch_requested.connect(queue.add)
        navigation.watch_run_requested.connect(self._watch)
        self._pairs_launcher.looked_for.connect(self._attach_running_runs)
        recovery.unfinished_runs_changed.connect(self._attach_running_runs)
        queue.launch_next.connect(self._launch)
        queue.job_ended.connect(self._on_job_ended)
        queue.changed.connect(self._update_machine_source)
        queue.changed.connect(self._update_last_duration)
        window.may_close = self._may_close

    def find_running_pairs(self) -> None:
        self._pairs_launcher.find_running_pairs()

    def start(self) -> None:
        """Start the run or plan of the current page. If the current page has nothing to start,
        switch to the Run page and start the profile there."""
        if not self._window.pages.current.start():
            self._window.show_page("run")
            self._window.pages.current.start()

    def repeat(self) -> None:
        """Repeat the last run of this session. If no run was started yet, behave like `start`."""
        if self._last_launch is None:
            self.start()
            return
        from app.storage.run_directory import new_run_id, runs_home

        directory = runs_home() / new_run_id(self._last_launch.name, datetime.now(UTC))
        self._queue.add(msgspec.structs.replace(self._last_launch, directory=directory))

    def stop(self) -> None:
        """Stop the current job. The first call asks for confirmation on the Live page (for A/B
        pairs on the Compare page); the second call stops the job."""
        running_job = self._queue.running_job
        if running_job is None:
            return
        if running_job.launch.kind == "pairs":
            self._window.show_page("compare")
            self._pairs_launcher.show_pairs(running_job.launch.directory).stop()
        else:
            self._window.show_page("live")
            self._show_job_on_live_page(running_job).stop()

    def _show_job_on_live_page(self, job: Job) -> LivePage:
        """Show the run of a job on the Live page, and return the page."""
        self._connect_live()
        live = self._window.pages.live
        if live.state.directory != job.launch.directory:
            live.watch(job.launch.directory)
        return live

    def _store_last_launch(self, launch: Launch) -> None:
        if launch.kind == "run":
            self._last_launch = launch

    def _launch(self, launch: Launch) -> None:
        if launch.kind == "pairs":
            self._pairs_launcher.launch(launch)
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

    def _attach_running_runs(self) -> None:
        """Attach to the runs that the previous window left running, or that a terminal started.
        Running A/B pairs come first, because a running run may be one of theirs."""
        if not self._pairs_launcher.have_been_looked_for or self._queue.running_job is not None:
            return
        running_runs = [run for run in self._recovery.unfinished_runs if run.state == "running"]
        for run in running_runs:
            self._queue.watch(run.directory, run.name or run.directory.name)
            self._recovery.exclude(run.directory)
        if running_runs:
            self._connect_live()
            self._window.pages.live.watch(running_runs[0].directory)
            message = "{name} is still running. See its progress on the Live page."
            first_run = running_runs[0]
            summary = message.format(name=first_run.name or first_run.directory.name)
            self._window.navigation.notify("news", summary, page="live")

    def _connect_live(self) -> None:
        """Connect the signals of the Live page, which is created on first use."""
        if not self._is_connected:
            self._is_connected = True
            self._window.pages.live.state_changed.connect(self._show_state)

    def _show_state(self, state: LiveState) -> None:
        self._live_state = state
        running_job = self._queue.running_job
        # otherwise the toolbar shows the A/B pairs that this run belongs to
        if running_job is None or running_job.launch.kind == "run":
            self.run_bar.show_state(state)
        if state.status == "failed" and state.directory is not None:
            self._queue.report_launch_failure(state.directory, state.message)

    def _update_machine_source(self) -> None:
        """Show the telemetry that the current run already records, because a second sampler would
        disturb the measurement."""
        running_job = self._queue.running_job
        self._machine.follow_run(None if running_job is None else running_job.measured_directory)

    def _update_last_duration(self) -> None:
        """Let the Live page estimate the remaining time as the queue does."""
        running_job, live = self._queue.running_job, self._window.pages.created_page("live")
        if running_job is not None and live is not None:
            presenter = self._window.pages.live.run.presenter
            if presenter.directory == running_job.launch.directory:
                presenter.last_duration_s = running_job.last_duration_s

    def _on_job_ended(self, job: Job) -> None:
        if are_notifications_enabled(self._window.settings):
            self._notifications.notify_job_ended(job.launch.name, job.status, job.duration_s)

    def _may_close(self) -> bool:
        running_job, live_state = self._queue.running_job, self._live_state
        if running_job is None or (live_state.directory == running_job.launch.directory and not live_state.is_running):
            return self._close_confirmation.may_close(None, 0, lambda: None)
        return self._close_confirmation.may_close(
            running_job.launch.name, len(self._queue.waiting_jobs), lambda: self._stop_now(running_job)
        )

    def _stop_now(self, job: Job) -> None:
        if job.launch.kind == "pairs":
            self._pairs_launcher.show_pairs(job.launch.directory).stop_now()
        else:
            self._show_job_on_live_page(job).stop_now()
