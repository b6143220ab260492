"""Speaks to a running engine, as `sizewise runs stop|rate|extend` do; the window does not wait for the answer."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal

from app.gui.background import submit
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
