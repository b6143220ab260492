"""Presenter of the Compare page: the selected runs and the outcome of their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.background import LatestRunner
from app.gui.compare.entries import MAX_RUNS, ComparisonEntry, ComparisonRequest, Side
from app.gui.compare.outcome import (
    Outcome,
    RunSpectra,
    compute_outcome,
    read_spectra,
    read_time_overlays,
)
from app.gui.navigation import Navigation
from reports.sections.figure import LineFigure

DEFAULT_TOLERANCE = 0.05


class ComparePresenter(QObject):
    request_changed = Signal(object)
    """Signal that is emitted with the new `ComparisonRequest` when the runs, a side, the tolerance
    or the force option has changed."""
    compared = Signal(object)
    """Signal that is emitted with the `Outcome` of the comparison."""
    spectra_ready = Signal(str, object)
    """Signal that is emitted with the name of a stage and the latency distributions of the drawn
    runs (a tuple of `RunSpectra`)."""

    time_overlays_ready = Signal(object)
    """Signal that is emitted with the figures of the drawn runs over time, by metric."""

    def __init__(self, parent: QObject, navigation: Navigation) -> None:
        super().__init__(parent)
        self.request = ComparisonRequest((), DEFAULT_TOLERANCE, is_forced=False)
        self.outcome: Outcome | None = None
        self._stage = ""
        self._outcome_reader: LatestRunner[Outcome] = LatestRunner(self, self._set_outcome, navigation.notify_error)
        self._spectra_reader: LatestRunner[tuple[RunSpectra, ...]] = LatestRunner(
            self, self._emit_spectra, navigation.notify_error
        )

        self._overlay_reader: LatestRunner[dict[str, LineFigure]] = LatestRunner(
            self, self.time_overlays_ready.emit, navigation.notify_error
        )

    @property
    def is_busy(self) -> bool:
        return self._outcome_reader.is_busy or self._spectra_reader.is_busy or self._overlay_reader.is_busy

    def compare(self, paths: Sequence[Path]) -> None:
        """Compare the runs in `paths`, at most `MAX_RUNS`, instead of the current runs. The first
        run is the baseline."""
        unique_paths = tuple(dict.fromkeys(path.absolute() for path in paths))[:MAX_RUNS]
        entries_by_path = {entry.path: entry for entry in self.request.entries}
        entries = [
            ComparisonEntry(
                path,
                "candidate" if index else "baseline",
                entries_by_path[path].result if path in entries_by_path else None,
            )
            for index, path in enumerate(unique_paths)
        ]
        self._update_request(entries=tuple(entries), is_forced=False)

    def set_request(self, request: ComparisonRequest) -> None:
        """Compare the runs of a request, with any number of repeats. Results that have already been
        read are reused."""
        entries_by_path = {entry.path: entry for entry in self.request.entries}
        entries = [
            msgspec.structs.replace(entries_by_path.get(entry.path, entry), side=entry.side)
            for entry in request.entries
        ]
        self._update_request(entries=tuple(entries), tolerance=request.tolerance, is_forced=request.is_forced)

    def add(self, path: Path) -> bool:
        """Add a run to the comparison. Return False if the comparison is full or already contains
        the run."""
        path, entries = path.absolute(), self.request.entries
        if len(entries) >= MAX_RUNS or any(entry.path == path for entry in entries):
            return False
        side: Side = "candidate" if any(entry.side == "baseline" for entry in entries) else "baseline"
        self._update_request(entries=(*entries, ComparisonEntry(path, side)))
        return True

    def remove(self, removed_index: int) -> None:
        self._update_request(
            entries=tuple(entry for index, entry in enumerate(self.request.entries) if index != removed_index)
        )

    def set_side(self, index: int, side: Side) -> None:
        entries = list(self.request.entries)
        if entries[index].side != side:
            entries[index] = msgspec.structs.replace(entries[index], side=side)
            self._update_request(entries=tuple(entries))

    def swap(self) -> None:
        """Swap the sides of all baseline and candidate runs."""
        opposite_sides: dict[Side, Side] = {"baseline": "candidate", "candidate": "baseline", "drawn": "drawn"}
        self._update_request(
            entries=tuple(
                msgspec.structs.replace(entry, side=opposite_sides[entry.side]) for entry in self.request.entries
            )
        )

    def set_tolerance(self, tolerance: float) -> None:
        self._update_request(tolerance=tolerance)

    def set_forced(self, is_forced: bool) -> None:
        self._update_request(is_forced=is_forced)

    def load_spectra(self, stage: str) -> None:
        if self.outcome is not None and stage:
            entries, self._stage = self.outcome.request.entries, stage
            self._spectra_reader.request(lambda: read_spectra(entries, stage))

    def load_time_overlays(self) -> None:
        if self.outcome is not None:
            entries = self.outcome.request.entries
            self._overlay_reader.request(lambda: read_time_overlays(entries))

    def _update_request(
        self,
        entries: tuple[ComparisonEntry, ...] | None = None,
        tolerance: float | None = None,
        is_forced: bool | None = None,
    ) -> None:
        previous_request = self.request
        self.request = request = ComparisonRequest(
            previous_request.entries if entries is None else entries,
            previous_request.tolerance if tolerance is None else tolerance,
            previous_request.is_forced if is_forced is None else is_forced,
        )
        if request == previous_request:
            return
        self.outcome = None
        self._spectra_reader.cancel()
        self._overlay_reader.cancel()
        self.request_changed.emit(request)
        if request.entries:
            self._outcome_reader.request(lambda: compute_outcome(request))
        else:
            self._outcome_reader.cancel()

    def _set_outcome(self, outcome: Outcome) -> None:
        self.request = outcome.request
        self.outcome = outcome
        self.compared.emit(outcome)

    def _emit_spectra(self, run_spectra: tuple[RunSpectra, ...]) -> None:
        self.spectra_ready.emit(self._stage, run_spectra)
