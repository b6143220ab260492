"""Did all workers send, and do their times belong together? Checks of a load that several of them shared."""

from __future__ import annotations

from collections.abc import Sequence

from app.analysis.grading import grade_high
from app.records.result import Check, WorkerFacts
from app.records.stage import StageFacts

_WARN_MS, _INVALID_MS = 1.0, 10.0
_PARTS = {2: "half", 3: "a third", 4: "a quarter"}


def worker_checks(facts: StageFacts) -> tuple[Check, ...]:
    """None where one worker sends for itself."""
    return (_presence(facts), _clocks(facts.workers)) if facts.workers else ()


def is_before(worker: WorkerFacts, facts: StageFacts) -> bool:
    """Whether it was lost before the stage, which was then shared among the others."""
    return worker.lost_ns is not None and worker.lost_ns < facts.start_ns - round(facts.lead_in_s * 1e9)


def _presence(facts: StageFacts) -> Check:
    """A share that was not sent spoils the stage; one that was given to the others does not."""
    everyone, lost = len(facts.workers), [worker for worker in facts.workers if worker.lost_ns is not None]
    in_it = [worker for worker in lost if not is_before(worker, facts)]
    there = f"{everyone - len(lost)} of {everyone}"
    if not lost:
        return Check("workers", there, str(everyone), None, "VALID")
    if not in_it:
        hint = f"{_were(lost)} lost before the stage: the load is shared by {there} since."
        return Check("workers", there, str(everyone), None, "WARN", hint)
    after_s = max(0.0, (min(worker.lost_ns or 0 for worker in in_it) - facts.start_ns) / 1e9)
    part = _part(len(in_it), everyone - len(lost) + len(in_it))
    missing = f"{part} of the load was not sent from then on{', and the stage was ended' * facts.stopped_early}."
    if after_s >= facts.duration_s:
        missing = "answers that were still to come then are in no number."
    hint = f"{_were(in_it)} lost {after_s:.1f} s into the stage: {missing}"
    return Check("workers", there, str(everyone), None, "INVALID", hint)


def _clocks(workers: Sequence[WorkerFacts]) -> Check:
    """How far rows of different workers may be from their true place on the one clock they are told on."""
    residuals_ms = [worker.clock_residual_ms for worker in workers if worker.clock_residual_ms is not None]
    if not residuals_ms:
        return Check("worker_clocks", "one clock", None, None, "VALID")
    return grade_high(
        "worker_clocks",
        max(residuals_ms),
        unit="ms",
        warn=_WARN_MS,
        invalid=_INVALID_MS,
        hint="The workers' clocks were told apart by answers over the network, and not better than this: use a quieter "
        "network between them, or workers of one machine.",
    )


def _were(workers: Sequence[WorkerFacts]) -> str:
    *first, last = (f"worker {worker.worker} on {worker.host}" for worker in workers)
    names = f"{', '.join(first)} and {last} were" if first else f"{last} was"
    return f"{names[:1].upper()}{names[1:]}"


def _part(lost: int, of: int) -> str:
    return "all" if lost == of else _PARTS.get(of, f"1/{of}") if lost == 1 else f"{lost}/{of}"
