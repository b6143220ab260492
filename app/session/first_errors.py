"""The first failure of each class: told once a run, kept of each stage."""

from __future__ import annotations

from collections.abc import Sequence

from app.analysis.error_samples import MOST_CLASSES
from app.records.events import ErrorSeen
from app.records.result import ErrorSample
from app.session.parts import Emit
from loadgen.records import FirstError


class FirstErrors:
    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._told: set[str] = set()

    def take(self, seen: Sequence[FirstError], stage: int, now_ns: int) -> tuple[ErrorSample, ...]:
        """Those of a running stage, as it keeps them; whichever are new to the run are told."""
        samples = tuple(ErrorSample(one.error, one.at_ns, one.text) for one in seen)
        for sample in samples:
            if sample.error not in self._told and len(self._told) < MOST_CLASSES:
                self._told.add(sample.error)
                self._emit(ErrorSeen(at_ns=now_ns, stage=stage, sample=sample))
        return samples
