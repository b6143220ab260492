"""Repeats of one rate judged together.

Of each class of errors the one that was seen first.

What each worker did over several stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate

import pandas as pd
import pyarrow as pa
from msgspec.structs import replace

from app.analysis.digits import digits
from app.analysis.rows import StageRows, joined, read_rows
from app.analysis.stage_checks import is_before
from app.analysis.stages import summarise_rows
from app.records.result import ErrorSample, Objective, Stage, Window, WorkerFacts
from app.records.stage import StageFacts

MOST_CLASSES = 50


def first_samples(of_stages: Iterable[tuple[ErrorSample, ...]]) -> tuple[ErrorSample, ...]:
    """One a class, at most MOST_CLASSES, in the order of their times."""
    first: dict[str, ErrorSample] = {}
    for one in sorted((one for each in of_stages for one in each), key=lambda one: one.at_ns):
        first.setdefault(one.error, one)
    return tuple(first.values())[:MOST_CLASSES]


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


def pool_stages(
    rows: Iterable[pd.DataFrame | pa.Table],
    telemetry: pd.DataFrame,
    facts: Sequence[StageFacts],
    slo: Sequence[Objective],
) -> Stage:
    """One stage of several that had the same rate; `rows` are of each."""
    return pool_rows(map(read_rows, rows), telemetry, facts, slo)


def pool_rows(
    rows: Iterable[StageRows], telemetry: pd.DataFrame, facts: Sequence[StageFacts], slo: Sequence[Objective]
) -> Stage:
    """As if each stage had begun when the one before it stopped offering.

    All are of one rate and in the order run; `rows` are of each. The window spans them all, pauses too.
    """
    first, last = facts[0], facts[-1]
    starts_ns = [first.start_ns + round(s * 1e9) for s in accumulate([0.0, *(one.duration_s for one in facts)])]
    shifts_ns = [start_ns - one.start_ns for start_ns, one in zip(starts_ns, facts, strict=False)]
    waited_s = [one.worker_waited_s for one in facts if one.worker_waited_s is not None]
    together = replace(
        first,
        name=f"{len(facts)} holds at {digits(first.rate_per_s or 0.0)}/s",
        repeat=1,
        tags={**first.tags, "pooled": str(len(facts))},
        duration_s=sum(one.duration_s for one in facts),
        end_ns=first.start_ns + sum(one.end_ns - one.start_ns for one in facts),
        worker_cpu_s=sum(one.worker_cpu_s for one in facts),
        worker_waited_s=sum(waited_s) if waited_s else None,
        connections_opened=sum(one.connections_opened for one in facts),
        error_samples=first_samples(one.error_samples for one in facts),
        workers=worker_totals(_workers(one, first) for one in facts),
    )
    parts = [_measured(one, its) for one, its in zip(rows, facts, strict=True)]
    every = joined([part.later(shift) for part, shift in zip(parts, shifts_ns, strict=True)])
    readings = pd.concat([_moved(_during(telemetry, one), shift) for one, shift in zip(facts, shifts_ns, strict=True)])
    stage = summarise_rows(every, readings, together, slo)
    return replace(stage, window=Window(first.start_ns, last.start_ns + round(last.duration_s * 1e9)))


def _workers(facts: StageFacts, first: StageFacts) -> tuple[WorkerFacts, ...]:
    """Who was lost before one of them was lost before all: its share was sent by the others."""
    before_ns = first.start_ns - round(first.lead_in_s * 1e9) - 1
    return tuple(
        replace(one, lost_ns=min(one.lost_ns, before_ns)) if one.lost_ns is not None and is_before(one, facts) else one
        for one in facts.workers
    )


def _during(telemetry: pd.DataFrame, facts: StageFacts) -> pd.DataFrame:
    end_ns = facts.start_ns + round(facts.duration_s * 1e9)
    return telemetry[telemetry["at_ns"].between(facts.start_ns, end_ns, inclusive="left")]


def _moved(readings: pd.DataFrame, shift_ns: int) -> pd.DataFrame:
    return readings.assign(at_ns=readings["at_ns"] + shift_ns)


def _measured(rows: StageRows, facts: StageFacts) -> StageRows:
    """Without the lead-in: the drain of the hold before stands in its place."""
    return rows.where(rows.intended_ns >= facts.start_ns)
