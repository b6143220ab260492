"""The one engine that a page shows: started here or elsewhere, watched until it ends, and sent requests.

Speaks to a running engine, as `sizewise runs stop|rate|extend` do; the window does not wait for the
answer.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal

from app.gui.background import submit
from app.gui.engine.launch import EngineProcess, start_engine
from app.gui.engine.reaping import Reaper
from app.gui.engine.watch import EngineWatch
from app.gui.navigation import Launch, Notice
from app.records.control import NOTE_LENGTH, AddNote, Extend, SetRate, StopRun, Wish
from app.storage.control import ask_engine


class Asking(QObject):
    """Wishes reach the engine in the order in which they were asked, each by its own time."""

    granted = Signal(object, str)
    """The Wish, and the engine's answer."""
    refused = Signal(object, object)
    """The Wish, and the error that says why."""

    def stop(self, directory: Path) -> None:
        """The first time what is in flight may finish, the second time it is cut."""
        self._ask(directory, StopRun())

    def note(self, directory: Path, text: str) -> None:
        """Longer ones are cut; an empty one is none."""
        text = text.strip()[:NOTE_LENGTH]
        if text:
            self._ask(directory, AddNote(text))

    def change_rate(self, directory: Path, rate_per_s: float) -> None:
        self._ask(directory, SetRate(rate_per_s))

    def extend(self, directory: Path, by_s: float) -> None:
        self._ask(directory, Extend(by_s))

    def _ask(self, directory: Path, wish: Wish) -> None:
        submit(
            self,
            lambda: ask_engine(directory, wish),
            lambda answer: self.granted.emit(wish, answer),
            lambda error: self.refused.emit(wish, error),
        )


class EngineRun(QObject):
    """One at a time. An engine that is not watched any more, or whose window closes or crashes, goes on."""

    began = Signal(object, str)
    """The directory and the name of another run, before its first event."""
    received = Signal(object)
    readings = Signal(object)
    drained = Signal(int)
    damaged = Signal()
    finished = Signal(int, str)
    lost = Signal()
    failed = Signal(object)
    """These seven are those of `EngineWatch`. `failed` is also emitted when the engine cannot be started."""
    refused = Signal(object, object)
    """The request, and the error that says why."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.requests = Asking(self)
        self.requests.refused.connect(self.refused)
        self._watch: EngineWatch | None = None
        self._reaper = Reaper(self)
        self._is_called_off = False

    @property
    def is_started_here(self) -> bool:
        return self._watch is not None and self._watch.engine is not None

    def launch(self, launch: Launch) -> None:
        try:
            engine = start_engine(launch)
        except OSError as error:
            self._begin(launch.directory, launch.name)
            what = f"The engine could not be started: {error.strerror}."
            self._fail(Notice("error", what, None, "Look at the folder that runs are kept in."))
        else:
            self._follow(launch.directory, launch.name, engine)

    def watch(self, directory: Path) -> None:
        """A run that goes on, or has ended: its events are received from the first one."""
        self._follow(directory, directory.name, None)

    def call_off(self) -> bool:
        """End an engine of this window that cannot receive a request yet. False where none was started here."""
        if self._watch is None or self._watch.engine is None:
            return False
        self._is_called_off = True
        self._watch.engine.end()
        return True

    def _begin(self, directory: Path, name: str) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            self._reaper.take_over(watch)
        self._is_called_off = False
        self.began.emit(directory, name)

    def _follow(self, directory: Path, name: str, engine: EngineProcess | None) -> None:
        self._begin(directory, name)
        watch = self._watch = EngineWatch(directory, engine, self)
        watch.received.connect(self.received)
        watch.readings.connect(self.readings)
        watch.drained.connect(self.drained)
        watch.damaged.connect(self.damaged)
        watch.finished.connect(self.finished)
        watch.lost.connect(self.lost)
        watch.failed.connect(self._fail)
        watch.start()

    def _fail(self, notice: Notice) -> None:
        self.failed.emit(Notice("news", "Stopped before anything was measured.") if self._is_called_off else notice)
