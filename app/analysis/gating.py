"""Evaluate objectives and gates, and determine how a run ends: causes, exit code and warnings.

An objective is evaluated on its stages, on the run as a whole, or against a baseline. The metrics
of the run as a whole are the max rate and the costs of the planned fleet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from app.analysis.comparisons.comparison import is_noisy
from app.analysis.max_rate import format_against_limit, is_search_undecided
from app.analysis.objectives import evaluate_objective, find_estimate, select_stage_tags
from app.errors import ExitCode, get_precedence
from app.records.comparison import Comparison, MetricChange
from app.records.estimate import Estimate
from app.records.metrics import RUN_METRICS, metric_label
from app.records.plan import Fleet, Plan
from app.records.result import (
    Cause,
    CauseId,
    Exit,
    MaxRate,
    Objective,
    ObjectiveResult,
    Result,
    Stage,
    Verdict,
)
from app.records.stage_kinds import STAGE_KINDS

_NO_BASELINE = "no baseline was specified"
_SEVERITY_RANKS = {"PASS": 0, "INCONCLUSIVE": 1, "FAIL": 2}


def evaluate_gate(
    gate: Objective, evaluated_stages: Sequence[Stage], stages: Sequence[Stage], run_metrics: Mapping[str, Estimate]
) -> ObjectiveResult:
    """Evaluate a gate on the worst stage with the gate's tags, or on the run as a whole if the
    metric belongs to the run. A gate without tags is evaluated on the worst stage of
    `evaluated_stages`.

    A gate on a change is INCONCLUSIVE until `evaluate_change` is called with a comparison."""
    if gate.is_change:
        return evaluate_objective(gate, Estimate(None, reason=_NO_BASELINE))
    if gate.metric in RUN_METRICS:
        return evaluate_objective(gate, run_metrics[gate.metric])
    return evaluate_worst_stage(
        gate,
        filter_by_tags(stages, stage_tags) if (stage_tags := select_stage_tags(gate)) else evaluated_stages,
        missing_reason=_format_no_stage_reason(gate),
    )


def evaluate_worst_stage(
    objective: Objective, stages: Sequence[Stage], missing_reason: str = "not evaluated: no stage qualified"
) -> ObjectiveResult:
    """Evaluate an objective on the worst of the stages.

    If `stages` contains a stage that pools the others, a FAIL of one of the others decides;
    otherwise the pooled stage, because a short stage often has too few requests for PASS."""
    if not stages:
        return evaluate_objective(objective, Estimate(None, reason=missing_reason))
    results = [
        replace(evaluate_objective(objective, find_estimate(stage, objective)), stage=stage.label) for stage in stages
    ]
    worst_result = _find_worst_result(results)
    pooled_results = [result for result, stage in zip(results, stages, strict=True) if stage.is_pooled]
    is_pooled = 0 < len(pooled_results) < len(results)
    return pooled_results[0] if is_pooled and worst_result.outcome != "FAIL" else worst_result


def evaluate_change(gate: Objective, stages: Sequence[Stage], comparison: Comparison | None) -> ObjectiveResult:
    """Evaluate a gate on the relative change of a metric, which is the ratio of medians minus 1.
    `stages` are all stages of the run.

    The gate is INCONCLUSIVE if the change has no confidence interval (too few repeats), because the
    change may be random. If the comparison is advisory or the metric too noisy, the gate can only
    warn. A gate without tags applies to the stages that the profile requested, if any, and not to
    search probes."""
    if comparison is None:
        return evaluate_objective(gate, Estimate(None, reason=_NO_BASELINE))
    gate = replace(gate, level="warn") if comparison.is_advisory else gate
    stage_names = {stage.name for stage in filter_by_tags(stages, gate.tags)} if gate.tags else None
    changes = [
        change
        for change in comparison.changes
        if (change.metric, change.aggregate) == (gate.metric, gate.aggregate)
        and (stage_names is None or change.stage in stage_names)
    ]
    if not changes:
        return evaluate_objective(
            gate, Estimate(None, reason=f"the comparison does not contain {_format_gate_metric(gate)}")
        )
    requested_changes = [] if gate.tags else [change for change in changes if change.is_headline]
    return _find_worst_result(_evaluate_metric_change(gate, change) for change in requested_changes or changes)


def build_tags(stage: Stage) -> dict[str, str]:
    """Return the tags by which a gate can select the stage. For a local model, the tags include
    provider, precision, batch size, streams and threads."""
    variant = stage.variant
    if variant is None:
        return {"stage": stage.name, **stage.tags}
    tag_names = ("provider", "precision", "batch", "streams", "threads")
    return {**stage.tags, **{name: str(getattr(variant, name)) for name in tag_names}}


def filter_by_tags(stages: Iterable[Stage], tags: Mapping[str, str]) -> tuple[Stage, ...]:
    return tuple(
        stage for stage in stages if STAGE_KINDS[stage.kind].is_measured and tags.items() <= build_tags(stage).items()
    )


def _evaluate_metric_change(gate: Objective, change: MetricChange) -> ObjectiveResult:
    ratio = change.ratio
    if ratio.value is None:
        relative_change = Estimate(None, n=ratio.n, reason=ratio.reason)
    elif ratio.ci95 is None:
        relative_change = Estimate(
            ratio.value - 1, n=ratio.n, reason=ratio.reason or ("too few repeats for a confidence interval")
        )
    else:
        relative_change = Estimate(ratio.value - 1, (ratio.ci95[0] - 1, ratio.ci95[1] - 1), ratio.n)
    gate = replace(gate, level="warn") if is_noisy(change) else gate
    result = replace(evaluate_objective(gate, relative_change), stage=change.stage or None)
    return result if relative_change.ci95 is not None else replace(result, outcome="INCONCLUSIVE")


def _find_worst_result(results: Iterable[ObjectiveResult]) -> ObjectiveResult:
    def compute_severity(result: ObjectiveResult) -> tuple[int, float]:
        value = result.observed.value
        is_lower_better = result.objective.comparator in ("<", "<=")
        return _SEVERITY_RANKS[result.outcome], (-math.inf if value is None else value if is_lower_better else -value)

    return max(results, key=compute_severity)


def _format_gate_metric(gate: Objective) -> str:
    name = metric_label(gate.metric, gate.aggregate)
    return f"{name}{_format_tags(gate.tags)}" if gate.tags else name


def _format_no_stage_reason(gate: Objective) -> str:
    return f"no stage with {_format_tags(gate.tags)} was run" if gate.tags else "not evaluated: no stage qualified"


def _format_tags(tags: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{tag}={value}" for tag, value in tags.items()) + "}"


OnInconclusive = Literal["pass", "warn", "fail"]
GateKind = Literal["slo", "regression"]
_CI_CROSSES_LIMIT = "the 95 % CI crosses the limit"


class Gating(msgspec.Struct, frozen=True):
    """Settings that determine what can fail a run. In `kinds`, "slo" stands for the SLO and all
    gates on measured values, "regression" for all gates on a change. Gates of a kind that is not
    listed are evaluated and reported, but cannot fail the run."""

    on_inconclusive: OnInconclusive = "warn"
    kinds: tuple[GateKind, ...] = ("slo", "regression")


DEFAULT_GATING = Gating()


_ALLOWED_DEMONSTRATION_CAUSES: tuple[CauseId, ...] = (
    "invalid",
    "objective_failed",
    "objective_inconclusive",
    "slo_below_idle_latency",
    "errors_without_load",
    "no_rate",
    "rate_undecided",
)
"""Exit causes that stem from the measured results, and therefore do not fail a demonstration
run."""


def build_exit(causes: Sequence[Cause], *, is_demonstration: bool = False) -> Exit:
    """Build the exit state from causes, sorted by precedence; the exit code is that of the first
    cause. A demonstration run fails only if it was stopped, or if its target did not respond."""
    sorted_causes = tuple(sorted(causes, key=lambda cause: get_precedence(cause.code)))
    deciding_causes = [
        cause for cause in sorted_causes if not (is_demonstration and cause.id in _ALLOWED_DEMONSTRATION_CAUSES)
    ]
    return Exit(deciding_causes[0].code if deciding_causes else ExitCode.OK, sorted_causes)


def find_causes(results: Iterable[ObjectiveResult], gating: Gating) -> list[Cause]:
    return [
        cause
        for result in results
        if _can_fail_run(result, gating) and (cause := _build_cause(result, gating)) is not None
    ]


def build_invalid_cause(verdict: Verdict) -> Cause:
    return Cause("invalid", ExitCode.INVALID, f"the measurement is INVALID: {'; '.join(verdict.reasons)}")


def find_no_rate_causes(reason: str | None, stages: Sequence[Stage], gating: Gating) -> list[Cause]:
    """Return the cause that results from a search without a max rate. A search that ended before
    any rate was decided is inconclusive."""
    if "slo" not in gating.kinds:
        return []
    if not is_search_undecided(stages):
        return [Cause("no_rate", ExitCode.GATE_FAILED, f"no tested rate met the SLO: {reason}")]
    if gating.on_inconclusive == "fail":
        return [Cause("rate_undecided", ExitCode.INCONCLUSIVE, _format_undecided(reason))]
    return []


def _format_undecided(reason: str | None) -> str:
    return f"no rate was decided: {reason or 'the search ended before its first probe'}"


def apply_comparison(
    result: Result, comparison: Comparison, gating: Gating, extra_causes: Sequence[Cause] = ()
) -> Result:
    """Return the result with the gates on changes evaluated by the comparison, and with the new
    exit code. `extra_causes` are causes that result from the comparison itself."""
    gates = tuple(
        evaluate_change(gate_result.objective, result.stages, comparison)
        if gate_result.objective.is_change
        else gate_result
        for gate_result in result.gates
    )
    comparison_codes = (ExitCode.REGRESSION, ExitCode.INCONCLUSIVE)
    unaffected_causes = [cause for cause in result.exit.causes if cause.code not in comparison_codes]
    comparison_causes = [
        cause for cause in find_causes((*result.slo, *gates), gating) if cause.code in comparison_codes
    ]
    comparison_causes += [
        cause for cause in extra_causes if cause.code != ExitCode.REGRESSION or "regression" in gating.kinds
    ]
    return msgspec.structs.replace(
        result, gates=gates, comparison=comparison, exit=build_exit([*unaffected_causes, *comparison_causes])
    )


def list_warnings(result: Result, gating: Gating) -> Iterator[str]:
    """Yield a sentence for each objective or gate that is missed but does not fail the run, for
    each that is inconclusive, and for a search that decided no rate."""
    for objective_result in (*result.slo, *result.gates):
        if objective_result.outcome == "FAIL" and not _can_fail_run(objective_result, gating):
            yield f"{format_failure(objective_result)} (warning only)"
        elif objective_result.outcome == "INCONCLUSIVE" and gating.on_inconclusive == "warn":
            has_no_baseline = objective_result.objective.is_change and result.comparison is None
            hint = "; set a baseline with --baseline RUN" if has_no_baseline else ""
            yield f"{_format_inconclusive(objective_result)}{hint}"
    if gating.on_inconclusive == "warn" and not result.exit.causes and has_undecided_search(result):
        assert result.max_rate is not None
        yield _format_undecided(result.max_rate.per_s.reason)


def has_undecided_search(result: Result) -> bool:
    """Return whether the run searched for the max rate, and ended before any rate was decided."""
    max_rate = result.max_rate
    if max_rate is None or max_rate.per_s.value is not None or max_rate.is_generator_limit:
        return False
    kinds = [STAGE_KINDS[stage.kind] for stage in result.stages if stage.variant is None]
    # Without a search, only stages at a constant rate have a max rate.
    has_searched = any(kind.is_search for kind in kinds) or not any(kind.has_configured_rate for kind in kinds)
    return has_searched and is_search_undecided(result.stages)


def _can_fail_run(result: ObjectiveResult, gating: Gating) -> bool:
    return result.objective.level == "fail" and get_gate_kind(result.objective) in gating.kinds


def get_gate_kind(objective: Objective) -> GateKind:
    return "regression" if objective.is_change else "slo"


def _build_cause(result: ObjectiveResult, gating: Gating) -> Cause | None:
    if result.outcome == "FAIL":
        if result.objective.is_change:
            return Cause("change_failed", ExitCode.REGRESSION, format_failure(result))
        return Cause("objective_failed", ExitCode.GATE_FAILED, format_failure(result))
    if result.outcome == "INCONCLUSIVE" and gating.on_inconclusive == "fail":
        return Cause("objective_inconclusive", ExitCode.INCONCLUSIVE, _format_inconclusive(result))
    return None


def format_failure(result: ObjectiveResult) -> str:
    """Format a failed objective, such as "p95 latency < 50 ms was not met in steady: measured 82
    ms"."""
    value = result.observed.value or 0.0
    return (
        f"{result.objective.label} was not met{_format_stage_suffix(result)}: measured "
        f"{format_against_limit(result.objective, value)}"
    )


