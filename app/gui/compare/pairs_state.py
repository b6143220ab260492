"""State of A/B pairs that are being measured, computed only from their events."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from app.analysis.run_progress import RunProgress, advance_progress
from app.errors import ExitCode
from app.gui.compare.entries import ComparisonEntry, ComparisonRequest, Side
from app.gui.navigation import Notice
from app.records.comparison import Side as MeasuredSide
from app.records.events import Event, PairRunFinished, PhaseChanged

PairsStatus = Literal["idle", "starting", "running", "stopping", "ended", "lost", "failed"]
_STOPPED_EXIT_CODES = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
_EVALUATED_EXIT_CODES = (ExitCode.OK, ExitCode.GATE_FAILED, ExitCode.REGRESSION, ExitCode.INCONCLUSIVE)


class PairRun(msgspec.Struct, frozen=True):
    pair: int
    side: MeasuredSide
    directory: Path


class PairsState(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of A/B pairs. `last_message` is the last message about the pairs as a whole, for
    example that more pairs follow or that a run is repeated."""

    status: PairsStatus = "idle"
    directory: Path | None = None
    name: str = ""
    progress: RunProgress = RunProgress()
    finished_runs: tuple[PairRun, ...] = ()
    last_message: str = ""

    @property
    def is_running(self) -> bool:
        return self.status in ("starting", "running", "stopping")

    @property
    def complete_pair_count(self) -> int:
        """Number of pairs in which both runs have finished."""
        return len(self.run_directories("baseline"))

    def run_directories(self, side: MeasuredSide) -> tuple[Path, ...]:
        """Return the directories of the runs of one side in complete pairs, in measurement
        order."""
        complete_pair_numbers = {run.pair for run in self.finished_runs if run.side == "baseline"}
        complete_pair_numbers &= {run.pair for run in self.finished_runs if run.side == "candidate"}
        return tuple(
            run.directory for run in self.finished_runs if run.side == side and run.pair in complete_pair_numbers
        )

    def eta_s(self) -> float | None:
        at_ns = self.progress.at_ns
        return None if at_ns is None or not self.is_running else self.progress.estimate_eta_s(at_ns)


def apply_event(state: PairsState, event: Event) -> PairsState:
    progress = advance_progress(state.progress, event)
    state = replace(state, progress=progress, name=progress.name or state.name)
    if state.status == "starting":
        state = replace(state, status="running")
    match event:
        case PhaseChanged(message=message):
            return state if progress.pair_run is None else replace(state, last_message=message)
        case PairRunFinished(pair=pair, side=side, directory=directory, status=status) if status != "INVALID":
            return replace(state, finished_runs=(*state.finished_runs, PairRun(pair, side, Path(directory))))
        case _:
            return state  # all other events only update the progress


def add_measured_runs(request: ComparisonRequest, state: PairsState) -> ComparisonRequest:
    """Return the comparison with the newly measured runs added as repeats of the baseline and the
    candidate."""
    existing_paths = {entry.path for entry in request.entries}
    sides: tuple[MeasuredSide, ...] = ("baseline", "candidate")
    new_entries = [
        ComparisonEntry(path, side)
        for side in sides
        for path in state.run_directories(side)
        if path not in existing_paths
    ]
    side_order: tuple[Side, ...] = ("baseline", "candidate", "drawn")
    return replace(
        request, entries=tuple(sorted((*request.entries, *new_entries), key=lambda entry: side_order.index(entry.side)))
    )


def build_end_notice(state: PairsState, exit_code: int, message: str) -> Notice:
    """Build the notice that reports how the A/B pairs ended."""
    pair_count = state.complete_pair_count
    if exit_code in _STOPPED_EXIT_CODES:
        pairs_text = "All runs are in the Library (complete pairs: {pairs})."
        return Notice("news", "The A/B pairs were stopped.", pairs_text.format(pairs=pair_count))
    if exit_code in _EVALUATED_EXIT_CODES:
        summary = f"The A/B pairs have finished (complete pairs: {pair_count})."
        return Notice("news", summary, message or None)
    pairs_text = f"All runs are in the Library (complete pairs: {pair_count})."
    return Notice("error", f"The A/B pairs failed (exit code {exit_code}).", message or None, pairs_text)
