"""Re-evaluates a stored run of an endpoint with another SLO, or within a shorter time range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from app.analysis.curve import find_sweep_knees
from app.analysis.failed_requests import find_failed_requests_causes
from app.analysis.gating import (
    DEFAULT_GATING,
    build_exit,
    build_invalid_cause,
    collect_run_metrics,
    evaluate_gate,
    evaluate_worst_stage,
    find_causes,
    find_no_rate_causes,
)
from app.analysis.gpu_use import add_gpu_metrics
from app.analysis.headline import (
    compute_stage_max_rate,
    find_pooled_indices,
    mark_headline,
    select_evaluated_stages,
    select_headline_stages,
)
from app.analysis.max_rate import check_generator_reach, compute_max_rate, derive_search_outcome
from app.analysis.objectives import find_estimate, is_met, select_binding_objectives
from app.analysis.pooling import pool_rows
from app.analysis.rows import StageRows, compute_offered_window
from app.analysis.search import SearchOutcome
from app.analysis.stages import add_telemetry, read_metric_samples, reevaluate_stage, summarize_rows
from app.analysis.validity import combine_stage_checks, compute_verdict
from app.records.result import (
    Cause,
    CauseId,
    Check,
    Exit,
    MaxRate,
    Objective,
    ObjectiveResult,
    Reevaluation,
    Result,
    Stage,
    Window,
    WorkerData,
)
from app.records.stage import StageData
from app.records.stage_kinds import STAGE_KINDS

if TYPE_CHECKING:
    import pandas as pd


def clip_stage(stage_data: StageData, rows: StageRows, window: Window) -> StageData | None:
    """Clip stage data to `window`. Return the data unchanged if the window covers the whole stage,
    and `None` if stage and window do not overlap.

    Worker data is known only for the whole stage, so the values are scaled in proportion to
    time."""
    offered_window = compute_offered_window(rows, stage_data)
    start_ns, end_ns = max(offered_window.start_ns, window.start_ns), min(offered_window.end_ns, window.end_ns)
    if (start_ns, end_ns) == (offered_window.start_ns, offered_window.end_ns):
        return stage_data
    if end_ns <= start_ns:
        return None
    includes_end, includes_start = end_ns == offered_window.end_ns, start_ns == offered_window.start_ns
    clipped_end_ns = stage_data.end_ns if includes_end else end_ns
    lead_in_s = stage_data.lead_in_s if includes_start else 0.0
    proportion = _compute_sending_duration_s(start_ns, clipped_end_ns, lead_in_s) / _compute_sending_duration_s(
        stage_data.start_ns, stage_data.end_ns, stage_data.lead_in_s
    )
    offset_s = (start_ns - stage_data.start_ns) / 1e9
    return replace(
        stage_data,
        kind="varying" if stage_data.kind == "spike" else stage_data.kind,
        start_ns=start_ns,
        end_ns=clipped_end_ns,
        duration_s=(end_ns - start_ns) / 1e9,
        lead_in_s=lead_in_s,
        rates=tuple((time_s - offset_s, rate_per_s) for time_s, rate_per_s in stage_data.rates),
        is_saturated=stage_data.is_saturated and includes_end,
        stopped_early=stage_data.stopped_early and includes_end,
        worker_cpu_s=stage_data.worker_cpu_s * proportion,
        worker_cpu_wait_s=None if stage_data.worker_cpu_wait_s is None else stage_data.worker_cpu_wait_s * proportion,
        workers=tuple(_scale_worker(worker, proportion) for worker in stage_data.workers),
    )


def _scale_worker(worker: WorkerData, proportion: float) -> WorkerData:
    cpu_wait_s = None if worker.cpu_wait_s is None else worker.cpu_wait_s * proportion
    return replace(worker, cpu_s=worker.cpu_s * proportion, sent=round(worker.sent * proportion), cpu_wait_s=cpu_wait_s)


def _compute_sending_duration_s(start_ns: int, end_ns: int, lead_in_s: float) -> float:
    return max(1e-9, (end_ns - start_ns) / 1e9 + lead_in_s)


_PRESERVED_CAUSES: tuple[CauseId, ...] = ("interrupted", "limit", "cut_short", "target_failed", "target_lost")
_RUN_CHECK_IDS = ("step_duration", "generator_reach")
"""IDs of the run checks that are recomputed, in addition to the stage checks."""
_GPU_ENERGY_METRIC = "energy_j"


@dataclass(frozen=True)
class RunData:
    """Data of a stored run, sufficient to recompute its whole result. `stage_data` and `rows`
    contain one entry per stage, in the order in which the stages ran; `slo` is the SLO of the run's
    profile; `idle_window` is the window in which the GPUs were idle."""

    result: Result
    slo: tuple[Objective, ...]
    stage_data: tuple[StageData, ...]
    rows: tuple[StageRows, ...]
    telemetry: pd.DataFrame
    idle_window: Window | None = None
    is_complete: bool = True
    """True if the run was completed and its result is final. Otherwise, the result contains only
    the stages of the run."""


def reevaluate_run(run: RunData, slo: tuple[Objective, ...] | None, time_range_s: tuple[float, float] | None) -> Result:
    """Re-evaluate a stored run with another SLO (`slo`) or within a time range (`time_range_s`).

    `time_range_s` holds start and end in s since the start of the run. Only requests scheduled
    inside the time range count: stages outside it are dropped, and stages partly inside it are
    clipped. Without an SLO and a time range, the result is that of the run."""
    objectives = run.slo if slo is None else slo
    has_same_slo_and_window = time_range_s is None and [objective.text for objective in objectives] == [
        objective.text for objective in run.slo
    ]
    is_unchanged = has_same_slo_and_window and run.is_complete
    evaluated_parts = _evaluate_parts(
        run, objectives, _compute_absolute_window(run.result, time_range_s), is_unchanged=is_unchanged
    )
    stages = tuple(stage for _, _, stage in evaluated_parts)
    search_outcome = _reconstruct_search(run.result) if is_unchanged else _simulate_search(run.result, stages)
    new_max_rate = _find_max_rate(run.result, stages, objectives, search_outcome, is_unchanged=is_unchanged)
    pooled_stage = _pool_stages(run, evaluated_parts, objectives, search_outcome)
    headline_stages = select_headline_stages(stages, search_outcome)
    validity = _replace_stage_checks(run.result, headline_stages or stages, None if is_unchanged else search_outcome)
    evaluated_stages = select_evaluated_stages(stages, headline_stages, pooled_stage)
    slo_results = tuple(
        evaluate_worst_stage(objective, evaluated_stages) for objective in select_binding_objectives(objectives)
    )
    plan = run.result.plan if is_unchanged else None
    gates = tuple(
        evaluate_gate(gate.objective, evaluated_stages, stages, collect_run_metrics(new_max_rate, plan))
        for gate in run.result.gates
    )
    local_stages = tuple(stage for stage in run.result.stages if stage.variant is not None)
    endpoint_stages = stages + (() if pooled_stage is None else (pooled_stage,))
    result = replace(
        run.result,
        verdict=compute_verdict(validity),
        validity=validity,
        stages=local_stages + mark_headline(endpoint_stages, evaluated_stages, new_max_rate),
        max_rate=new_max_rate,
        knees=find_sweep_knees(stages),
        slo=slo_results,
        gates=run.result.gates if is_unchanged else gates,
    )
    if is_unchanged:
        return result
    limited_objectives = (*objectives, *(evaluation.objective for evaluation in (*slo_results, *gates)))
    extra_causes = [
        *find_failed_requests_causes(stages, limited_objectives),
        *_build_no_rate_causes(run.result, stages, new_max_rate),
    ]
    reevaluated_result = mark_reevaluated(result, run.result, slo, time_range_s, extra_causes)
    return replace(reevaluated_result, reevaluation=None) if has_same_slo_and_window else reevaluated_result


def mark_reevaluated(
    result: Result,
    original: Result,
    slo: tuple[Objective, ...] | None,
    time_range_s: tuple[float, float] | None,
    extra_causes: Sequence[Cause] = (),
) -> Result:
    """Record the SLO and time range used and the original exit code in a re-evaluated result, and
    compute its new exit code.

    The plan and the comparison are dropped, because they were based on the run's own SLO and its
    whole duration."""
    reevaluation = Reevaluation(
        None if slo is None else tuple(objective.text for objective in slo), time_range_s, original.exit.code
    )
    new_exit = _build_exit(original, result, (*result.slo, *result.gates), extra_causes)
    return replace(result, plan=None, comparison=None, reevaluation=reevaluation, exit=new_exit)


_EvaluatedPart = tuple[StageData, StageRows, Stage]


def _compute_absolute_window(result: Result, time_range_s: tuple[float, float] | None) -> Window | None:
    if time_range_s is None:
        return None
    start_ns = result.time_zero_ns
    return Window(start_ns + round(time_range_s[0] * 1e9), start_ns + round(time_range_s[1] * 1e9))


def _evaluate_parts(
    run: RunData, slo: Sequence[Objective], window: Window | None, *, is_unchanged: bool
) -> list[_EvaluatedPart]:
    """Evaluate the part of each stage that is inside the window.

    For complete stages, metrics that do not depend on the SLO are copied from the run. If the
    result should equal that of the run, all request metrics are recomputed instead, which verifies
    that the recomputation gives the same numbers."""
    stored_stages = [stage for stage in run.result.stages if stage.variant is None and not stage.is_pooled]
    samples = {} if run.is_complete and window is None else read_metric_samples(run.telemetry)
    evaluated_parts = []
    for stage_data, rows, stored_stage in zip(run.stage_data, run.rows, stored_stages, strict=True):
        clipped_data = stage_data if window is None else clip_stage(stage_data, rows, window)
        if clipped_data is stage_data and run.is_complete and not is_unchanged:
            evaluated_parts.append((stage_data, rows, reevaluate_stage(rows, stage_data, stored_stage, slo)))
        elif clipped_data is stage_data and run.is_complete:
            stage = _copy_stored_telemetry(summarize_rows(rows, None, stage_data, slo), stored_stage)
            evaluated_parts.append((stage_data, rows, add_telemetry(stage, {}, stage_data, slo)))
        elif clipped_data is not None:
            stage = add_telemetry(summarize_rows(rows, None, clipped_data, slo), samples, clipped_data, slo)
            stage = (
                add_gpu_metrics(stage, run.telemetry, run.idle_window)
                if _GPU_ENERGY_METRIC in stored_stage.metrics
                else stage
            )
            evaluated_parts.append(
                (
                    clipped_data,
                    rows,
                    stage if clipped_data is stage_data else _finish_clipped_stage(stage, stored_stage, slo),
                )
            )
    return evaluated_parts


def _copy_stored_telemetry(stage: Stage, stored_stage: Stage) -> Stage:
    """Copy the telemetry and GPU energy of a complete stage from the run; neither depends on the
    SLO."""
    metrics = {
        **stage.metrics,
        **{name: estimates for name, estimates in stored_stage.metrics.items() if name not in stage.metrics},
    }
    checks = (*stage.checks, *(check for check in stored_stage.checks if check.id == "gpu_throttled"))
    return replace(stage, metrics=metrics, checks=checks, verdict=compute_verdict(checks))


def _finish_clipped_stage(stage: Stage, stored_stage: Stage, slo: Sequence[Objective]) -> Stage:
    """Restore the kind and arrivals of a clipped stage. If a percentile of a clipped search stage
    is withheld, it remains undecided whether the stage met the SLO."""
    met_flags = [is_met(objective, find_estimate(stage, objective)) for objective in select_binding_objectives(slo)]
    is_undecided = STAGE_KINDS[stage.kind].is_search and None in met_flags and False not in met_flags
    return replace(
        stage,
        kind=stored_stage.kind,
        arrivals=stored_stage.arrivals,
        arrival_kind=stored_stage.arrival_kind,
        meets_slo=None if is_undecided else stage.meets_slo,
    )


def _reconstruct_search(result: Result) -> SearchOutcome | None:
    """Rebuild the outcome of the run's own search from the result, which stores only the max rate;
    `None` if the run did not search."""
    if result.max_rate is None or not _has_search_stages(result.stages):
        return None
    stored_max_rate = result.max_rate
    return SearchOutcome(stored_max_rate.per_s.value, stored_max_rate.per_s.reason, (None, None), 0)


def _simulate_search(original: Result, stages: Sequence[Stage]) -> SearchOutcome | None:
    """Evaluate the tested rates as if a search within the new SLO had chosen them; `None` if the
    run did not search."""
    return derive_search_outcome(stages, includes_search=True) if _has_search_stages(original.stages) else None


def _find_max_rate(
    original: Result,
    stages: Sequence[Stage],
    slo: Sequence[Objective],
    search_outcome: SearchOutcome | None,
    *,
    is_unchanged: bool,
) -> MaxRate | None:
    if search_outcome is None:
        return compute_stage_max_rate(stages, slo)
    if is_unchanged:
        return original.max_rate
    return (
        compute_max_rate(stages, slo, search_outcome)
        if select_binding_objectives(slo) and any(STAGE_KINDS[stage.kind].is_search for stage in stages)
        else None
    )


def _pool_stages(
    run: RunData,
    evaluated_parts: Sequence[_EvaluatedPart],
    slo: Sequence[Objective],
    search_outcome: SearchOutcome | None,
) -> Stage | None:
    indices = find_pooled_indices([stage for _, _, stage in evaluated_parts], search_outcome)
    if not indices:
        return None
    pooled_parts = [evaluated_parts[index] for index in indices]
    rows = [_drop_clipped_rows(rows, stage_data) for stage_data, rows, _ in pooled_parts]
    return pool_rows(rows, run.telemetry, [stage_data for stage_data, _, _ in pooled_parts], slo)


def _drop_clipped_rows(rows: StageRows, stage_data: StageData) -> StageRows:
    """Drop the rows after the end of a clipped stage, which would overlap with the next
    stage."""
    return rows.filter(rows.scheduled_ns < stage_data.start_ns + round(stage_data.duration_s * 1e9))


def _replace_stage_checks(
    original: Result, headline_stages: Sequence[Stage], search_outcome: SearchOutcome | None
) -> tuple[Check, ...]:
    """Replace the stage checks of the run with those of the re-evaluated stages. Checks of the
    machine and the clocks are preserved."""
    check_ids = {check.id for stage in original.stages if stage.variant is None for check in stage.checks} | {
        *_RUN_CHECK_IDS
    }
    first_index = next(
        (index for index, check in enumerate(original.validity) if check.id in check_ids), len(original.validity)
    )
    reach_checks = (
        tuple(check for check in original.validity if check.id == "generator_reach")
        if search_outcome is None
        else check_generator_reach(search_outcome)
    )
    remaining_checks = [check for check in original.validity[first_index:] if check.id not in check_ids]
    return (*original.validity[:first_index], *combine_stage_checks(headline_stages), *reach_checks, *remaining_checks)


def _build_exit(
    original: Result, result: Result, objective_results: Sequence[ObjectiveResult], extra_causes: Sequence[Cause]
) -> Exit:
    """Build the exit state of a re-evaluated result. Causes that stopped the run or came from its
    target are preserved; causes based on metrics are recomputed."""
    causes = [cause for cause in original.exit.causes if cause.id in _PRESERVED_CAUSES]
    invalid_verdict = compute_verdict([check for check in result.validity if check.verdict == "INVALID"])
    if invalid_verdict.status == "INVALID":
        causes.append(build_invalid_cause(invalid_verdict))
    return build_exit([*causes, *find_causes(objective_results, DEFAULT_GATING), *extra_causes])


def _build_no_rate_causes(original: Result, stages: Sequence[Stage], new_max_rate: MaxRate | None) -> list[Cause]:
    if (
        not _has_search_stages(original.stages)
        or new_max_rate is None
        or new_max_rate.per_s.value is not None
        or new_max_rate.is_generator_limit
    ):
        return []
    return find_no_rate_causes(new_max_rate.per_s.reason, stages, DEFAULT_GATING)


def _has_search_stages(stages: Sequence[Stage]) -> bool:
    return any(STAGE_KINDS[stage.kind].is_search for stage in stages)
