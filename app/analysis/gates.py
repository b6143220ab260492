"""Judges objectives where they speak of: in which stages, of the run as a whole, or against a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from app.analysis.comparison_notes import is_noisy
from app.analysis.objectives import find_estimate, judge
from app.records.comparison import Comparison, MetricChange
from app.records.estimate import Estimate
from app.records.metrics import RUN_METRICS
from app.records.result import Judged, Objective, Stage

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
