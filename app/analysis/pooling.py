"""Pools the repeats of one rate, so that they are evaluated together.

This includes the first error of each error class, and the totals of each load worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate

import pandas as pd
import pyarrow as pa
from msgspec.structs import replace

from app.analysis.number_format import format_number
from app.analysis.rows import StageRows, join_rows, read_rows
from app.analysis.stage_checks import was_lost_before
from app.analysis.stages import summarize_rows
from app.records.result import ErrorSample, Objective, Stage, Window, WorkerData
from app.records.stage import StageData

MAX_CLASSES = 50


def select_first_samples(samples_by_stage: Iterable[tuple[ErrorSample, ...]]) -> tuple[ErrorSample, ...]:
    """Select the first sample of each error class, at most MOST_CLASSES, in order of time."""
    first: dict[str, ErrorSample] = {}
    samples = (sample for stage_samples in samples_by_stage for sample in stage_samples)
    for sample in sorted(samples, key=lambda sample: sample.at_ns):
        first.setdefault(sample.error, sample)
    return tuple(first.values())[:MAX_CLASSES]


def sum_worker_totals(stages: Iterable[Sequence[WorkerData]]) -> tuple[WorkerData, ...]:
    """Sum the data of each load worker over stages, in order of worker number. A worker keeps its number, and its
    process, for the whole run."""
    by_number: dict[int, list[WorkerData]] = {}
    for workers in stages:
        for facts in workers:
            by_number.setdefault(facts.worker, []).append(facts)
    return tuple(reduce(_add_worker_facts, by_number[number]) for number in sorted(by_number))


def _add_worker_facts(first: WorkerData, second: WorkerData) -> WorkerData:
    residuals_ms = [worker.clock_residual_ms for worker in (first, second) if worker.clock_residual_ms is not None]
    waited_s = [worker.cpu_wait_s for worker in (first, second) if worker.cpu_wait_s is not None]
    return replace(
        first,
        cpu_s=first.cpu_s + second.cpu_s,
        sent=first.sent + second.sent,
        max_lag_ms=max(first.max_lag_ms, second.max_lag_ms),
        clock_residual_ms=max(residuals_ms, default=None),
        cpu_wait_s=sum(waited_s) if waited_s else None,
        lost_ns=second.lost_ns if first.lost_ns is None else first.lost_ns,
    )


def pool_stages(
    rows: Iterable[pd.DataFrame | pa.Table],
    telemetry: pd.DataFrame,
    facts: Sequence[StageData],
    slo: Sequence[Objective],
) -> Stage:
    """Pool several stages of the same rate into one; `rows` holds the rows of each."""
    return pool_rows(map(read_rows, rows), telemetry, facts, slo)


def pool_rows(
    rows: Iterable[StageRows], telemetry: pd.DataFrame, facts: Sequence[StageData], slo: Sequence[Objective]
) -> Stage:
    """Pool several stages as if each had started when the previous one stopped offering load.

    All must have the same rate and be in the order run; `rows` holds the rows of each. The window spans them all,
    including pauses.
    """
    first, last = facts[0], facts[-1]
    offsets_s = accumulate([0.0, *(stage_facts.duration_s for stage_facts in facts)])
    starts_ns = [first.start_ns + round(offset_s * 1e9) for offset_s in offsets_s]
    shifts_ns = [start_ns - stage_facts.start_ns for start_ns, stage_facts in zip(starts_ns, facts, strict=False)]
    waited_s = [stage_facts.worker_cpu_wait_s for stage_facts in facts if stage_facts.worker_cpu_wait_s is not None]
    pooled = replace(
        first,
        name=f"{len(facts)} steps at {format_number(first.rate_per_s or 0.0)} req/s",
        repeat=1,
        tags={**first.tags, "pooled": str(len(facts))},
        duration_s=sum(stage_facts.duration_s for stage_facts in facts),
        end_ns=first.start_ns + sum(stage_facts.end_ns - stage_facts.start_ns for stage_facts in facts),
        worker_cpu_s=sum(stage_facts.worker_cpu_s for stage_facts in facts),
        worker_cpu_wait_s=sum(waited_s) if waited_s else None,
        connections_opened=sum(stage_facts.connections_opened for stage_facts in facts),
        error_samples=select_first_samples(stage_facts.error_samples for stage_facts in facts),
        workers=sum_worker_totals(_correct_lost_times(stage_facts, first) for stage_facts in facts),
    )
    parts = [_drop_lead_in(stage_rows, stage_facts) for stage_rows, stage_facts in zip(rows, facts, strict=True)]
    pooled_rows = join_rows([part.shift(shift) for part, shift in zip(parts, shifts_ns, strict=True)])
    readings = pd.concat(
        [
            _shift_telemetry(_select_telemetry(telemetry, stage_facts), shift)
            for stage_facts, shift in zip(facts, shifts_ns, strict=True)
        ]
    )
    stage = summarize_rows(pooled_rows, readings, pooled, slo)
    return replace(stage, window=Window(first.start_ns, last.start_ns + round(last.duration_s * 1e9)))


def _correct_lost_times(facts: StageData, first: StageData) -> tuple[WorkerData, ...]:
    """Return the stage's workers; for those lost before this stage, the loss is dated before the pooled stage, because
    other workers sent their share."""
    before_ns = first.start_ns - round(first.lead_in_s * 1e9) - 1
    return tuple(
        replace(worker, lost_ns=min(worker.lost_ns, before_ns))
        if worker.lost_ns is not None and was_lost_before(worker, facts)
        else worker
        for worker in facts.workers
    )


def _select_telemetry(telemetry: pd.DataFrame, facts: StageData) -> pd.DataFrame:
    end_ns = facts.start_ns + round(facts.duration_s * 1e9)
    return telemetry[telemetry["at_ns"].between(facts.start_ns, end_ns, inclusive="left")]


def _shift_telemetry(readings: pd.DataFrame, shift_ns: int) -> pd.DataFrame:
    return readings.assign(at_ns=readings["at_ns"] + shift_ns)


def _drop_lead_in(rows: StageRows, facts: StageData) -> StageRows:
    """Drop the lead-in: the drain of the previous hold takes its place."""
    return rows.filter(rows.intended_ns >= facts.start_ns)
