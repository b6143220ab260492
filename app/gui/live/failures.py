"""Errors while a run goes on: by class, since when, how many, and what was seen of the first."""

from __future__ import annotations

from app.gui.live.state import FailureLine
from app.records.events import ErrorSeen, Snapshot, StageFinished

_MOST_CLASSES, _MOST_LETTERS = 50, 300
"""What is told may come from a file of another's hand."""


class Failures:
    def __init__(self) -> None:
        self._first_s: dict[str, float] = {}
        self._samples: dict[str, str] = {}
        self._before: dict[str, int] = {}
        """Of the stages that are over."""
        self._running: dict[str, int] = {}

    def take(self, told: Snapshot, at_s: float) -> bool:
        """Whether anything changed."""
        if told.errors == self._running:
            return False
        self._running = self._known(told.errors, at_s)
        return True

    def take_stage(self, told: StageFinished, at_s: float) -> bool:
        counted = self._known(told.stage.errors, at_s)
        for error, count in counted.items():
            self._before[error] = self._before.get(error, 0) + count
        had_any = bool(self._running or counted)
        self._running = {}
        return had_any

    def take_sample(self, told: ErrorSeen, at_s: float) -> None:
        """`at_s` is when it was seen, which the counts tell only about."""
        error = told.sample.error
        self._known({error: 1}, at_s)
        if error in self._first_s and error not in self._samples:
            self._first_s[error] = at_s
            self._samples[error] = told.sample.text[:_MOST_LETTERS]

    def lines(self) -> tuple[FailureLine, ...]:
        """The first seen first."""
        ordered = sorted(self._first_s.items(), key=lambda one: one[1])
        counts = {error: self._before.get(error, 0) + self._running.get(error, 0) for error, _ in ordered}
        return tuple(
            FailureLine(error=error, first_s=first_s, count=counts[error], sample=self._samples.get(error, ""))
            for error, first_s in ordered
            if counts[error]
        )

    def _known(self, errors: dict[str, int], at_s: float) -> dict[str, int]:
        for error in errors:
            if error not in self._first_s and len(self._first_s) < _MOST_CLASSES:
                self._first_s[error] = at_s
        return {error: count for error, count in errors.items() if error in self._first_s}
