"""The runs that are compared, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import Latest
from app.gui.compare.entries import MOST_RUNS, Asked, Entry, Side
from app.gui.compare.outcome import Curve, Outcome, compared, curves_of
from app.gui.navigation import Navigation

TOLERANCE = 0.05


class ComparePresenter(QObject):
    chosen = Signal(object)
    """The Asked, as soon as anything of it is another."""
    compared = Signal(object)
    """An Outcome."""
    drawn = Signal(str, object)
    """A stage, and a tuple of Curve."""

    def __init__(self, parent: QObject, navigation: Navigation) -> None:
        super().__init__(parent)
        self.asked = Asked((), TOLERANCE, is_forced=False)
        self.outcome: Outcome | None = None
        self._stage = ""
        self._comparing: Latest[Outcome] = Latest(self, self._show, navigation.tell_error)
        self._drawing: Latest[tuple[Curve, ...]] = Latest(self, self._show_curves, navigation.tell_error)

    @property
    def is_busy(self) -> bool:
        return self._comparing.is_busy or self._drawing.is_busy

    def compare(self, paths: Sequence[Path]) -> None:
        """These and no others: the first is the baseline."""
        unlike = tuple(dict.fromkeys(path.absolute() for path in paths))[:MOST_RUNS]
        known = {one.path: one for one in self.asked.entries}
        entries = [
            Entry(path, "candidate" if place else "base", known[path].result if path in known else None)
            for place, path in enumerate(unlike)
        ]
        self._ask(entries=tuple(entries), is_forced=False)

    def compare_sides(self, asked: Asked) -> None:
        """As it is asked, however many repeats it has. What is read of them already is not read again."""
        known = {one.path: one for one in self.asked.entries}
        entries = [msgspec.structs.replace(known.get(one.path, one), side=one.side) for one in asked.entries]
        self._ask(entries=tuple(entries), tolerance=asked.tolerance, is_forced=asked.is_forced)

    def add(self, path: Path) -> bool:
        """Whether there was room for it, and it was not there."""
        path, entries = path.absolute(), self.asked.entries
        if len(entries) >= MOST_RUNS or any(one.path == path for one in entries):
            return False
        side: Side = "candidate" if any(one.side == "base" for one in entries) else "base"
        self._ask(entries=(*entries, Entry(path, side)))
        return True

    def remove(self, place: int) -> None:
        self._ask(entries=tuple(one for at, one in enumerate(self.asked.entries) if at != place))

    def set_side(self, place: int, side: Side) -> None:
        entries = list(self.asked.entries)
        if entries[place].side != side:
            entries[place] = msgspec.structs.replace(entries[place], side=side)
            self._ask(entries=tuple(entries))

    def swap(self) -> None:
        """The baseline becomes the candidate, and the other way round."""
        other: dict[Side, Side] = {"base": "candidate", "candidate": "base", "drawn": "drawn"}
        self._ask(entries=tuple(msgspec.structs.replace(one, side=other[one.side]) for one in self.asked.entries))

    def set_tolerance(self, share: float) -> None:
        self._ask(tolerance=share)

    def set_forced(self, is_forced: bool) -> None:
        self._ask(is_forced=is_forced)

    def draw(self, stage: str) -> None:
        if self.outcome is not None and stage:
            entries, self._stage = self.outcome.asked.entries, stage
            self._drawing.ask(lambda: curves_of(entries, stage))

    def _ask(
        self, entries: tuple[Entry, ...] | None = None, tolerance: float | None = None, is_forced: bool | None = None
    ) -> None:
        before = self.asked
        self.asked = asked = Asked(
            before.entries if entries is None else entries,
            before.tolerance if tolerance is None else tolerance,
            before.is_forced if is_forced is None else is_forced,
        )
        if asked == before:
            return
        self.outcome = None
        self._drawing.forget()
        self.chosen.emit(asked)
        if asked.entries:
            self._comparing.ask(lambda: compared(asked))
        else:
            self._comparing.forget()

    def _show(self, outcome: Outcome) -> None:
        self.asked = outcome.asked
        self.outcome = outcome
        self.compared.emit(outcome)

    def _show_curves(self, curves: tuple[Curve, ...]) -> None:
        self.drawn.emit(self._stage, curves)