def _format_inconclusive(result: ObjectiveResult) -> str:
    reason = result.observed.reason or _CI_CROSSES_LIMIT
    return f"{result.objective.label} is inconclusive{_format_stage_suffix(result)}: {reason}"


def _format_stage_suffix(result: ObjectiveResult) -> str:
    return f" in {result.stage}" if result.stage else ""


def collect_run_metrics(max_rate: MaxRate | None, plan: Plan | None) -> dict[str, Estimate]:
    """Return the estimate of each metric in `RUN_METRICS`. The max rate is withheld if the run has
    none; costs are withheld if there is no plan or the plan recommends no fleet."""
    max_rate_estimate = Estimate(None, reason="the run has no max-rate search") if max_rate is None else max_rate.per_s
    return {"max_rate_within_slo": max_rate_estimate, **_build_cost_metrics(plan)}


def _build_cost_metrics(plan: Plan | None) -> dict[str, Estimate]:
    if plan is None or plan.recommendation is None:
        withheld_estimate = Estimate(
            None, reason="no plan was computed" if plan is None else "the plan recommends no fleet"
        )
        return dict.fromkeys(("usd_per_month", "usd_per_1k_inferences", "usd_per_1m_tokens"), withheld_estimate)
    fleet = plan.recommendation.fleet
    return {
        "usd_per_month": fleet.usd_per_month,
        "usd_per_1k_inferences": fleet.usd_per_1k_inferences,
        "usd_per_1m_tokens": _build_token_cost(fleet),
    }


def _build_token_cost(fleet: Fleet) -> Estimate:
    """Return the cost per 1M tokens at mean traffic. The relative uncertainty of this cost is that
    of the monthly cost."""
    cost_per_1m_tokens = None if fleet.per_1m_tokens is None else fleet.per_1m_tokens.all
    monthly_cost = fleet.usd_per_month
    if cost_per_1m_tokens is None or cost_per_1m_tokens.at_mean is None or not monthly_cost.value:
        return Estimate(None, reason="the number of tokens in the traffic is unknown")
    if monthly_cost.ci95 is None:
        return Estimate(cost_per_1m_tokens.at_mean, basis=monthly_cost.basis, reason=monthly_cost.reason)
    lower_bound, upper_bound = (cost_per_1m_tokens.at_mean * bound / monthly_cost.value for bound in monthly_cost.ci95)
    return Estimate(cost_per_1m_tokens.at_mean, (lower_bound, upper_bound), basis=monthly_cost.basis)
