"""Runs asked for, started in their turn, and told of in toolbar, status bar and docks while they go on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject

from app.gui.closing import Closing
from app.gui.docks.job_queue import Job, JobQueue
from app.gui.docks.machine_watch import MachineWatch
from app.gui.launching_pairs import LaunchingPairs
from app.gui.live.state import LiveState
from app.gui.navigation import Launch
from app.gui.notifications import Notifications
from app.gui.recovery import Recovery
from app.gui.run_bar import RunBar
from app.gui.settings import notifications_are_on
from app.gui.window import Window

if TYPE_CHECKING:
    from app.gui.live.page import LivePage


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
