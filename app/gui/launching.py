"""Runs asked for, started in their turn, and told of in toolbar, status bar and docks while they go on.

What is to become of a run when its window closes: asked once a session.

A desktop notice of a job that ended while nobody looked, and only then.

Pairs whose turn has come, or that the last window left going: Compare shows them, toolbar and docks
tell of them.
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
from app.gui.docks.job_words import turn_line
from app.gui.docks.machine_watch import MachineWatch
from app.gui.live.state import LiveState
from app.gui.navigation import Launch
from app.gui.recovery import Recovery
from app.gui.run_bar import RunBar
from app.gui.settings import notifications_are_on
from app.gui.widgets import button, hbox, label, vbox
from app.gui.window import Window

if TYPE_CHECKING:
    from app.gui.compare.pairs_part import PairsPart
    from app.gui.compare.pairs_state import PairsState
    from app.gui.live.page import LivePage


Choice = Literal["stop", "leave", "cancel"]


class ClosingDialog(QDialog):
    """Modal, since what is measured would be lost by a wrong guess."""

    def __init__(self, parent: QWidget, run_name: str, waiting: int) -> None:
        super().__init__(parent)
        self.choice: Choice = "cancel"
        self.setWindowTitle("A run goes on")
        self.setModal(True)
        text = label(_question(run_name, waiting), wrap=True)
        text.setMinimumWidth(text.fontMetrics().averageCharWidth() * 60)
        leave = button("&Leave it running", self._leave, primary=True)
        leave.setDefault(True)
        line = hbox(button("&Stop it", self._stop), 1, button("&Cancel", self.reject), leave)
        vbox(text, line, within=self, margins=(18, 16, 18, 14), spacing=16)
        leave.setFocus()

    def _stop(self) -> None:
        self.choice = "stop"
        self.accept()

    def _leave(self) -> None:
        self.choice = "leave"
        self.accept()


class Closing:
    """`may_close(run_name, waiting, stop)` whenever the window is asked to close."""

    def __init__(self, window: QWidget) -> None:
        self._window = window
        self._remembered: Choice | None = None

    def may_close(self, run_name: str | None, waiting: int, stop: Callable[[], object]) -> bool:
        """`run_name` is of the run that goes on, None where none does: then nothing is asked. `stop` is called where
        that is chosen. What is chosen is remembered for the session, but for Cancel."""
        if run_name is None:
            return True
        choice = self._remembered or self._ask(run_name, waiting)
        if choice == "cancel":
            return False
        self._remembered = choice
        if choice == "stop":
            stop()
        return True

    def _ask(self, run_name: str, waiting: int) -> Choice:
        dialog = ClosingDialog(self._window, run_name, waiting)
        dialog.exec()
        choice = dialog.choice
        dialog.deleteLater()
        return choice


def _question(run_name: str, waiting: int) -> str:
    lines = [
        f"{run_name} is still being measured.",
        "Left running, it goes on without the window, and the next window attaches to it again.",
        "Stopped, what was measured so far is kept, and can be opened.",
    ]
    if waiting:
        lines.append(f"Jobs that wait are kept: {waiting}. They are offered again at the next start.")
    return "\n\n".join((lines[0], "\n".join(lines[1:])))


LEAST_S = 30.0
_SHOWN_MS = 10_000


def is_worth_telling(*, is_active: bool, lasted_s: float) -> bool:
    """Whoever looks at the window sees it, and nobody has gone away from what took half a minute."""
    return not is_active and lasted_s > LEAST_S


class Notifications(QObject):
    """By the tray where there is one, else the window asks for attention in the task bar."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._tray: QSystemTrayIcon | None = None

    def tell_ended(self, name: str, outcome: str, lasted_s: float) -> bool:
        """Whether it was told. `outcome` is a word, as in PASS or stopped."""
        if not is_worth_telling(is_active=self._window.isActiveWindow(), lasted_s=lasted_s):
            return False
        title = f"{name}: {outcome}"
        if not (QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages()):
            QApplication.alert(self._window)
            return True
        tray = self._shown_tray()
        tray.showMessage(title, "Sizewise has finished this job.", QSystemTrayIcon.MessageIcon.Information)
        QTimer.singleShot(_SHOWN_MS, tray, tray.hide)
        return True

    def _shown_tray(self) -> QSystemTrayIcon:
        """There only as long as it has something to say."""
        if self._tray is None:
            self._tray = QSystemTrayIcon(_icon(self._window), self)
            self._tray.messageClicked.connect(self._come_forward)
        self._tray.show()
        return self._tray

    def _come_forward(self) -> None:
        self._window.raise_()
        self._window.activateWindow()


