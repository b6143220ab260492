"""The pairs that Compare measures or watches: their engine, their events, and their end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.compare.beside import forget_beside
from app.gui.compare.pairs_state import PairsGoing, PairsState, end_notice, pairs_after
from app.gui.engine.asking import Asking
from app.gui.engine.launch import EngineProcess, start_engine
from app.gui.engine.reaping import Reaper
from app.gui.engine.watch import EngineWatch
from app.gui.navigation import Launch, Notice, notice_of
from app.records.control import Wish
from app.records.events import Event


class PairsRun(QObject):
    """Some pairs at a time. Closing the window, or its crash, leaves the engine going."""

    changed = Signal(object)
    """A PairsState; at most one a second where only time went by."""
    news = Signal(object)
    """A Notice."""
    ended = Signal(object, object)
    """The PairsState of pairs that have ended, well or not, and a Notice: what is whole of them can be compared."""

    def __init__(self, parent: QObject, now_ns: Callable[[], int] = perf_counter_ns) -> None:
        super().__init__(parent)
        self.state = PairsState()
        self._told = self.state
        self._now_ns = now_ns
        self._watch: EngineWatch | None = None
        self._reaper, self._asking = Reaper(self), Asking(self)
        self._asking.refused.connect(self._refused)
        self._is_called_off = False

    def launch(self, launch: Launch) -> None:
        try:
            engine = start_engine(launch)
        except OSError as error:
            self._begin(launch.directory, launch.name)
            what = f"The engine could not be started: {error.strerror}."
            self._fail(Notice("error", what, None, "Look at the folder that runs are kept in."))
            return
        self._follow(launch.directory, launch.name, engine)

    def watch(self, directory: Path) -> None:
        """Pairs that go on, or have ended: they are told as they went."""
        if directory != self.state.directory or not self.state.is_running:
            self._follow(directory, directory.name, None)

    def stop(self) -> None:
        """The first time what is in flight may finish, the second time it is cut."""
        directory, watch = self.state.directory, self._watch
        if directory is None or not self.state.is_running:
            return
        if self.state.going == "starting" and watch is not None and watch.engine is not None:
            self._is_called_off = True
            watch.engine.end()
            return
        self._asking.stop(directory)
        self._put(msgspec.structs.replace(self.state, going="stopping"))

    def _begin(self, directory: Path, name: str) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            self._reaper.take_over(watch)
        self._is_called_off = False
        self._put(PairsState(going="starting", directory=directory, name=name))

    def _follow(self, directory: Path, name: str, engine: EngineProcess | None) -> None:
        self._begin(directory, name)
        watch = self._watch = EngineWatch(directory, engine, self)
        watch.received.connect(self._take)
        watch.drained.connect(self._drained)
        watch.finished.connect(self._finish)
        watch.lost.connect(self._lose)
        watch.failed.connect(self._fail)
        watch.start()

    def _take(self, event: Event) -> None:
        self.state = pairs_after(self.state, event)

    def _drained(self, _: int) -> None:
        progress = self.state.progress
        if progress.at_ns is not None and self.state.is_running and progress.finished is None:
            at_ns = max(progress.at_ns, self._now_ns())  # nothing is told until a run has ended
            self.state = msgspec.structs.replace(self.state, progress=msgspec.structs.replace(progress, at_ns=at_ns))
        if _by_the_second(self.state) != _by_the_second(self._told):
            self._put(self.state)

    def _put(self, state: PairsState) -> None:
        self.state = self._told = state
        self.changed.emit(state)

    def _finish(self, code: int, message: str) -> None:
        self._end("ended", end_notice(self.state, code, message))

    def _lose(self) -> None:
        kept = "Whole pairs until then: {pairs}. Every run is in the Library."
        what = "The engine that measured the pairs is gone, and did not tell of its end."
        self._end("lost", Notice("error", what, kept.format(pairs=self.state.pairs)))

    def _fail(self, notice: Notice) -> None:
        directory = self.state.directory
        if directory is not None:
            with contextlib.suppress(OSError):  # then something else is in it
                forget_beside(directory)
        if self._is_called_off:
            notice = Notice("news", "Stopped before anything was measured.")
        self.state = msgspec.structs.replace(self.state, said=notice.why or notice.what)
        self._end("failed", notice)

    def _end(self, going: PairsGoing, notice: Notice) -> None:
        self._put(msgspec.structs.replace(self.state, going=going))
        self.ended.emit(self.state, notice)

    def _refused(self, _: Wish, error: Exception) -> None:
        if self.state.going == "stopping":
            self._put(msgspec.structs.replace(self.state, going="running"))
        self.news.emit(notice_of(error))


def _by_the_second(state: PairsState) -> PairsState:
    progress = state.progress
    at_ns = None if progress.at_ns is None else progress.at_ns // 1_000_000_000
    return msgspec.structs.replace(state, progress=msgspec.structs.replace(progress, at_ns=at_ns))
