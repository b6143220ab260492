"""What each worker did over several stages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

from msgspec.structs import replace

from app.records.result import WorkerFacts


def worker_totals(stages: Iterable[Sequence[WorkerFacts]]) -> tuple[WorkerFacts, ...]:
    """In the order of their numbers. A worker of one number is one process over a run."""
    by_number: dict[int, list[WorkerFacts]] = {}
    for workers in stages:
        for facts in workers:
            by_number.setdefault(facts.worker, []).append(facts)
    return tuple(reduce(_added, by_number[number]) for number in sorted(by_number))


def _added(first: WorkerFacts, then: WorkerFacts) -> WorkerFacts:
    residuals_ms = [one.clock_residual_ms for one in (first, then) if one.clock_residual_ms is not None]
    waited_s = [one.waited_s for one in (first, then) if one.waited_s is not None]
    return replace(
        first,
        cpu_s=first.cpu_s + then.cpu_s,
        sent=first.sent + then.sent,
        max_lag_ms=max(first.max_lag_ms, then.max_lag_ms),
        clock_residual_ms=max(residuals_ms, default=None),
        waited_s=sum(waited_s) if waited_s else None,
        lost_ns=then.lost_ns if first.lost_ns is None else first.lost_ns,
    )