def _icon(window: QWidget) -> QIcon:
    own = window.windowIcon()
    if not own.isNull():
        return own
    return window.style().standardIcon(window.style().StandardPixmap.SP_ComputerIcon)


class LaunchingPairs(QObject):
    def __init__(self, window: Window, queue: JobQueue, recovery: Recovery, bar: RunBar) -> None:
        super().__init__(window)
        self._window, self._queue, self._recovery, self._bar = window, queue, recovery, bar
        self._is_listening = False
        self._run: Path | None = None
        window.navigation.pairs_watched.connect(self.watch)

    def look(self) -> None:
        """For pairs that the last window left going: it is as if this one had begun them."""
        submit(self, _pairs_to_show, self._attach, self._window.navigation.tell_error)

    def launch(self, launch: Launch) -> None:
        self._shown().launch(launch)  # its engine starts while the page is drawn
        self._window.show_page("compare")

    def watch(self, directory: Path) -> None:
        self._window.show_page("compare")
        self._shown().watch(directory)

    def watching(self, directory: Path) -> PairsPart:
        """What Compare shows of those pairs, where it showed others."""
        pairs = self._shown()
        if pairs.state.directory != directory:
            pairs.watch(directory)
        return pairs

    def _shown(self) -> PairsPart:
        pairs = self._window.pages.compare.pairs
        if not self._is_listening:
            self._is_listening = True
            pairs.changed.connect(self._show)
        return pairs

    def _attach(self, found: tuple[Path, bool] | None) -> None:
        if found is None:
            return
        directory, is_going = found
        what = "Pairs have ended while no window was open. Compare shows what came of them."
        if is_going:
            what = "Pairs are still measured, which another window began, or a terminal. Compare shows how they go."
            self._queue.watch(directory, directory.name, "pairs")
        self._shown().watch(directory)
        self._window.navigation.tell("news", what)

    def _show(self, state: PairsState) -> None:
        self._bar.show_state(_told_as_a_run(state))
        turn = state.progress.turn
        if turn is not None and Path(turn.directory) != self._run:
            self._follow(Path(turn.directory))
        if state.going == "failed" and state.directory is not None:
            self._queue.launch_failed(state.directory, state.said)

    def _follow(self, run: Path) -> None:
        """Another one of their runs is measured: whoever watched the last one watches it."""
        before, self._run = self._run, run
        self._recovery.leave_out(run)
        live = self._window.pages.found("live")
        if live is not None and before in live.runs():
            self._window.pages.live.watch(run)


def _told_as_a_run(state: PairsState) -> LiveState:
    progress = state.progress
    return LiveState(
        going=state.going if state.going != "ended" else "finished",
        name=state.name,
        directory=state.directory,
        phase="" if progress.turn is None else turn_line(progress.turn),
        done=progress.done,
        total=progress.total,
        elapsed_s=progress.elapsed_s,
        eta_s=state.eta_s(),
    )


def _pairs_to_show() -> tuple[Path, bool] | None:
    from app.gui.compare.entries import pairs_to_show

    return pairs_to_show()


