"""Build the result from the measurements: verdict, objectives, max rate, plan and exit code.

Also build the notes on how the run was measured, and compare the run with a baseline. An
impossible comparison is rejected before the run if it can be detected then; otherwise, it becomes
part of the result."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from app import __version__
from app.analysis.comparisons.comparison import (
    NO_HEADLINE_METRIC,
    compare_runs,
    find_inconclusive_changes,
    find_regressions,
    format_change,
    format_regression,
    has_no_headline_metric,
)
from app.analysis.comparisons.environment_differences import (
    RunSetup,
    extract_setup,
    find_setup_differences,
    find_slo_differences,
    format_differences,
)
from app.analysis.curve import find_sweep_knees
from app.analysis.failed_requests import find_failed_requests_causes
from app.analysis.gating import (
    Gating,
    apply_comparison,
    build_exit,
    build_invalid_cause,
    collect_run_metrics,
    evaluate_gate,
    evaluate_worst_stage,
    find_causes,
    find_no_rate_causes,
)
from app.analysis.headline import compute_stage_max_rate, mark_headline, select_evaluated_stages, select_headline_stages
from app.analysis.local.accuracy import check_chance_accuracy
from app.analysis.max_rate import check_generator_reach, compute_max_rate
from app.analysis.objectives import select_binding_objectives
from app.analysis.pooling import pool_outputs, pool_sessions
from app.analysis.sample_size import count_needed_samples
from app.analysis.search import SearchOutcome
from app.analysis.validity import check_telemetry, check_wall_clock, combine_stage_checks, compute_verdict
from app.errors import ExitCode, UsageError
from app.planning.fleets import plan_fleets
from app.planning.service_models.measured import build_run_target, lower_trust, measure_cached_input_share
from app.records.comparison import Comparison
from app.records.metrics import PERCENTILES
from app.records.planning_inputs import PlanningInputs
from app.records.result import (
    Artifact,
    Cause,
    Check,
    Clock,
    ColdStart,
    Environment,
    MaxRate,
    Objective,
    ObjectiveResult,
    Plan,
    PrefixReuse,
    Result,
    SessionOutcomeName,
    ShapePlan,
    Stage,
    Tool,
    Verdict,
)
from app.records.stage_kinds import STAGE_KINDS
from app.session.idle_latency import IdleLatency
from app.session.local.spec import LocalSpec
from app.session.spec import BaselineSpec, RunSpec
from app.telemetry.clock import ClockReading
from loadgen.workloads import (
    BatchWorkload,
    GrpcWorkload,
    OipWorkload,
    OpenAiWorkload,
    RealtimeWorkload,
    SessionPrompts,
    SyntheticPrompts,
    Workload,
    list_workloads,
)

if TYPE_CHECKING:
    import pandas as pd

_WEBSOCKET_CAPACITY_NOTE = (
    "The load generator's capacity was measured with plain HTTP requests. A dialog sends and receives many messages, "
    "so check the CPU utilization of the load generator."
)
_GRPC_CAPACITY_NOTE = (
    "The load generator's capacity was measured with plain HTTP requests. gRPC calls need more CPU time, so check the "
    "CPU utilization of the load generator."
)

_BATCH_NOTE = (
    "The latency of each request of a batch is the time from the creation of the job until its end was observed, with "
    "the accuracy of `load.batch.poll`."
)
_SESSIONS_NOTE = (
    "Arrivals are multi-turn sessions: scheduled rates and the max rate count sessions; offered, achieved, good and "
    "completed rates count requests."
)
_LIVE_HISTORY_NOTE = (
    "The requests of a session contain the server's own earlier responses, so the load depends on what the server "
    "responds."
)


def collect_notes(
    workload: Workload, session_notes: Sequence[str], token_sources: Counter[str], user_notes: Sequence[str]
) -> tuple[str, ...]:
    """Return the notes of the result without duplicates: notes on the workload, notes from the
    session, notes on token counts, and notes by the user."""
    labeled_user_notes = (f"User note: {text}" for text in user_notes)
    return tuple(
        dict.fromkeys(
            (*_build_workload_notes(workload), *session_notes, *_build_token_notes(token_sources), *labeled_user_notes)
        )
    )


def _build_workload_notes(workload: Workload) -> tuple[str, ...]:
    """Return the notes on a workload, or on all classes of a mix."""
    return tuple(note for part in list_workloads(workload) for note in _build_notes_on(part))


def _build_notes_on(workload: Workload) -> tuple[str, ...]:
    match workload:
        case OipWorkload(transport="grpc" | "grpc-stream") | GrpcWorkload():
            return (_GRPC_CAPACITY_NOTE,)
        case RealtimeWorkload():
            return (_WEBSOCKET_CAPACITY_NOTE,)
        case OpenAiWorkload(generates_text=True, prompts=SyntheticPrompts(turns=turns, live=live)) if turns is not None:
            return (_SESSIONS_NOTE,) if live is None else (_SESSIONS_NOTE, _LIVE_HISTORY_NOTE)
        case BatchWorkload():
            return (_BATCH_NOTE,)
        case OpenAiWorkload(prompts=SessionPrompts()):
            return (_SESSIONS_NOTE, _LIVE_HISTORY_NOTE)
        case _:
            return ()


_OUTCOME_TEXTS: dict[SessionOutcomeName, str] = {
    "completed": "completed",
    "failed": "ended by a failed request",
    "context_limit": "ended at `context_tokens`",
    "unusable_response": "ended by a malformed tool call or a response that was too large",
    "cut_off": "cut off at the end of a stage",
}


def build_session_notes(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Return a note on the sessions with a live history, whose outcomes are summed over all stages
    except warm-ups; empty without such sessions."""
    summary = pool_sessions(stage.live_sessions for stage in stages if STAGE_KINDS[stage.kind].is_measured)
    if summary is None:
        return ()
    outcome_texts = [
        f"{count:,} {_OUTCOME_TEXTS[outcome]}" for outcome, count in summary.outcomes.items() if count
    ] or ["none"]
    cost_text = ""
    if summary.build_mean_us is not None and summary.build_max_us is not None:
        cost_text = (
            f" Building a request from the responses took the load generator {summary.build_mean_us:.3g} µs of CPU "
            f"time on average and {summary.build_max_us:.3g} µs at most."
        )
    return (f"Sessions: {', '.join(outcome_texts)}.{cost_text}",)


