"""Select the stages on which the headline result of an endpoint is based, and derive the max
rate.

For a sweep, also finds the highest load that met the SLO."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from app.analysis.curve import select_curve_stages
from app.analysis.generator_checks import LOCAL_LIMITS
from app.analysis.max_rate import compute_max_rate, derive_search_outcome
from app.analysis.search import SearchOutcome
from app.analysis.stage_checks import TARGET_PROCESS
from app.records.result import SWEEP_TAG, MaxRate, Objective, Stage
from app.records.stage_kinds import STAGE_KINDS


def find_highest_passed_stages(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages of a sweep at the highest load below the lowest failed load; empty if no
    load passed.

    Stages at lower loads are excluded, because they have fewer responses and thus wider confidence
    intervals. INVALID stages are ignored."""
    evaluated_stages = [stage for stage in stages if _is_evaluated(stage)]
    failed_stage = find_lowest_failed_stage(stages)
    passed_loads = [
        get_load(stage)
        for stage in evaluated_stages
        if failed_stage is None or get_load(stage) < get_load(failed_stage)
    ]
    return tuple(stage for stage in evaluated_stages if get_load(stage) == max(passed_loads)) if passed_loads else ()


def find_lowest_failed_stage(stages: Sequence[Stage]) -> Stage | None:
    """Return the first stage of a sweep at the lowest load that violated the SLO; `None` if no
    stage of the sweep violated the SLO."""
    failed_stages = [stage for stage in stages if _is_evaluated(stage) and stage.meets_slo is False]
    return min(failed_stages, key=get_load, default=None)


def get_load(stage: Stage) -> float:
    """Return the load of a stage: the scheduled rate in requests per second, or the number of
    clients."""
    return float(stage.concurrency or 0) if stage.scheduled_per_s is None else stage.scheduled_per_s


def _is_evaluated(stage: Stage) -> bool:
    return SWEEP_TAG in stage.tags and stage.meets_slo is not None and stage.verdict.status != "INVALID"


MAX_SEPARATE_STAGES = 20
"""Maximum number of stages that a headline shows by the worst of them. If there are more, the
headline is based on all of them, pooled into one stage."""
_MAX_POOLED_REQUESTS = 2_000_000
"""Maximum number of requests that are pooled, because the rows of all pooled stages are in memory
at once. With more requests, each of the stages has enough for its own percentiles."""


def compute_stage_max_rate(stages: Sequence[Stage], slo: Sequence[Objective]) -> MaxRate | None:
    """Compute the max rate from the stages of a run without a search; `None` without an SLO or
    without stages at a constant rate."""
    if not slo or not select_curve_stages(stages):
        return None
    return compute_max_rate(stages, slo, derive_search_outcome(stages))


def find_accepted_step_indices(stages: Sequence[Stage], search_outcome: SearchOutcome | None) -> tuple[int, ...]:
    """Return the indices in `stages` of the search steps at the max rate; empty if the search found
    no max rate."""
    if search_outcome is None or search_outcome.max_rate_per_s is None:
        return ()
    return tuple(
        index
        for index, stage in enumerate(stages)
        if stage.kind == "step"
        and stage.meets_slo
        and stage.scheduled_per_s == search_outcome.max_rate_per_s
        and stage.verdict.status != "INVALID"  # an INVALID step was repeated and is not part of the result
    )


def find_pooled_indices(stages: Sequence[Stage], search_outcome: SearchOutcome | None) -> tuple[int, ...]:
    """Return the indices in `stages` of the stages to pool for the headline: the search steps at
    the max rate; or the stages on which the objectives are evaluated, if there are more than
    `MAX_SEPARATE_STAGES` of them, all of one arrival process. Empty if no stages are pooled."""
    step_indices = find_accepted_step_indices(stages, search_outcome)
    if step_indices:
        return step_indices
    evaluated_ids = {
        id(stage) for stage in select_evaluated_stages(stages, select_headline_stages(stages, search_outcome))
    }
    indices = tuple(index for index, stage in enumerate(stages) if id(stage) in evaluated_ids)
    evaluated_stages = [stages[index] for index in indices]
    request_count = sum(stage.completed + sum(stage.errors.values()) for stage in evaluated_stages)
    arrival_keys = {(stage.arrival_kind, stage.arrival_cv, stage.sessions) for stage in evaluated_stages}
    is_poolable = request_count <= _MAX_POOLED_REQUESTS and len(arrival_keys) == 1
    return indices if len(indices) > MAX_SEPARATE_STAGES and is_poolable else ()


