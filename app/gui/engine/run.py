"""Run that a page watches until the run ends, and that the page controls by commands. The run may
have been started in this window or elsewhere.

Commands are sent in the same way as by `sizewise runs stop`, `rate` and `extend`. The window does
not block while it waits for the reply.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal

from app.gui.background import submit
from app.gui.engine.launch import EngineProcess, start_engine
from app.gui.engine.reaper import Reaper
from app.gui.engine.watch import EngineWatch
from app.gui.navigation import Launch, Notice
from app.records.control import MAX_NOTE_LENGTH, AddNote, ControlCommand, Extend, SetRate, StopRun
from app.storage.control import send_command


class RunControlClient(QObject):
    """Client of the control channel of a run. Commands are sent in the background, each with its
    own timeout."""

    command_succeeded = Signal(object, str)
    """Signal that is emitted with a command and the reply of the run when the command succeeds."""
    command_failed = Signal(object, object)
    """Signal that is emitted with a command and the error when the command fails."""

    def stop(self, directory: Path) -> None:
        """Stop the run. The first call lets in-flight requests finish; a second call cancels
        them."""
        self._send(directory, StopRun())

    def add_note(self, directory: Path, text: str) -> None:
        """Add a note to the run. The note is truncated to `MAX_NOTE_LENGTH` characters; a blank
        note is ignored."""
        text = text.strip()[:MAX_NOTE_LENGTH]
        if text:
            self._send(directory, AddNote(text))

    def change_rate(self, directory: Path, rate_per_s: float) -> None:
        self._send(directory, SetRate(rate_per_s))

    def extend(self, directory: Path, duration_s: float) -> None:
        self._send(directory, Extend(duration_s))

    def _send(self, directory: Path, command: ControlCommand) -> None:
        submit(
            self,
            lambda: send_command(directory, command),
            lambda reply: self.command_succeeded.emit(command, reply),
            lambda error: self.command_failed.emit(command, error),
        )


class EngineRun(QObject):
    """Run that a page watches, if any. The run continues when the page stops watching, and when the
    window closes or crashes."""

    started = Signal(object, str)
    """Signal that is emitted with the directory and the name of a run when watching begins, before
    the first event."""
    received = Signal(object)
    telemetry_received = Signal(object)
    slice_finished = Signal(int)
    damage_detected = Signal()
    finished = Signal(int, str)
    process_lost = Signal()
    failed = Signal(object)
    """Signal that is emitted with a `Notice` if the process of the run cannot be started, or ends
    before its first event."""
    command_failed = Signal(object, object)
    """Signal that is emitted with a command and the error when the command fails."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.control = RunControlClient(self)
        self.control.command_failed.connect(self.command_failed)
        self._watch: EngineWatch | None = None
        self._reaper = Reaper(self)
        self._is_canceled = False

    @property
    def is_started_here(self) -> bool:
        return self._watch is not None and self._watch.engine is not None

    def launch(self, launch: Launch) -> None:
        try:
            engine = start_engine(launch)
        except OSError as error:
            self._begin(launch.directory, launch.name)
            summary = f"The benchmark process could not be started: {error.strerror}."
            self._fail(Notice("error", summary, None, "Check the directory where runs are stored."))
        else:
            self._follow(launch.directory, launch.name, engine)

    def watch(self, directory: Path) -> None:
        """Watch a run that is in progress or has ended. All events of the run are emitted, starting
        with the first."""
        self._follow(directory, directory.name, None)

    def cancel_launch(self) -> bool:
        """Terminate the process of a run that cannot receive commands yet. Return `False` if the
        page watches no run that was started in this window."""
        if self._watch is None or self._watch.engine is None:
            return False
        self._is_canceled = True
        self._watch.engine.terminate()
        return True

    def _begin(self, directory: Path, name: str) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            self._reaper.adopt_watch(watch)
        self._is_canceled = False
        self.started.emit(directory, name)

    def _follow(self, directory: Path, name: str, engine: EngineProcess | None) -> None:
        self._begin(directory, name)
        watch = self._watch = EngineWatch(directory, engine, self)
        watch.received.connect(self.received)
        watch.telemetry_received.connect(self.telemetry_received)
        watch.slice_finished.connect(self.slice_finished)
        watch.damage_detected.connect(self.damage_detected)
        watch.finished.connect(self.finished)
        watch.process_lost.connect(self.process_lost)
        watch.failed.connect(self._fail)
        watch.start()

    def _fail(self, notice: Notice) -> None:
        self.failed.emit(
            Notice("news", "The run was stopped before the first measurement.") if self._is_canceled else notice
        )
