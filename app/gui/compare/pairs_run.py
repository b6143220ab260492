"""The pairs that Compare measures or watches: their engine, their events, and their end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.compare.entries import forget_beside
from app.gui.compare.pairs_state import PairsGoing, PairsState, end_notice, pairs_after
from app.gui.engine.run import EngineRun
from app.gui.navigation import Notice, notice_of
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
        engine = self.engine = EngineRun(self)
        engine.began.connect(self._begin)
        engine.received.connect(self._take)
        engine.drained.connect(self._drained)
        engine.finished.connect(self._finish)
        engine.lost.connect(self._lose)
        engine.failed.connect(self._fail)
        engine.refused.connect(self._refused)

    def watch(self, directory: Path) -> None:
        """Pairs that go on, or have ended: they are told as they went."""
        if directory != self.state.directory or not self.state.is_running:
            self.engine.watch(directory)

    def stop(self) -> None:
        """The first time what is in flight may finish, the second time it is cut."""
        directory = self.state.directory
        if directory is None or not self.state.is_running:
            return
        if self.state.going == "starting" and self.engine.call_off():
            return
        self.engine.requests.stop(directory)
        self._put(msgspec.structs.replace(self.state, going="stopping"))

    def _begin(self, directory: Path, name: str) -> None:
        self._put(PairsState(going="starting", directory=directory, name=name))

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
