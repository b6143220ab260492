"""What of the judgements decides how a run ends: its causes, its exit code, its warnings.

Judges objectives where they speak of: in which stages, of the run as a whole, or against a
baseline.

What a gate may ask of a run as a whole: its max rate, and what the planned fleet costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from app.analysis.comparisons.comparison import is_noisy
from app.analysis.max_rate import shown_against
from app.analysis.objectives import find_estimate, judge
from app.errors import ExitCode, precedence
from app.records.comparison import Comparison, MetricChange
from app.records.estimate import Estimate
from app.records.metrics import RUN_METRICS
from app.records.plan import Fleet, Plan
from app.records.result import Cause, Exit, Judged, MaxRate, Objective, Result, Stage, Verdict

_NO_BASELINE = "no baseline was given"
_RANK = {"PASS": 0, "INCONCLUSIVE": 1, "FAIL": 2}


def judge_gate(
    gate: Objective, judged_on: Sequence[Stage], stages: Sequence[Stage], of_run: Mapping[str, Estimate]
) -> Judged:
    """In the worst stage that has its tags; of `judged_on`, where the answer lies, when it has none. A change is
    INCONCLUSIVE until `judge_change` knows the comparison."""
    if gate.is_change:
        return judge(gate, Estimate(None, reason=_NO_BASELINE))
    if gate.metric in RUN_METRICS:
        return judge(gate, of_run[gate.metric])
    return judge_worst(gate, tagged(stages, gate.tags) if gate.tags else judged_on, none=_no_stage(gate))


def judge_worst(objective: Objective, stages: Sequence[Stage], none: str = "no stage to judge it on") -> Judged:
    if not stages:
        return judge(objective, Estimate(None, reason=none))
    return _worst(replace(judge(objective, find_estimate(stage, objective)), stage=stage.name) for stage in stages)


def judge_change(gate: Objective, stages: Sequence[Stage], comparison: Comparison | None) -> Judged:
    """By what share the metric changed: the ratio of medians less one, and so its interval. `stages` are the run's.

    Without an interval, as with too few repeats, nothing tells a change from chance: it is INCONCLUSIVE. Where the
    comparison is advisory, or the metric too noisy, the gate only warns. Without tags it is of what the profile asked
    for, not of a search's probes, where there is that.
    """
    if comparison is None:
        return judge(gate, Estimate(None, reason=_NO_BASELINE))
    gate = replace(gate, level="warn") if comparison.is_advisory else gate
    named = {stage.name for stage in tagged(stages, gate.tags)} if gate.tags else None
    changes = [
        one
        for one in comparison.changes
        if (one.metric, one.aggregate) == (gate.metric, gate.aggregate) and (named is None or one.stage in named)
    ]
    if not changes:
        return judge(gate, Estimate(None, reason=f"the comparison tells nothing of {_named(gate)}"))
    asked = [] if gate.tags else [one for one in changes if one.is_headline]
    return _worst(_judged_change(gate, one) for one in asked or changes)


def tags_of(stage: Stage) -> dict[str, str]:
    """What a gate may choose the stage by; of a local model its variant too."""
    variant = stage.variant
    if variant is None:
        return {"stage": stage.name, **stage.tags}
    chosen = ("provider", "precision", "batch", "streams", "threads")
    return {**stage.tags, **{name: str(getattr(variant, name)) for name in chosen}}


def tagged(stages: Iterable[Stage], tags: Mapping[str, str]) -> tuple[Stage, ...]:
    return tuple(stage for stage in stages if stage.kind != "warmup" and tags.items() <= tags_of(stage).items())


def _judged_change(gate: Objective, change: MetricChange) -> Judged:
    ratio = change.ratio
    if ratio.value is None:
        share = Estimate(None, n=ratio.n, reason=ratio.reason)
    elif ratio.ci95 is None:
        share = Estimate(ratio.value - 1, n=ratio.n, reason=ratio.reason or "too few repeats for an interval")
    else:
        share = Estimate(ratio.value - 1, (ratio.ci95[0] - 1, ratio.ci95[1] - 1), ratio.n)
    gate = replace(gate, level="warn") if is_noisy(change) else gate
    judged = replace(judge(gate, share), stage=change.stage or None)
    return judged if share.ci95 is not None else replace(judged, judgement="INCONCLUSIVE")


def _worst(judged: Iterable[Judged]) -> Judged:
    def badness(one: Judged) -> tuple[int, float]:
        value = one.observed.value
        wants_low = one.objective.comparator in ("<", "<=")
        return _RANK[one.judgement], (-math.inf if value is None else value if wants_low else -value)

    return max(judged, key=badness)


def _named(gate: Objective) -> str:
    name = gate.metric if gate.aggregate is None else f"{gate.metric}.{gate.aggregate}"
    return f"{name}{_shown(gate.tags)}" if gate.tags else name


def _no_stage(gate: Objective) -> str:
    return f"no stage {_shown(gate.tags)} was run" if gate.tags else "no stage to judge it on"


def _shown(tags: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{tag}={value}" for tag, value in tags.items()) + "}"


OnInconclusive = Literal["pass", "warn", "fail"]
GateKind = Literal["slo", "regression"]
_OPEN = "the interval reaches past the limit"


class Gating(msgspec.Struct, frozen=True):
    """`kinds` decide: `slo` is the SLO and every gate on what was measured, `regression` every gate on a change. What
    decides nothing is judged and shown all the same."""

    on_inconclusive: OnInconclusive = "warn"
    kinds: tuple[GateKind, ...] = ("slo", "regression")


DEFAULT = Gating()


def exit_of(causes: Sequence[Cause]) -> Exit:
    """The causes in the order of their precedence: the exit code is that of the first."""
    ordered = tuple(sorted(causes, key=lambda cause: precedence(cause.code)))
    return Exit(ordered[0].code if ordered else ExitCode.OK, ordered)


def causes_of(judged: Iterable[Judged], gating: Gating) -> list[Cause]:
    return [cause for one in judged if _decides(one, gating) and (cause := _cause(one, gating)) is not None]


def invalid_cause(verdict: Verdict) -> Cause:
    return Cause("invalid", ExitCode.INVALID, f"the measurement is INVALID: {'; '.join(verdict.reasons)}")


def no_rate_cause(reason: str | None) -> Cause:
    return Cause("no_rate", ExitCode.GATE_FAILED, f"no rate held the SLO: {reason}")


def with_comparison(result: Result, comparison: Comparison, gating: Gating, found: Sequence[Cause] = ()) -> Result:
    """The result with its gates on changes judged by the comparison, and the exit that follows. `found` are causes
    that the comparison gives by itself."""
    gates = tuple(
        judge_change(one.objective, result.stages, comparison) if one.objective.is_change else one
        for one in result.gates
    )
    again = (ExitCode.REGRESSION, ExitCode.INCONCLUSIVE)
    kept = [cause for cause in result.exit.causes if cause.code not in again]
    judged = [cause for cause in causes_of((*result.slo, *gates), gating) if cause.code in again]
    judged += [cause for cause in found if cause.code != ExitCode.REGRESSION or "regression" in gating.kinds]
    return msgspec.structs.replace(result, gates=gates, comparison=comparison, exit=exit_of([*kept, *judged]))


def warnings_of(result: Result, gating: Gating) -> Iterator[str]:
    """Sentences on what missed its limit and decides nothing, and on what its interval leaves open."""
    for one in (*result.slo, *result.gates):
        if one.judgement == "FAIL" and not _decides(one, gating):
            yield f"{_failed(one)} (it only warns)"
        elif one.judgement == "INCONCLUSIVE" and gating.on_inconclusive == "warn":
            is_without = one.objective.is_change and result.comparison is None
            hint = "; --baseline RUN names one" if is_without else ""
            yield f"{_inconclusive(one)}{hint}"


def _decides(one: Judged, gating: Gating) -> bool:
    return one.objective.level == "fail" and kind_of(one.objective) in gating.kinds


def kind_of(objective: Objective) -> GateKind:
    return "regression" if objective.is_change else "slo"


def _cause(one: Judged, gating: Gating) -> Cause | None:
    if one.judgement == "FAIL":
        if one.objective.is_change:
            return Cause("change_failed", ExitCode.REGRESSION, _failed(one))
        return Cause("objective_failed", ExitCode.GATE_FAILED, _failed(one))
    if one.judgement == "INCONCLUSIVE" and gating.on_inconclusive == "fail":
        return Cause("objective_inconclusive", ExitCode.INCONCLUSIVE, _inconclusive(one))
    return None


def _failed(one: Judged) -> str:
    return f"{one.objective.text} failed{_where(one)}: {shown_against(one.objective, one.observed.value or 0.0)}"


def _inconclusive(one: Judged) -> str:
    return f"{one.objective.text} is inconclusive{_where(one)}: {one.observed.reason or _OPEN}"


def _where(one: Judged) -> str:
    return f" in {one.stage}" if one.stage else ""


def run_metrics(found: MaxRate | None, plan: Plan | None) -> dict[str, Estimate]:
    """Each of `RUN_METRICS`; withheld where there is no max rate, no plan, or no fleet that it recommends."""
    max_rate = Estimate(None, reason="no max rate was looked for") if found is None else found.per_s
    return {"max_rate_within_slo": max_rate, **_costs(plan)}


def _costs(plan: Plan | None) -> dict[str, Estimate]:
    if plan is None or plan.recommendation is None:
        why = Estimate(None, reason="nothing was planned" if plan is None else "the plan recommends no fleet")
        return dict.fromkeys(("usd_per_month", "usd_per_1k_inferences", "usd_per_1m_tokens"), why)
    fleet = plan.recommendation.fleet
    return {
        "usd_per_month": fleet.usd_per_month,
        "usd_per_1k_inferences": fleet.usd_per_1k_inferences,
        "usd_per_1m_tokens": _by_tokens(fleet),
    }


def _by_tokens(fleet: Fleet) -> Estimate:
    """At the traffic's mean. It is not known better than the month's cost is, and has its interval."""
    tokens = None if fleet.per_1m_tokens is None else fleet.per_1m_tokens.all
    month = fleet.usd_per_month
    if tokens is None or tokens.at_mean is None or not month.value:
        return Estimate(None, reason="nothing tells how many tokens the traffic has")
    if month.ci95 is None:
        return Estimate(tokens.at_mean, basis=month.basis, reason=month.reason)
    low, high = (tokens.at_mean * end / month.value for end in month.ci95)
    return Estimate(tokens.at_mean, (low, high), basis=month.basis)
