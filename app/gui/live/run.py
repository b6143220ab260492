"""The run that Live watches: its engine, its events, and what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.engine.run import EngineRun
from app.gui.live.presenter import LivePresenter
from app.gui.live.state import LiveState
from app.gui.navigation import Notice, notice_of
from app.records.control import StopRun, Wish
from app.records.events import Event
from app.storage.run_directory import RESULT

if TYPE_CHECKING:
    import pyarrow as pa

_STOPPED_EARLY = (5, 10, 11, 12, 130, 143)
"""Exit codes of runs that were measured, and have more to say than their numbers."""


class News(msgspec.Struct, frozen=True):
    """`has_results`: there is something to open."""

    notice: Notice
    has_results: bool = False


class LiveRun(QObject):
    """One run at a time. Closing the window, or its crash, leaves the engine going."""

    began = Signal()
    """Another run is watched: `presenter` is a new one."""
    painted = Signal(object)
    """A frozenset of the Parts that changed."""
    state_changed = Signal(object)
    """A LiveState; at most one a second where only time went by."""
    news = Signal(object)
    """A News."""
    news_over = Signal()
    """That the run is INVALID does not hold any more."""
    ended = Signal(object, bool)
    """Its directory, and whether it was started here."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.presenter = LivePresenter()
        self._told: LiveState | None = None
        self._is_invalid = False
        engine = self.engine = EngineRun(self)
        engine.began.connect(self._begin)
        engine.received.connect(self._take)
        engine.readings.connect(self._take_readings)
        engine.drained.connect(self._drained)
        engine.damaged.connect(self._tell_damage)
        engine.finished.connect(self._finish)
        engine.lost.connect(self._lose)
        engine.failed.connect(self._fail)
        engine.refused.connect(self._refused)

    @property
    def is_running(self) -> bool:
        return self.presenter.state().is_running

    @property
    def directory(self) -> Path | None:
        return self.presenter.directory

    def stop(self) -> None:
        """The first time what is in flight may finish, the second time it is cut."""
        directory = self.directory
        if directory is None or not self.is_running:
            return
        if self.presenter.going == "starting" and self.engine.call_off():
            return
        self.engine.requests.stop(directory)
        if self.presenter.going == "running":
            self.presenter.going = "stopping"
        self._tell_state()

    def note(self, text: str) -> None:
        if self.directory is not None:
            self.engine.requests.note(self.directory, text)

    def change_rate(self, rate_per_s: float) -> None:
        if self.directory is not None:
            self.engine.requests.change_rate(self.directory, rate_per_s)

    def extend(self, by_s: float) -> None:
        if self.directory is not None:
            self.engine.requests.extend(self.directory, by_s)

    def _begin(self, directory: Path, name: str) -> None:
        self.presenter, self._is_invalid = LivePresenter(directory, name), False
        self.began.emit()
        self._tell_state()

    def _take(self, event: Event) -> None:
        self.presenter.take(event)

    def _take_readings(self, batch: pa.RecordBatch) -> None:
        self.presenter.take_readings(batch)

    def _drained(self, _: int) -> None:
        presenter = self.presenter
        if presenter.changed:
            parts = frozenset(presenter.changed)
            presenter.changed.clear()
            self.painted.emit(parts)
        if presenter.checks.is_invalid != self._is_invalid:
            self._is_invalid = presenter.checks.is_invalid
            self._tell_validity()
        self._tell_state()

    def _tell_validity(self) -> None:
        if not self._is_invalid:
            self.news_over.emit()
            return
        reasons = "; ".join(self.presenter.checks.why_invalid())
        what = "The measurement is INVALID so far: its numbers say nothing."
        next_step = "A search tries such a stage again; else stop the run, mend that, and measure again."
        self.news.emit(News(Notice("error", what, reasons, next_step)))

    def _tell_state(self) -> None:
        state = self.presenter.state()
        if self._told is None or _by_the_second(state) != _by_the_second(self._told):
            self._told = state
            self.state_changed.emit(state)

    def _finish(self, code: int, message: str) -> None:
        directory = self.directory
        assert directory is not None, "something is watched"
        self._drained(0)
        has_results = (directory / RESULT).exists()
        self.news.emit(News(_of_end(self.presenter.state(), code, message), has_results))
        self.ended.emit(directory, self.engine.is_started_here)

    def _lose(self) -> None:
        self.presenter.lose("lost")
        self._drained(0)
        what = "The engine is gone, and did not tell of its end."
        next_step = "What was measured until then is kept, and can be opened."
        self.news.emit(News(Notice("error", what, None, next_step), has_results=True))

    def _fail(self, notice: Notice) -> None:
        self.presenter.lose("failed")
        self.presenter.failure = notice.why or notice.what
        self._drained(0)
        self.news.emit(News(notice))

    def _tell_damage(self) -> None:
        what = "Some of what this run told cannot be read, and is left out."
        why = "It may come from another version of Sizewise, or be damaged."
        self.news.emit(News(Notice("warning", what, why)))

    def _refused(self, wish: Wish, error: Exception) -> None:
        if isinstance(wish, StopRun) and self.presenter.going == "stopping":
            self.presenter.going = "running"
            self._tell_state()
        self.news.emit(News(notice_of(error)))


def _by_the_second(state: LiveState) -> LiveState:
    eta_s = None if state.eta_s is None else float(int(state.eta_s))
    return msgspec.structs.replace(state, elapsed_s=float(int(state.elapsed_s)), eta_s=eta_s)


def _of_end(state: LiveState, code: int, message: str) -> Notice:
    verdict = state.trust or "nothing was checked"
    if code == 0:
        return Notice("news", f"The run has finished ({verdict}).", message or None)
    what = f"The run has ended with exit code {code} ({verdict})."
    return Notice("warning" if code in _STOPPED_EARLY else "error", what, message or None)