class Launching(QObject):
    """Between whoever wants a run and the Live page, which starts its engine and watches it."""

    def __init__(self, window: Window, queue: JobQueue, machine: MachineWatch, recovery: Recovery) -> None:
        super().__init__(window)
        self._window, self._queue, self._machine, self._recovery = window, queue, machine, recovery
        recovery.is_measuring = lambda: queue.running is not None
        self._closing, self._notifications = Closing(window), Notifications(window)
        self._last: Launch | None = None
        self._is_listening = False
        self._seen = LiveState()
        self.bar = RunBar(window.toolbar, window.look)
        self.bar.start.clicked.connect(self.start)
        self.bar.stop.clicked.connect(self.stop)
        self._pairs = LaunchingPairs(window, queue, recovery, self.bar)
        navigation = window.navigation
        navigation.launch_wanted.connect(self._remember)
        navigation.launch_wanted.connect(queue.add)
        navigation.run_watched.connect(self._watch)
        queue.launch_next.connect(self._launch)
        queue.job_ended.connect(self._tell_end)
        queue.changed.connect(self._leave_the_machine_alone)
        window.may_close = self._may_close

    def look_for_pairs(self) -> None:
        self._pairs.look()

    def start(self) -> None:
        """What the page holds; where it has nothing to start, what Run does."""
        if not self._window.pages.shown.start():
            self._window.show_page("run")
            self._window.pages.shown.start()

    def repeat(self) -> None:
        """The last run of this session again, else what Run holds."""
        if self._last is None:
            self.start()
            return
        from app.storage.run_directory import new_run_id, runs_home

        directory = runs_home() / new_run_id(self._last.name, datetime.now(UTC))
        self._queue.add(msgspec.structs.replace(self._last, directory=directory))

    def stop(self) -> None:
        """Asks once, in a strip of Live, or of Compare for pairs; the second time it stops."""
        running = self._queue.running
        if running is None:
            return
        if running.launch.kind == "pairs":
            self._window.show_page("compare")
            self._pairs.watching(running.launch.directory).stop()
        else:
            self._window.show_page("live")
            self._live_of(running).stop()

    def _live_of(self, job: Job) -> LivePage:
        """Watching that job's run, where it watched another."""
        self._listen()
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
        self._listen()
        self._recovery.leave_out(launch.directory)
        self._window.pages.live.run.engine.launch(launch)  # its engine starts while the page is drawn
        self._window.show_page("live")

    def _watch(self, directory: Path) -> None:
        self._listen()
        self._window.show_page("live")
        self._window.pages.live.watch(directory)
        self._queue.watch(directory, directory.name)

    def _listen(self) -> None:
        """To the Live page, once it is there."""
        if not self._is_listening:
            self._is_listening = True
            self._window.pages.live.state_changed.connect(self._show)

    def _show(self, state: LiveState) -> None:
        self._seen = state
        running = self._queue.running
        if running is None or running.launch.kind == "run":  # else it is one of the pairs, which the bar shows
            self.bar.show_state(state)
        if state.going == "failed" and state.directory is not None:
            self._queue.launch_failed(state.directory, state.message)

    def _leave_the_machine_alone(self) -> None:
        """While a run measures, what is shown of the machine is what that run reads."""
        running = self._queue.running
        self._machine.follow_run(None if running is None else running.measured)

    def _tell_end(self, job: Job) -> None:
        if notifications_are_on(self._window.settings):
            self._notifications.tell_ended(job.launch.name, job.status, job.lasted_s)

    def _may_close(self) -> bool:
        running, seen = self._queue.running, self._seen
        if running is None or (seen.directory == running.launch.directory and not seen.is_running):
            return self._closing.may_close(None, 0, lambda: None)
        return self._closing.may_close(running.launch.name, len(self._queue.waiting), lambda: self._stop_now(running))

    def _stop_now(self, job: Job) -> None:
        if job.launch.kind == "pairs":
            self._pairs.watching(job.launch.directory).stop_now()
        else:
            self._live_of(job).stop_now()
