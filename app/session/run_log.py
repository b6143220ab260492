"""Event log of a session. It emits events immediately, and collects checks and notes for the
result."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.records import events
from app.records.result import Check
from app.session.dependencies import Emit


class RunLog:
    """Log that emits events, and collects the checks and notes of one run. Events may be emitted by
    any thread, because a lock serializes them."""

    def __init__(self, emit: Emit, now_ns: Callable[[], int]) -> None:
        self._emit, self._now_ns = emit, now_ns
        self._lock = threading.Lock()
        self.checks: list[Check] = []
        self.notes: list[str] = []
        self.user_notes: list[str] = []

    def emit(self, event: events.Event) -> None:
        with self._lock:
            self._emit(event)

    def emit_phase(self, phase: str, message: str, *, stages: int | None = None, stages_s: float | None = None) -> None:
        self.emit(events.PhaseChanged(self._now_ns(), phase, message, stages, stages_s))

    def add_check(self, check: Check) -> None:
        self.checks.append(check)
        self.emit(events.CheckCompleted(at_ns=self._now_ns(), check=check))

    def add_note(self, text: str) -> None:
        """Add a note to the result without emitting an event."""
        self.notes.append(text)

    def add_user_note(self, text: str) -> None:
        self.user_notes.append(text)
        self.emit(events.NoteAdded(at_ns=self._now_ns(), text=text))