def select_headline_stages(stages: Sequence[Stage], search_outcome: SearchOutcome | None) -> tuple[Stage, ...]:
    """Return the stages on which the headline metrics are based.

    If a search found a max rate, these are the search steps at that rate or, without steps, all
    stages at that rate that met the SLO. Otherwise, the first non-empty group is used: steady
    stages; closed-loop stages and stages with a varying rate; the stages of a sweep."""
    step_indices = find_accepted_step_indices(stages, search_outcome)
    if step_indices:
        return tuple(stages[index] for index in step_indices)
    if search_outcome is not None and search_outcome.max_rate_per_s is not None:
        # after re-evaluation with another SLO, the max rate may only have been probed
        return tuple(
            stage for stage in _select_stages_at_rate(stages, search_outcome.max_rate_per_s) if stage.meets_slo
        )
    non_sweep_stages = tuple(stage for stage in stages if SWEEP_TAG not in stage.tags)
    steady_stages = tuple(stage for stage in non_sweep_stages if STAGE_KINDS[stage.kind].has_configured_rate)
    return (
        steady_stages
        or tuple(stage for stage in non_sweep_stages if STAGE_KINDS[stage.kind].has_variable_rate)
        or _select_sweep_stages(stages)
    )


def select_evaluated_stages(
    stages: Sequence[Stage], headline_stages: Sequence[Stage], pooled_stage: Stage | None = None
) -> tuple[Stage, ...]:
    """Return the stages on which the objectives are evaluated: the pooled search steps if there are
    any; for a sweep, the stages at the highest load that met the SLO; otherwise the headline
    stages. If many stages were pooled, the pooled stage is added to them."""
    if pooled_stage is not None and pooled_stage.kind == "step":
        return (pooled_stage,)
    headline_stages = tuple(stage for stage in headline_stages if not _has_unrelated_errors(stage))
    is_sweep = bool(headline_stages) and all(SWEEP_TAG in stage.tags for stage in headline_stages)
    evaluated_stages = (find_highest_passed_stages(stages) if is_sweep else ()) or headline_stages
    return evaluated_stages if pooled_stage is None else (*evaluated_stages, pooled_stage)


def mark_headline(
    stages: Sequence[Stage], evaluated_stages: Sequence[Stage] = (), max_rate: MaxRate | None = None
) -> tuple[Stage, ...]:
    """Set `in_headline` on the headline stages among `stages`, which include pooled search steps.

    The headline stage is the pooled stage if many stages were pooled. Otherwise, the headline
    stages are the stages at the max rate if there is one; otherwise the stages on which the
    objectives are evaluated; otherwise the last steps of an interrupted search."""
    pooled_stages = [stage for stage in evaluated_stages if stage.is_pooled]
    if 0 < len(pooled_stages) < len(evaluated_stages):
        return set_headline(stages, pooled_stages)
    max_rate_per_s = None if max_rate is None else max_rate.per_s.value
    stages_at_max_rate = () if max_rate_per_s is None else _select_stages_at_rate(evaluated_stages, max_rate_per_s)
    if max_rate_per_s is not None and not stages_at_max_rate:
        stages_at_max_rate = tuple(
            stage
            for stage in _select_stages_at_rate(stages, max_rate_per_s)
            if STAGE_KINDS[stage.kind].has_configured_rate
        )
    headline_stages = select_headline_stages(stages, None)
    fallback_stages = select_evaluated_stages(stages, headline_stages) or headline_stages or _find_last_steps(stages)
    return set_headline(stages, stages_at_max_rate or evaluated_stages or fallback_stages)


def set_headline(stages: Sequence[Stage], headline_stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return `stages` with `in_headline` set on the stages of `headline_stages` and cleared on all
    others."""
    headline_ids = {id(stage) for stage in headline_stages}
    return tuple(replace(stage, in_headline=id(stage) in headline_ids) for stage in stages)


def _select_stages_at_rate(stages: Sequence[Stage], rate_per_s: float) -> tuple[Stage, ...]:
    """Return the stages at the given rate. INVALID stages are excluded, because they may not have
    measured the endpoint."""
    return tuple(stage for stage in stages if stage.scheduled_per_s == rate_per_s and stage.verdict.status != "INVALID")


def _find_last_steps(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return all repeats of the last search step that met the SLO; empty if no step met the SLO."""
    step_stages = [
        stage for stage in stages if stage.kind == "step" and stage.meets_slo and stage.verdict.status != "INVALID"
    ]
    return tuple(stage for stage in step_stages if _get_step_key(stage) == _get_step_key(step_stages[-1]))


def _get_step_key(stage: Stage) -> tuple[float | None, bool]:
    return stage.scheduled_per_s, stage.is_pooled


def _has_unrelated_errors(stage: Stage) -> bool:
    """Return True if the stage failed because the target process had ended or because of limits of
    this machine. Objectives are not evaluated on such a stage."""
    return any(check.id in (TARGET_PROCESS, LOCAL_LIMITS) and check.verdict == "INVALID" for check in stage.checks)


def _select_sweep_stages(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages of a sweep that met the SLO, or all its stages if none did. The last loads
    of a sweep usually violate the SLO."""
    sweep_stages = tuple(stage for stage in stages if SWEEP_TAG in stage.tags)
    return tuple(stage for stage in sweep_stages if stage.meets_slo is not False) or sweep_stages
