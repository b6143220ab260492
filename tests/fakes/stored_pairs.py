"""A/B pairs as `compare --measure` stores them, of stored runs: no process, no waiting."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from app.records.checks import Validity
from app.records.comparison import Side
from app.records.events import PairRunFinished, PairRunStarted, RunFinished, RunStarted
from app.storage.comparisons import ComparisonWriter, comparisons_home

SECOND = 1_000_000_000
NAME = "pairs of scoring"
_SIDES: tuple[Side, ...] = ("baseline", "candidate")


class StoredPairs:
    """Interleaved pairs that this process measures; `start_run`, `finish_run` and `add_pairs` write their progress."""

    def __init__(self, run_id: str = "20261127-120000-pairs-of-scoring-0001", pairs: int = 2, pid: int = 0) -> None:
        self.store = ComparisonWriter(comparisons_home() / run_id)
        self.directory, self.pairs, self._at_ns = self.store.directory, pairs, SECOND
        self.store.append_event(RunStarted(SECOND, run_id, NAME, str(self.directory), pid or os.getpid()))

    def start_run(self, pair: int, side: Side, run: Path) -> None:
        self.store.append_event(PairRunStarted(self._later(), pair, side, str(run), self.pairs))

    def finish_run(self, pair: int, side: Side, run: Path, *, is_invalid: bool = False) -> None:
        status: Validity = "INVALID" if is_invalid else "VALID"
        self.store.append_event(PairRunFinished(self._later(), pair, side, str(run), status))

    def add_pairs(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        """Write complete pairs, from the first."""
        for pair, runs in enumerate(pairs, 1):
            for side, run in zip(_SIDES, runs, strict=True):
                self.start_run(pair, side, run)
                self.finish_run(pair, side, run)

    def end(self, code: int = 0, status: str = "OK", message: str = "") -> None:
        self.store.append_event(RunFinished(self._later(), status, code, (message,) if message else ()))
        self.store.close()

    def _later(self) -> int:
        self._at_ns += 10 * SECOND
        return self._at_ns
