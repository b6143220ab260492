"""Presenter of the Compare page: the selected runs and the outcome of their comparison."""

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
    """Emits the `Asked` comparison as soon as any part of it changes."""
    compared = Signal(object)
    """Emits the `Outcome`."""
    drawn = Signal(str, object)
    """Emits the name of a stage and a tuple of `Curve`."""

    def __init__(self, parent: QObject, navigation: Navigation) -> None:
        super().__init__(parent)
        self.asked = Asked((), TOLERANCE, is_forced=False)
        self.outcome: Outcome | None = None
        self._stage = ""
        self._comparing: Latest[Outcome] = Latest(self, self._set_outcome, navigation.tell_error)
        self._drawing: Latest[tuple[Curve, ...]] = Latest(self, self._emit_curves, navigation.tell_error)

    @property
    def is_busy(self) -> bool:
        return self._comparing.is_busy or self._drawing.is_busy

    def compare(self, paths: Sequence[Path]) -> None:
        """Compare exactly these runs, the first of them as the baseline."""
        unique_paths = tuple(dict.fromkeys(path.absolute() for path in paths))[:MOST_RUNS]
        entries_by_path = {entry.path: entry for entry in self.asked.entries}
        entries = [
            Entry(
                path,
                "candidate" if index else "base",
                entries_by_path[path].result if path in entries_by_path else None,
            )
            for index, path in enumerate(unique_paths)
        ]
        self._update(entries=tuple(entries), is_forced=False)

    def compare_sides(self, asked: Asked) -> None:
        """Compare these entries, with any number of repeats. Results that have been read already are reused."""
        entries_by_path = {entry.path: entry for entry in self.asked.entries}
        entries = [
            msgspec.structs.replace(entries_by_path.get(entry.path, entry), side=entry.side) for entry in asked.entries
        ]
        self._update(entries=tuple(entries), tolerance=asked.tolerance, is_forced=asked.is_forced)

    def add(self, path: Path) -> bool:
        """Add a run. Return False if the list is full or already contains it."""
        path, entries = path.absolute(), self.asked.entries
        if len(entries) >= MOST_RUNS or any(entry.path == path for entry in entries):
            return False
        side: Side = "candidate" if any(entry.side == "base" for entry in entries) else "base"
        self._update(entries=(*entries, Entry(path, side)))
        return True

    def remove(self, place: int) -> None:
        self._update(entries=tuple(entry for index, entry in enumerate(self.asked.entries) if index != place))

    def set_side(self, place: int, side: Side) -> None:
        entries = list(self.asked.entries)
        if entries[place].side != side:
            entries[place] = msgspec.structs.replace(entries[place], side=side)
            self._update(entries=tuple(entries))

    def swap(self) -> None:
        """Swap the baseline and the candidate."""
        opposite: dict[Side, Side] = {"base": "candidate", "candidate": "base", "drawn": "drawn"}
        self._update(
            entries=tuple(msgspec.structs.replace(entry, side=opposite[entry.side]) for entry in self.asked.entries)
        )

    def set_tolerance(self, share: float) -> None:
        self._update(tolerance=share)

    def set_forced(self, is_forced: bool) -> None:
        self._update(is_forced=is_forced)

    def draw(self, stage: str) -> None:
        if self.outcome is not None and stage:
            entries, self._stage = self.outcome.asked.entries, stage
            self._drawing.ask(lambda: curves_of(entries, stage))

    def _update(
        self, entries: tuple[Entry, ...] | None = None, tolerance: float | None = None, is_forced: bool | None = None
    ) -> None:
        previous = self.asked
        self.asked = request = Asked(
            previous.entries if entries is None else entries,
            previous.tolerance if tolerance is None else tolerance,
            previous.is_forced if is_forced is None else is_forced,
        )
        if request == previous:
            return
        self.outcome = None
        self._drawing.forget()
        self.chosen.emit(request)
        if request.entries:
            self._comparing.ask(lambda: compared(request))
        else:
            self._comparing.forget()

    def _set_outcome(self, outcome: Outcome) -> None:
        self.asked = outcome.asked
        self.outcome = outcome
        self.compared.emit(outcome)

    def _emit_curves(self, curves: tuple[Curve, ...]) -> None:
        self.drawn.emit(self._stage, curves)
