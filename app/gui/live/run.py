"""The run that Live watches: its engine, its events, and what it is asked."""

from __future__ import annotations

from pathlib import Path

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.engine.asking import Asking
from app.gui.engine.launch import EngineProcess, start_engine
from app.gui.engine.reaping import Reaper
from app.gui.engine.watch import EngineWatch
from app.gui.live.presenter import LivePresenter
from app.gui.live.state import LiveState
from app.gui.navigation import Launch, Notice, notice_of
from app.records.control import StopRun, Wish
from app.storage.run_directory import RESULT

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
        self._watch: EngineWatch | None = None
        self._reaper = Reaper(self)
        self._asking = Asking(self)
        self._asking.refused.connect(self._refused)
        self._told: LiveState | None = None
        self._is_invalid = self._is_called_off = False

    @property
    def is_running(self) -> bool:
        return self.presenter.state().is_running

    @property
    def directory(self) -> Path | None:
        return self.presenter.directory

    def watch(self, directory: Path) -> None:
        """One that goes on, or that has ended: it is shown as it went."""
        self._follow(directory, None, directory.name)

    def launch(self, launch: Launch) -> None:
        try:
            engine = start_engine(launch)
        except OSError as error:
            self._let_go()
            self.presenter = LivePresenter(launch.directory, launch.name)
            self.began.emit()
            what = f"The engine could not be started: {error.strerror}."
            self._fail(Notice("error", what, None, "Look at the folder that runs are kept in."))
            return
        self._follow(launch.directory, engine, launch.name)

    def stop(self) -> None:
        """The first time what is in flight may finish, the second time it is cut."""
        directory = self.directory
        if directory is None or not self.is_running:
            return
        engine = None if self._watch is None else self._watch.engine
        if self.presenter.going == "starting" and engine is not None:
            self._is_called_off = True
            engine.end()
            return
        self._asking.stop(directory)
        if self.presenter.going == "running":
            self.presenter.going = "stopping"
        self._tell_state()

    def note(self, text: str) -> None:
        if self.directory is not None:
            self._asking.note(self.directory, text)

    def change_rate(self, rate_per_s: float) -> None:
        if self.directory is not None:
            self._asking.change_rate(self.directory, rate_per_s)

    def extend(self, by_s: float) -> None:
        if self.directory is not None:
            self._asking.extend(self.directory, by_s)

    def _follow(self, directory: Path, engine: EngineProcess | None, name: str) -> None:
        self._let_go()
        self.presenter, self._is_invalid = LivePresenter(directory, name), False
        self._is_called_off = False
        watch = self._watch = EngineWatch(directory, engine, self)
        watch.received.connect(self.presenter.take)
        watch.readings.connect(self.presenter.take_readings)
        watch.drained.connect(self._drained)
        watch.damaged.connect(self._tell_damage)
        watch.finished.connect(self._finish)
        watch.lost.connect(self._lose)
        watch.failed.connect(self._fail)
        watch.start()
        self.began.emit()
        self._tell_state()

    def _let_go(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            self._reaper.take_over(watch)

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
        is_ours = self._watch is not None and self._watch.engine is not None
        self.ended.emit(directory, is_ours)

    def _lose(self) -> None:
        self.presenter.lose("lost")
        self._drained(0)
        what = "The engine is gone, and did not tell of its end."
        next_step = "What was measured until then is kept, and can be opened."
        self.news.emit(News(Notice("error", what, None, next_step), has_results=True))

    def _fail(self, notice: Notice) -> None:
        if self._is_called_off:
            notice = Notice("news", "Stopped before anything was measured.")
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
