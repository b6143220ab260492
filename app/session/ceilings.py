"""How much the generator of a run can send: known from before, measured now, or told by its workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from app.records.calibration import LOAD_KINDS, Calibration, LoadKind
from app.session.calibration import find_ceiling
from app.session.interruption import Interruption
from app.session.parts import Load, Parts
from loadgen.records import LoadWorker, WorkerPart
from loadgen.workloads import LocustWorkload, OpenAiWorkload, Workload

_STREAMED = ("chat", "completions", "responses")


class Ceilings(msgspec.Struct, frozen=True):
    """Requests and chunks of streams a second, `workers` together; None where it is not known, or not needed.
    `is_at_least`: one of them is a lower bound."""

    workers: int = 1
    per_s: float | None = None
    chunks_per_s: float | None = None
    is_at_least: bool = False

    def of_those_left(self, workers: Sequence[WorkerPart]) -> Ceilings:
        """Of the workers of a stage, some of which may be lost since, one being taken for as good as another; no
        workers means the one that speaks for itself."""
        left = sum(worker.lost_ns is None for worker in workers) if workers else self.workers
        if left == self.workers:
            return self
        share = left / self.workers
        per_s, chunks_per_s = (None if one is None else one * share for one in (self.per_s, self.chunks_per_s))
        return Ceilings(left, per_s, chunks_per_s, self.is_at_least)


def kinds_of(workload: Workload) -> tuple[LoadKind, ...]:
    """What of the generator the workload makes use of; nothing where a user's own test sends."""
    if isinstance(workload, LocustWorkload):
        return ()
    streams = isinstance(workload, OpenAiWorkload) and workload.stream and workload.api in _STREAMED
    return ("plain", "streaming") if streams else ("plain",)


class CeilingFinder:
    """Finds what the run needs to know, once; what is measured is stored for later runs, and told in the run."""

    def __init__(self, parts: Parts, fingerprint: str, interruption: Interruption) -> None:
        self._parts, self._fingerprint, self._interruption = parts, fingerprint, interruption
        self.has_measured = False
        """Then the load is to be configured again."""

    def find(
        self, load: Load, workload: Workload, *, measure_again: bool, on_measuring: Callable[[LoadKind], None]
    ) -> Ceilings:
        """Raises as `find_ceiling` does."""
        kinds, workers = kinds_of(workload), max(1, len(load.workers))
        known = self._parts.load_calibration(self._fingerprint, self._parts.wall_now())
        if any(not worker.is_local for worker in load.workers):
            per_s, chunks_per_s = (_told(load.workers, kind, known) if kind in kinds else None for kind in LOAD_KINDS)
            here = sum(worker.is_local for worker in load.workers)
            return Ceilings(workers, per_s, chunks_per_s, _is_at_least(known, kinds, here))
        missing = [kind for kind in kinds if measure_again or known is None or known.ceiling(kind, workers) is None]
        if missing:
            known = self._measure(load, missing, known, on_measuring)
        if not kinds or known is None or self._interruption.is_requested:
            return Ceilings(workers)
        used = [one for kind in kinds if (one := known.ceiling(kind, workers)) is not None]
        self._parts.store.write_calibration(msgspec.structs.replace(known, ceilings=tuple(used)))
        found = {one.kind: one.per_s for one in used}
        per_s, chunks_per_s = (found.get(kind) for kind in LOAD_KINDS)
        return Ceilings(workers, per_s, chunks_per_s, _is_at_least(known, kinds, workers))

    def _measure(
        self, load: Load, kinds: Sequence[LoadKind], known: Calibration | None, on_measuring: Callable[[LoadKind], None]
    ) -> Calibration | None:
        ceilings = []
        for kind in kinds:
            self.has_measured = True
            on_measuring(kind)
            ceilings.append(
                find_ceiling(kind, load, self._parts.start_null_server, self._interruption, self._parts.read_core_use)
            )
            if self._interruption.is_requested:
                return None
        found = Calibration(
            ceilings=tuple(ceilings),
            measured_at=self._parts.wall_now().isoformat(timespec="seconds"),
            fingerprint=self._fingerprint,
            pacing=load.pacing,
            event_loop=load.event_loop,
        )
        self._parts.store_calibration(found)
        return found if known is None else known.joined(found)


def _is_at_least(known: Calibration | None, kinds: Sequence[LoadKind], workers: int) -> bool:
    found = [None if known is None else known.ceiling(kind, workers) for kind in kinds]
    return any(one is not None and one.is_at_least for one in found)


def _told(workers: Sequence[LoadWorker], kind: LoadKind, known: Calibration | None) -> float | None:
    """The sum of what each worker's machine was calibrated to send, those of this machine by its own calibration;
    nothing is measured here, where not all workers can reach a null server."""
    elsewhere = [_ceiling_of(worker, kind) for worker in workers if not worker.is_local]
    here = [_ceiling_of(worker, kind) for worker in workers if worker.is_local]
    if here and None in here:
        stored = None if known is None else known.ceiling(kind, len(here))
        here = [None if stored is None else stored.per_s]
    total = 0.0
    for part in (*elsewhere, *here):
        if part is None:
            return None
        total += part
    return total


def _ceiling_of(worker: LoadWorker, kind: LoadKind) -> float | None:
    return worker.ceiling_per_s if kind == "plain" else worker.chunk_ceiling_per_s
