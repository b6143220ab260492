"""Pool several stages, so that they are evaluated as a single stage: the search steps at one rate,
or the many stages of a fine staircase or of a replayed day.

The module also selects the first error of each error class, and sums the data of each load
worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any

import pandas as pd
import pyarrow as pa
from msgspec.structs import astuple, replace

from app.analysis.number_format import format_number
from app.analysis.rows import StageRows, join_rows, read_rows
from app.analysis.stage_checks import was_lost_before_stage
from app.analysis.stages import summarize_rows
from app.records.result import (
    ErrorSample,
    Objective,
    OutputSummary,
    SessionOutcomeName,
    SessionSummary,
    Stage,
    Window,
    WorkerData,
)
from app.records.stage import StageData

MAX_ERROR_CLASSES = 50


def select_first_samples(stages_samples: Iterable[tuple[ErrorSample, ...]]) -> tuple[ErrorSample, ...]:
    """Return the first sample of each error class, in chronological order, for at most
    `MAX_ERROR_CLASSES` classes."""
    first_by_class: dict[str, ErrorSample] = {}
    samples = (sample for stage_samples in stages_samples for sample in stage_samples)
    for sample in sorted(samples, key=lambda sample: sample.at_ns):
        first_by_class.setdefault(sample.error, sample)
    return tuple(first_by_class.values())[:MAX_ERROR_CLASSES]


def sum_worker_totals(stages_workers: Iterable[Sequence[WorkerData]]) -> tuple[WorkerData, ...]:
    """Sum the data of each load worker over all stages, in order of worker number. A number
    identifies the same worker process throughout the run."""
    data_by_worker: dict[int, list[WorkerData]] = {}
    for workers in stages_workers:
        for worker_data in workers:
            data_by_worker.setdefault(worker_data.worker, []).append(worker_data)
    return tuple(reduce(_add_worker_data, data_by_worker[number]) for number in sorted(data_by_worker))


def _add_worker_data(first: WorkerData, second: WorkerData) -> WorkerData:
    residuals_ms = [worker.clock_residual_ms for worker in (first, second) if worker.clock_residual_ms is not None]
    core_waits_s = [worker.cpu_wait_s for worker in (first, second) if worker.cpu_wait_s is not None]
    return replace(
        first,
        cpu_s=first.cpu_s + second.cpu_s,
        sent=first.sent + second.sent,
        max_lag_ms=max(first.max_lag_ms, second.max_lag_ms),
        clock_residual_ms=max(residuals_ms, default=None),
        cpu_wait_s=sum(core_waits_s) if core_waits_s else None,
        lost_ns=second.lost_ns if first.lost_ns is None else first.lost_ns,
    )


def pool_stages(
    rows: Iterable[pd.DataFrame | pa.Table],
    telemetry: pd.DataFrame,
    stages_data: Sequence[StageData],
    slo: Sequence[Objective],
) -> Stage:
    """Pool several stages into one stage. `rows` contains the request rows, one table per
    stage."""
    return pool_rows(map(read_rows, rows), telemetry, stages_data, slo)


def pool_rows(
    rows: Iterable[StageRows], telemetry: pd.DataFrame, stages_data: Sequence[StageData], slo: Sequence[Objective]
) -> Stage:
    """Pool several stages into one, as if each stage had started when the previous stage stopped
    offering load. The stages have the same arrival process; if their rates differ, the pooled stage
    follows the rate curve that the stages form together.

    `rows` contains the request rows of each stage, in the order in which the stages ran. The window
    of the pooled stage spans all stages, including pauses."""
    first_stage, last_stage = stages_data[0], stages_data[-1]
    offsets_s = accumulate([0.0, *(stage_data.duration_s for stage_data in stages_data)])
    starts_ns = [first_stage.start_ns + round(offset_s * 1e9) for offset_s in offsets_s]
    shifts_ns = [start_ns - stage_data.start_ns for start_ns, stage_data in zip(starts_ns, stages_data, strict=False)]
    core_waits_s = [
        stage_data.worker_cpu_wait_s for stage_data in stages_data if stage_data.worker_cpu_wait_s is not None
    ]
    pooled_stage_data = replace(
        first_stage,
        **_join_loads(stages_data),
        name=_name_pooled_stage(stages_data),
        repeat=1,
        tags={**first_stage.tags, "pooled": str(len(stages_data))},
        duration_s=sum(stage_data.duration_s for stage_data in stages_data),
        stopped_early=last_stage.stopped_early,
        end_ns=first_stage.start_ns + sum(stage_data.end_ns - stage_data.start_ns for stage_data in stages_data),
        worker_cpu_s=sum(stage_data.worker_cpu_s for stage_data in stages_data),
        worker_cpu_wait_s=sum(core_waits_s) if core_waits_s else None,
        connections_opened=sum(stage_data.connections_opened for stage_data in stages_data),
        error_samples=select_first_samples(stage_data.error_samples for stage_data in stages_data),
        round_trip_ms=None,
        server=None,  # counts the requests of the lead-ins too, which the pooled rows lack
        workers=sum_worker_totals(_correct_lost_times(stage_data, first_stage) for stage_data in stages_data),
        live_sessions=pool_sessions(stage_data.live_sessions for stage_data in stages_data),
        outputs=pool_outputs(stage_data.outputs for stage_data in stages_data),
    )
    stages_rows = [
        _drop_lead_in(stage_rows, stage_data) for stage_rows, stage_data in zip(rows, stages_data, strict=True)
    ]
    pooled_rows = join_rows(
        [stage_rows.shift(shift_ns) for stage_rows, shift_ns in zip(stages_rows, shifts_ns, strict=True)]
    )
    shifted_telemetry = pd.concat(
        [
            _shift_telemetry(_select_telemetry(telemetry, stage_data), shift_ns)
            for stage_data, shift_ns in zip(stages_data, shifts_ns, strict=True)
        ]
    )
    stage = summarize_rows(pooled_rows, shifted_telemetry, pooled_stage_data, slo)
    end_ns = (
        stage.window.end_ns - shifts_ns[-1]
        if last_stage.stopped_early
        else last_stage.start_ns + round(last_stage.duration_s * 1e9)
    )
    return replace(stage, window=Window(first_stage.start_ns, end_ns))


def _name_pooled_stage(stages_data: Sequence[StageData]) -> str:
    first_stage = stages_data[0]
    if first_stage.kind == "step":
        steps_text = "1 step" if len(stages_data) == 1 else f"{len(stages_data)} steps"
        return f"{steps_text} at {format_number(first_stage.rate_per_s or 0.0)} req/s"
    return f"{len(stages_data):,} stages"


def _join_loads(stages_data: Sequence[StageData]) -> dict[str, Any]:
    """Return the fields of the pooled stage that describe its load; empty if the load is that of
    each stage."""
    first_stage = stages_data[0]
    if first_stage.concurrency is not None:
        concurrencies = {stage_data.concurrency for stage_data in stages_data}
        return {"concurrency": first_stage.concurrency if len(concurrencies) == 1 else None}
    if first_stage.rate_per_s is not None and {stage_data.rate_per_s for stage_data in stages_data} == {
        first_stage.rate_per_s
    }:
        return {}
    rates: list[tuple[float, float]] = []
    offset_s = 0.0
    for stage_data in stages_data:
        points = stage_data.rates or (() if stage_data.rate_per_s is None else ((0.0, stage_data.rate_per_s),))
        curve = [(min(max(time_s, 0.0), stage_data.duration_s), rate_per_s) for time_s, rate_per_s in points]
        if curve:
            curve = [(0.0, curve[0][1]), *curve, (stage_data.duration_s, curve[-1][1])]
        rates += [(offset_s + time_s, rate_per_s) for time_s, rate_per_s in curve]
        offset_s += stage_data.duration_s
    return {"kind": "varying", "rate_per_s": None, "rates": tuple(dict.fromkeys(rates))}


def pool_sessions(summaries: Iterable[SessionSummary | None]) -> SessionSummary | None:
    """Pool the sessions of several stages; None if no stage had sessions with a live history."""
    known = [summary for summary in summaries if summary is not None]
    if not known:
        return None
    outcomes: Counter[SessionOutcomeName] = Counter()
    for summary in known:
        outcomes.update(summary.outcomes)
    request_count = sum(summary.built_requests for summary in known)
    total_us = sum(summary.built_requests * (summary.build_mean_us or 0.0) for summary in known)
    return SessionSummary(
        outcomes=dict(outcomes),
        built_requests=request_count,
        build_mean_us=total_us / request_count if request_count else None,
        build_max_us=max((summary.build_max_us for summary in known if summary.build_max_us is not None), default=None),
    )


def pool_outputs(summaries: Iterable[OutputSummary | None]) -> OutputSummary | None:
    """Pool the content of the responses of several stages; None if no stage examined it."""
    known = [summary for summary in summaries if summary is not None]
    if not known:
        return None
    return OutputSummary(*map(sum, zip(*map(astuple, known), strict=True)))


def _correct_lost_times(stage_data: StageData, first_stage: StageData) -> tuple[WorkerData, ...]:
    """Return the workers of the stage. If a worker was lost before this stage, the time of the loss
    is moved to before the pooled stage, because the remaining workers took over the load."""
    time_before_stage_ns = first_stage.start_ns - round(first_stage.lead_in_s * 1e9) - 1
    return tuple(
        replace(worker, lost_ns=min(worker.lost_ns, time_before_stage_ns))
        if worker.lost_ns is not None and was_lost_before_stage(worker, stage_data)
        else worker
        for worker in stage_data.workers
    )


def _select_telemetry(telemetry: pd.DataFrame, stage_data: StageData) -> pd.DataFrame:
    end_ns = stage_data.start_ns + round(stage_data.duration_s * 1e9)
    return telemetry[telemetry["at_ns"].between(stage_data.start_ns, end_ns, inclusive="left")]


def _shift_telemetry(telemetry: pd.DataFrame, shift_ns: int) -> pd.DataFrame:
    return telemetry.assign(at_ns=telemetry["at_ns"] + shift_ns)


def _drop_lead_in(rows: StageRows, stage_data: StageData) -> StageRows:
    """Drop the rows of the lead-in. In the pooled stage, the drain of the previous stage takes the
    place of the lead-in."""
    return rows.filter(rows.scheduled_ns >= stage_data.start_ns)
