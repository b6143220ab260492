"""Watch a run, whether or not this window started it: read events and telemetry from the run
directory, and emit them as Qt signals."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from app.gui.engine.launch import EngineProcess, build_early_exit_notice
from app.storage.following import RunFollower, StreamFollower
from app.storage.run_directory import TELEMETRY

MAX_EVENTS_PER_SLICE = 500
"""Maximum number of events that `EngineWatch` reads before it returns to the event loop."""
MAX_BATCHES_PER_SLICE = 4
_EVENTS_LIMIT_S, _SLICE_LIMIT_S = 0.002, 0.003
"""Time limits, in seconds, for the events of a slice and for the whole slice. Telemetry is read in
the remaining time, but at least one batch per slice."""
_POLL_MS = 100
_NEXT_SLICE_MS = 16


class EngineWatch(QObject):
    """Reader of the events and telemetry of a run, which are emitted as signals.

    Nothing is emitted between `stop` and the next `start`. If the run has already ended, all its
    events are emitted, followed by `finished`.

    Data is read in slices of a few milliseconds, so that the window stays responsive. A run that
    was started elsewhere is considered lost if no process writes to its directory. If
    `startup_timeout_s` is set, the run has that many seconds to report its first event.
    """

    received = Signal(object)
    """Signal that is emitted with each `Event` of the run."""
    telemetry_received = Signal(object)
    """Signal that is emitted with each record batch of telemetry."""
    slice_finished = Signal(int)
    """Signal that is emitted at the end of each slice, with the number of events in the slice."""
    damage_detected = Signal()
    """Signal that is emitted once when a line of the event file cannot be decoded as an event."""
    finished = Signal(int, str)
    """Signal that is emitted after all events, with the exit code and the final message of the
    run."""
    process_lost = Signal()
    """Signal that is emitted if the process of the run has disappeared without reporting the end of
    the run."""
    failed = Signal(object)
    """Signal that is emitted with a `Notice` if the process ended before its first event."""

    def __init__(
        self,
        directory: Path,
        engine: EngineProcess | None = None,
        parent: QObject | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        startup_timeout_s: float | None = None,
        poll_ms: int = _POLL_MS,
        has_telemetry: bool = True,
    ) -> None:
        super().__init__(parent)
        self.directory, self.engine = directory, engine
        self._clock, self._start_s, self._startup_timeout_s, self._poll_ms = clock, clock(), startup_timeout_s, poll_ms
        self._run_follower = RunFollower(directory)
        self._telemetry_follower = StreamFollower(directory / TELEMETRY) if has_telemetry else None
        self._has_reported_damage = self._has_events = self._is_process_gone = self._has_ended = False
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)

    @property
    def is_watching(self) -> bool:
        return self._timer.isActive()

    def start(self) -> None:
        self._timer.start(0)

    def stop(self) -> None:
        """Stop watching; the run itself continues."""
        self._timer.stop()

    def _tick(self) -> None:
        start_s = self._clock()
        event_count, has_more_data = self._read_events(start_s + _EVENTS_LIMIT_S)
        has_more_data = self._read_telemetry(start_s + _SLICE_LIMIT_S) or has_more_data
        self._report_damage()
        self.slice_finished.emit(event_count)
        if not self.is_watching:
            return
        self._timer.setInterval(_NEXT_SLICE_MS if has_more_data else self._poll_ms)
        if not has_more_data:
            self._check_process()

    def _read_events(self, deadline_s: float) -> tuple[int, bool]:
        """Emit events until the deadline. Return the number of emitted events, and whether more
        events may be available."""
        for index in range(MAX_EVENTS_PER_SLICE):
            event = self._run_follower.read_next() if self._clock() < deadline_s else None
            if event is None:
                return index, self._clock() >= deadline_s
            self._has_events = True
            self.received.emit(event)
            if not self.is_watching:
                return index + 1, False
        return MAX_EVENTS_PER_SLICE, True

    def _read_telemetry(self, deadline_s: float) -> bool:
        """Emit telemetry until the deadline. Return whether more telemetry may be available."""
        if self._telemetry_follower is None:
            return False
        for _ in range(MAX_BATCHES_PER_SLICE):
            batches = self._telemetry_follower.read_batches(1)
            if not batches or not self.is_watching:
                return False
            self.telemetry_received.emit(batches[0])
            if self._clock() >= deadline_s:
                break
        return True

    def _report_damage(self) -> None:
        if self._run_follower.damaged_count and not self._has_reported_damage:
            self._has_reported_damage = True
            self.damage_detected.emit()

    def _check_process(self) -> None:
        """Check whether the process has ended or disappeared. This method is called when all
        available data has been read."""
        exit_code = None if self.engine is None else self.engine.poll()
        finished_event = self._run_follower.finished_event
        if finished_event is not None:
            if not self._has_ended:
                self._has_ended = True
                self.finished.emit(finished_event.exit_code, finished_event.message)
            if self.engine is None or exit_code is not None:
                self._timer.stop()
        elif self._is_alive(exit_code):
            self._is_process_gone = False
        elif self._is_process_gone:
            self._timer.stop()
            self._report_loss(exit_code)
        else:  # the next slice first reads what the process wrote just before it ended
            self._is_process_gone = True

    def _is_alive(self, exit_code: int | None) -> bool:
        if self.engine is not None:
            return exit_code is None
        if self._startup_timeout_s is not None and not self._has_events:
            return self._clock() - self._start_s <= self._startup_timeout_s
        return self._run_follower.is_active()

    def _report_loss(self, exit_code: int | None) -> None:
        if self.engine is not None and exit_code is not None and not self._has_events:
            self.failed.emit(build_early_exit_notice(self.engine, exit_code))
        else:
            self.process_lost.emit()