def build_output_notes(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Return notes on the tool calls and the structured output of the responses in all stages
    except warm-ups; empty if their content was not examined."""
    summary = pool_outputs(stage.outputs for stage in stages if STAGE_KINDS[stage.kind].is_measured)
    if summary is None or not summary.responses:
        return ()
    notes = []
    if summary.checked:
        notes.append(
            f"Structured output: {100 * summary.valid / summary.checked:.3g} % of {summary.checked:,} checked "
            "responses match the JSON schema. The others are failures, bad-output."
        )
    if summary.tool_calls:
        notes.append(
            f"Tool calls: {summary.tool_calls:,} in {summary.calling_responses:,} of {summary.responses:,} responses "
            f"({100 * summary.calling_responses / summary.responses:.3g} %)."
        )
    return tuple(notes)


def build_sample_notes(stages: Sequence[Stage], slo: Sequence[Objective]) -> tuple[str, ...]:
    """Return a note on how many responses the percentiles need, if a stage of the headline has too
    few for p95; empty with an SLO, whose percentiles have the check `samples`."""
    counts = [
        stage.completed for stage in select_headline_stages(stages, None) if stage.completed and stage.kind != "batch"
    ]
    needed = {name: count_needed_samples(PERCENTILES[name]) for name in ("p95", "p99")}
    if slo or not counts or min(counts) >= needed["p95"]:
        return ()
    return (
        f"Too few samples for p95 and p99: the stage has {min(counts):,} responses, p95 needs {needed['p95']:,} and "
        f"p99 {needed['p99']:,}. Send {needed['p99']:,} requests (`--requests {needed['p99']}`), or measure longer.",
    )


def _build_token_notes(token_sources: Counter[str]) -> tuple[str, ...]:
    notes = []
    if token_sources["chunks"]:
        chunk_counted_fraction = token_sources["chunks"] / token_sources.total()
        scope = "" if chunk_counted_fraction == 1 else f" of {100 * chunk_counted_fraction:.3g} % of the responses"
        notes.append(f"Output tokens{scope} are counted as one per stream chunk because the server reported no usage.")
    if token_sources["tokenizer"]:
        notes.append("Output tokens were counted with the profile's tokenizer where the server reported no usage.")
    return tuple(notes)


_BASELINE_HINT = "Use a baseline from the same machine and workload, or force the comparison with --force."


def require_comparable_machine(spec: RunSpec | LocalSpec, baseline: BaselineSpec, environment: Environment) -> None:
    """Raise UsageError if the run cannot be compared with its baseline because of environment
    differences that are known before the run."""
    if baseline.is_forced:
        return
    current_setup, runs = RunSetup(environment, spec.target, spec.workload_hash), baseline.runs
    differences = find_setup_differences([extract_setup(run) for run in runs], [current_setup])
    if isinstance(spec, RunSpec) and spec.search is not None and all(run.max_rate is not None for run in runs):
        differences += find_slo_differences(runs, spec.slo)
    forbidding_differences = [difference for difference in differences if difference.forbids]
    if forbidding_differences:
        raise UsageError(
            f"the baseline is not comparable: {format_differences(forbidding_differences)}", hint=_BASELINE_HINT
        )
    if isinstance(spec, RunSpec) and not _has_common_stage(runs, spec):
        raise UsageError(
            "the baseline has no stage in common with this run",
            hint="Use a run of the same profile as the baseline, or give the stages the same names.",
        )


def _has_common_stage(baseline: Sequence[Result], spec: RunSpec) -> bool:
    """Return whether the run and its baseline can have a stage in common. A search and a model
    without its server have further results, which are compared after the run."""
    if spec.search is not None or spec.standalone_model is not None:
        return True
    names = {stage.name for stage in spec.stages}
    return any(stage.name in names for run in baseline for stage in run.stages)


def compare_with_baseline(result: Result, baseline_spec: BaselineSpec | None, gating: Gating) -> Result:
    """Return the result with its comparison to the baseline, including the regression gate and the
    exit code. Return the result unchanged if there is no baseline, or if the result is INVALID,
    because its metrics are then not reliable."""
    if baseline_spec is None or result.verdict.status == "INVALID":
        return result
    comparison = compare_runs(
        baseline_spec.runs, [result], tolerance=baseline_spec.tolerance, is_forced=baseline_spec.is_forced
    )
    return apply_comparison(result, comparison, gating, list(_build_comparison_causes(comparison, gating)))


def _build_comparison_causes(comparison: Comparison, gating: Gating) -> Iterator[Cause]:
    forbidding_differences = [difference for difference in comparison.differences if difference.forbids]
    if forbidding_differences and not comparison.is_forced:
        text = f"the baseline is not comparable: {format_differences(forbidding_differences)}"
        yield Cause("baseline_refused", ExitCode.USAGE, text)
    elif not comparison.changes:
        yield Cause("baseline_refused", ExitCode.USAGE, "the baseline has no metric in common with this run")
    for change in find_regressions(comparison):
        yield Cause("baseline_regressed", ExitCode.REGRESSION, format_regression(change))
    if gating.on_inconclusive == "fail" and "regression" in gating.kinds:
        if has_no_headline_metric(comparison):
            text = f"the comparison with the baseline is inconclusive: {NO_HEADLINE_METRIC}"
            yield Cause("baseline_inconclusive", ExitCode.INCONCLUSIVE, text)
        for change in find_inconclusive_changes(comparison):
            text = f"{format_change(change)} is inconclusive compared with the baseline"
            yield Cause("baseline_inconclusive", ExitCode.INCONCLUSIVE, text)


class RunMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """All measurements of a run before their evaluation."""

    environment: Environment
    standalone_stages: tuple[Stage, ...]
    stages: tuple[Stage, ...]
    pooled_stage: Stage | None
    """Search steps at the max rate, or the many stages of a run without a search, pooled into one
    stage; `None` if no stages are pooled."""
    search_outcome: SearchOutcome | None
    idle_latency: IdleLatency = IdleLatency()
    checks: tuple[Check, ...]
    lost_gpus: tuple[int, ...]
    telemetry: pd.DataFrame
    start_clock: ClockReading
    end_clock: ClockReading
    wall_start: datetime.datetime
    stop_reason: str | None
    target_failure: str | None
    """Reason why the load failed or ended early although the target had been reached; `None` if the
    load did not fail."""
    interruption_code: ExitCode | None
    target_ended: str | None = None
    """Text that states which process of the target exited during the run, and how; `None` if no
    process exited."""
    target_loss: str | None = None
    """Text that states when the target was lost, if it did not respond any more at the end of the
    load and no process that the run started has exited; `None` otherwise."""
    cold_start: ColdStart | None = None
    prefix_reuse: PrefixReuse | None = None
    notes: tuple[str, ...] = ()


def build_result(spec: RunSpec, measurements: RunMeasurements, artifacts: tuple[Artifact, ...]) -> Result:
    """Build the result of a run, which may have been interrupted or have failed."""
    headline_stages = select_headline_stages(measurements.stages, measurements.search_outcome)
    validity = (
        *measurements.checks,
        *_build_run_checks(measurements, headline_stages),
        *_build_accuracy_checks(spec, headline_stages),
    )
    verdict = compute_verdict(validity)
    max_rate = _compute_max_rate(spec, measurements)
    evaluated_stages = select_evaluated_stages(measurements.stages, headline_stages, measurements.pooled_stage)
    slo = _evaluate_slo(spec, measurements, evaluated_stages)
    plan = _compute_plan(spec, measurements.stages, max_rate, verdict)
    run_metrics = collect_run_metrics(max_rate, plan)
    gates = tuple(
        evaluate_gate(objective, evaluated_stages, measurements.stages, run_metrics) for objective in spec.gates
    )
    invalid_verdict = compute_verdict([check for check in validity if check.verdict == "INVALID"])
    causes = _build_causes(spec, measurements, invalid_verdict, slo + gates, max_rate)
    load_stages = measurements.stages + (() if measurements.pooled_stage is None else (measurements.pooled_stage,))
    result = Result(
        tool=Tool("sizewise", __version__),
        run_id=spec.run_id,
        name=spec.name,
        profile_hash=spec.profile_hash,
        target=spec.target,
        environment=measurements.environment,
        clock=msgspec.structs.replace(
            build_clock(measurements.start_clock, measurements.end_clock, measurements.wall_start),
            load_start_ns=min((stage.window.start_ns for stage in measurements.stages), default=None),
        ),
        verdict=verdict,
        validity=validity,
        stages=measurements.standalone_stages + mark_headline(load_stages, evaluated_stages, max_rate),
        max_rate=max_rate,
        knees=find_sweep_knees(measurements.stages),
        slo=slo,
        gates=gates,
        plan=plan,
        shape_plan=_compute_shape_plan(spec),
        cold_start=measurements.cold_start,
        prefix_reuse=measurements.prefix_reuse,
        notes=(*measurements.notes, *_build_demonstration_notes(spec, verdict, plan)),
        workload_hash=spec.workload_hash,
        artifacts=artifacts,
        exit=build_exit(causes, is_demonstration=spec.is_demonstration),
    )
    return compare_with_baseline(result, spec.baseline, spec.gating)


def _evaluate_slo(
    spec: RunSpec, measurements: RunMeasurements, evaluated_stages: Sequence[Stage]
) -> tuple[ObjectiveResult, ...]:
    """Evaluate the SLO on the worst stage. If the endpoint could not meet it without load and no
    stage was measured, the unmet objective is evaluated on the requests without load."""
    objectives = select_binding_objectives(spec.slo) if spec.slo else ()
    unmet_result = None if evaluated_stages else measurements.idle_latency.evaluate_unmet()
    if unmet_result is None:
        return tuple(evaluate_worst_stage(objective, evaluated_stages) for objective in objectives)
    return tuple(
        unmet_result
        if objective == unmet_result.objective
        else evaluate_worst_stage(objective, (), "not evaluated: the search did not start")
        for objective in objectives
    )


def _compute_max_rate(spec: RunSpec, measurements: RunMeasurements) -> MaxRate | None:
    if measurements.search_outcome is not None:
        return compute_max_rate(measurements.stages, spec.slo, measurements.search_outcome)
    return compute_stage_max_rate(measurements.stages, spec.slo) if spec.search is None else None


def _build_run_checks(measurements: RunMeasurements, headline_stages: tuple[Stage, ...]) -> tuple[Check, ...]:
    reported_ids = {check.id for check in measurements.checks}
    checks = tuple(
        check for check in combine_stage_checks(headline_stages or measurements.stages) if check.id not in reported_ids
    )
    if measurements.search_outcome is not None:
        checks = (*checks, *check_generator_reach(measurements.search_outcome))
    if measurements.stages:
        checks = (*checks, check_telemetry(measurements.telemetry))
    clock = build_clock(measurements.start_clock, measurements.end_clock, measurements.wall_start)
    checks = (*checks, check_wall_clock(clock, measurements.end_clock.compute_suspended_s(measurements.start_clock)))
    if measurements.lost_gpus:
        names = ", ".join(f"GPU {index}" for index in measurements.lost_gpus)
        hint = "A GPU disappeared during the measurement. Check the driver log (dmesg)."
        checks = (*checks, Check("gpu_lost", names, None, None, "INVALID", hint))
    return checks


def _build_accuracy_checks(spec: RunSpec, headline_stages: tuple[Stage, ...]) -> tuple[Check, ...]:
    """Return a check of whether the accuracy is above chance, for the headline stage with the most
    labeled rows; empty without labeled rows."""
    accuracies = [stage.metrics["accuracy"]["value"] for stage in headline_stages if "accuracy" in stage.metrics]
    check = (
        check_chance_accuracy(max(accuracies, key=lambda estimate: estimate.n or 0), spec.chance_accuracy)
        if accuracies
        else None
    )
    return () if check is None else (check,)


def build_clock(start_clock: ClockReading, end_clock: ClockReading, wall_start: datetime.datetime) -> Clock:
    return Clock(
        monotonic_start_ns=start_clock.monotonic_ns,
        wall_start=wall_start.isoformat(timespec="seconds"),
        duration_s=(end_clock.monotonic_ns - start_clock.monotonic_ns) / 1e9,
        wall_to_monotonic_ratio=end_clock.compute_wall_to_monotonic_ratio(start_clock),
    )


def _build_causes(
    spec: RunSpec,
    measurements: RunMeasurements,
    invalid_verdict: Verdict,
    objective_results: tuple[ObjectiveResult, ...],
    max_rate: MaxRate | None,
) -> list[Cause]:
    causes: list[Cause] = []
    if measurements.interruption_code is not None:
        causes.append(Cause("interrupted", measurements.interruption_code, "the user stopped the run"))
    if measurements.target_loss is not None:
        causes.append(Cause("target_lost", ExitCode.UNAVAILABLE, measurements.target_loss))
    if invalid_verdict.status == "INVALID":
        causes.append(build_invalid_cause(invalid_verdict))
    if measurements.stop_reason is not None and measurements.target_loss is None:
        causes.append(Cause("limit", ExitCode.LIMIT, measurements.stop_reason))
    idle_cause = measurements.idle_latency.find_cause()
    if idle_cause is not None:
        causes.append(idle_cause)
    load_stages = [stage for stage in measurements.stages if STAGE_KINDS[stage.kind].is_measured]
    # If the target has ended, its exit or loss is the cause.
    has_target_ended = measurements.target_ended is not None or measurements.target_loss is not None
    if not any(stage.completed for stage in load_stages) and (load_stages or not causes) and not has_target_ended:
        has_sent = load_stages or not measurements.idle_latency.has_responded
        reason = "no request to the target succeeded" if has_sent else "the run ended before its first stage"
        error = measurements.idle_latency.error
        reason = measurements.target_failure or (reason if error is None else f"{reason}: {error}")
        causes.append(Cause("target_failed", ExitCode.GATE_FAILED, reason))
    elif measurements.target_failure is not None:
        causes.append(Cause("target_failed", ExitCode.GATE_FAILED, measurements.target_failure))
    elif not has_target_ended:
        objectives = (*spec.slo, *(objective_result.objective for objective_result in objective_results))
        causes += find_failed_requests_causes(load_stages, objectives)
    unmet_result = measurements.idle_latency.evaluate_unmet()
    causes += find_causes([result for result in objective_results if result != unmet_result], spec.gating)
    has_no_rate = max_rate is None or (max_rate.per_s.value is None and not max_rate.is_generator_limit)
    was_search_possible = measurements.idle_latency.may_search and measurements.interruption_code is None
    has_searched = spec.search is not None and was_search_possible and not has_target_ended
    if has_searched and has_no_rate:
        no_rate_reason = max_rate.per_s.reason if max_rate else "the search did not start"
        causes += find_no_rate_causes(no_rate_reason, measurements.stages, spec.gating)
    return causes


_RETRY_HINT = "Close other programs and run again."


def _build_demonstration_notes(spec: RunSpec, verdict: Verdict, plan: Plan | None) -> Iterator[str]:
    """Yield a note on how the measurement affects the plan of a demonstration, and what the user
    can do."""
    if not spec.is_demonstration or spec.plan is None:
        return
    if verdict.status != "INVALID":
        if plan is None:
            yield f"No load met the SLO, so no fleet is planned. {_RETRY_HINT}"
        return
    if plan is None:
        yield f"The max rate is too uncertain to plan a fleet. {_RETRY_HINT}"
    else:
        yield f"The measurement is INVALID, so the plan uses its max rate as an assumption. {_RETRY_HINT}"


def _compute_plan(spec: RunSpec, stages: tuple[Stage, ...], max_rate: MaxRate | None, verdict: Verdict) -> Plan | None:
    if spec.plan is None or spec.target.hardware is None:
        return None
    measured_target = build_run_target(spec.run_id, spec.target.hardware, stages, spec.slo, max_rate)
    if measured_target is None:
        return None
    measured_target = msgspec.structs.replace(measured_target, cached_input_share=measure_cached_input_share(stages))
    if spec.is_demonstration:
        measured_target = lower_trust(measured_target, verdict.status)
    return plan_fleets(
        PlanningInputs(
            (measured_target,), spec.plan.traffic, spec.slo, spec.plan.limits, spec.plan.catalog, spec.plan.today
        )
    )


def _compute_shape_plan(spec: RunSpec) -> ShapePlan | None:
    """Compute the plan for a language model that is not measured. Its numbers are assumptions, so
    it is an analytical estimate without simulation."""
    inputs = spec.shape_inputs
    if inputs is None or inputs.assumed_model is None:
        return None
    return ShapePlan(inputs.assumed_model.name, plan_fleets(inputs, estimate_only=True))
