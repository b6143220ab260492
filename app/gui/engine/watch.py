"""A run's events as Qt signals, read from its directory: of an engine started here, or of any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from app.gui.engine.launch import EngineProcess, tell_early_end
from app.storage.following import RunFollower, StreamFollower
from app.storage.run_directory import TELEMETRY

MOST_EVENTS = 500
"""In a slice."""
MOST_BATCHES = 4
_EVENTS_S, _SLICE_S = 0.002, 0.003
"""Readings have what events leave of a slice, and one batch in any case."""
_LOOK_MS = 100
_MORE_MS = 16


class EngineWatch(QObject):
    """Nothing is told between `stop` and the next `start`. A run that has ended already is told whole, then its end.

    What there is to read is taken in slices: a few milliseconds of it, then the window has its turn. An engine that was
    started elsewhere has `patience_s` until its first event; without it, a directory that no engine holds is lost.
    """

    received = Signal(object)
    """An Event."""
    readings = Signal(object)
    """A record batch of telemetry."""
    drained = Signal(int)
    """A slice is over; how many events were in it."""
    damaged = Signal()
    """Once: there are lines that are no events."""
    finished = Signal(int, str)
    """The exit code and the causes, after all events."""
    lost = Signal()
    """The engine is gone, and did not tell of its end."""
    failed = Signal(object)
    """A Notice: the engine ended before it told of anything."""

    def __init__(
        self,
        directory: Path,
        engine: EngineProcess | None = None,
        parent: QObject | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        patience_s: float | None = None,
        look_ms: int = _LOOK_MS,
        has_readings: bool = True,
    ) -> None:
        super().__init__(parent)
        self.directory, self.engine = directory, engine
        self._clock, self._began_s, self._patience_s, self._look_ms = clock, clock(), patience_s, look_ms
        self._run = RunFollower(directory)
        self._telemetry = StreamFollower(directory / TELEMETRY) if has_readings else None
        self._has_told_damage = self._has_events = self._is_gone = self._has_ended = False
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)

    @property
    def is_watching(self) -> bool:
        return self._timer.isActive()

    def start(self) -> None:
        self._timer.start(0)

    def stop(self) -> None:
        """The engine goes on."""
        self._timer.stop()

    def _tick(self) -> None:
        began_s = self._clock()
        events, has_more = self._take_events(began_s + _EVENTS_S)
        has_more = self._take_readings(began_s + _SLICE_S) or has_more
        self._tell_damage()
        self.drained.emit(events)
        if not self.is_watching:
            return
        self._timer.setInterval(_MORE_MS if has_more else self._look_ms)
        if not has_more:
            self._look_after_engine()

    def _take_events(self, until_s: float) -> tuple[int, bool]:
        """How many, and whether there may be more."""
        for taken in range(MOST_EVENTS):
            event = self._run.take() if self._clock() < until_s else None
            if event is None:
                return taken, self._clock() >= until_s
            self._has_events = True
            self.received.emit(event)
            if not self.is_watching:
                return taken + 1, False
        return MOST_EVENTS, True

    def _take_readings(self, until_s: float) -> bool:
        """Whether there may be more."""
        if self._telemetry is None:
            return False
        for _ in range(MOST_BATCHES):
            batches = self._telemetry.take(1)
            if not batches or not self.is_watching:
                return False
            self.readings.emit(batches[0])
            if self._clock() >= until_s:
                break
        return True

    def _tell_damage(self) -> None:
        if self._run.damaged and not self._has_told_damage:
            self._has_told_damage = True
            self.damaged.emit()

    def _look_after_engine(self) -> None:
        """Everything that was there has been told."""
        code = None if self.engine is None else self.engine.poll()
        end = self._run.finished
        if end is not None:
            if not self._has_ended:
                self._has_ended = True
                self.finished.emit(end.exit_code, end.message)
            if self.engine is None or code is not None:
                self._timer.stop()
        elif self._is_there(code):
            self._is_gone = False
        elif self._is_gone:
            self._timer.stop()
            self._tell_loss(code)
        else:  # what it wrote just before it went is told first, by the next slice
            self._is_gone = True

    def _is_there(self, code: int | None) -> bool:
        if self.engine is not None:
            return code is None
        if self._patience_s is not None and not self._has_events:
            return self._clock() - self._began_s <= self._patience_s
        return self._run.is_written()

    def _tell_loss(self, code: int | None) -> None:
        if self.engine is not None and code is not None and not self._has_events:
            self.failed.emit(tell_early_end(self.engine, code))
        else:
            self.lost.emit()
