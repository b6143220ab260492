"""Selects variants of a local model: the best one, the Pareto front, and the headline stages of each variant.

The best variant has the highest throughput of those that met every objective. A variant is on the Pareto front if no
other is at least as fast, as cheap and as accurate, and better in one of these. Objectives are evaluated in the
scenario that fits their metric. A stored local run can be re-evaluated with another SLO: its stages stay the same, the
best variant may change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from app.analysis.answering import marked
from app.analysis.gating import judge_gate, tagged
from app.analysis.local.call_stages import IN_SEARCH, fastest
from app.analysis.objectives import find_estimate, is_met, judge
from app.analysis.rescoring import again
from app.analysis.rows import NOT_STARTED
from app.errors import ExitCode, UsageError
from app.records.estimate import Estimate, Variant
from app.records.local import NoBestReason, VariantFacts
from app.records.metrics import PERCENTILES
from app.records.result import Cause, Judged, Objective, Result, Stage

_LATENCY_METRICS = ("latency_ms", "send_lag_ms")
_LATENCY_SCENARIOS = ("server", "multi-stream", "single-stream", "offline")
_TIME_SCENARIOS = ("single-stream", "multi-stream", "server", "offline")
_THROUGHPUT_SCENARIOS = ("offline", "multi-stream", "single-stream", "server")


def answer_of(objective: Objective, stages: Sequence[Stage]) -> tuple[Stage | None, Estimate]:
    """Find the stage for an objective, in the scenario that fits its metric best, and its estimate.

    Latency is evaluated in the scenario with arrivals, the time of a call in the one with one call after another,
    throughput in the one without pauses. Of several arrival rates, the worst one counts.
    """
    order = _LATENCY_SCENARIOS if objective.metric in _LATENCY_METRICS else _TIME_SCENARIOS
    order = _THROUGHPUT_SCENARIOS if objective.metric == "throughput_per_s" else order
    candidates = [stage for stage in stages if objective.metric in stage.metrics]
    if not candidates:
        return None, Estimate(None, reason=f"{objective.metric} was not measured")
    scenario = min((stage.tags["scenario"] for stage in candidates), key=order.index)
    is_low_good = objective.comparator in ("<", "<=")

    def badness(stage: Stage) -> float:
        value = find_estimate(stage, objective).value
        return math.inf if value is None else value if is_low_good else -value

    stage = max((candidate for candidate in candidates if candidate.tags["scenario"] == scenario), key=badness)
    return stage, find_estimate(stage, objective)


def missed_of(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[tuple[Objective, Estimate], ...]:
    """Return the objectives that a variant misses by its point estimates in these stages, or has no estimate for,
    without those that only warn."""
    estimates = [(objective, answer_of(objective, stages)[1]) for objective in slo if objective.level == "fail"]
    return tuple((objective, estimate) for objective, estimate in estimates if not is_met(objective, estimate))


def missed_so_far(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[tuple[Objective, Estimate], ...]:
    """Return the objectives missed before the end of the run; metrics that need the whole run, such as accuracy and
    telemetry, do not count."""
    return missed_of(
        [objective for objective in slo if any(objective.metric in stage.metrics for stage in stages)], stages
    )


def is_beyond(slo: Sequence[Objective], stages: Sequence[Stage]) -> bool:
    """Return True if an objective is certainly missed: not because of a missing value, unless the value is infinite."""
    headline = headline_of_variant(slo, stages)
    for objective in slo:
        stage, estimate = answer_of(objective, headline)
        is_known = estimate.value is not None or (stage is not None and is_endless(objective, stage))
        if objective.level == "fail" and is_known and not is_met(objective, estimate):
            return True
    return False


def is_endless(objective: Objective, stage: Stage) -> bool:
    """Return True if so many arrivals were never started that this latency is infinite."""
    never_begun = stage.errors.get(NOT_STARTED, 0)
    tail_share = 1 - PERCENTILES.get(objective.aggregate or "max", 1.0)
    return objective.metric == "latency_ms" and never_begun > tail_share * (never_begun + stage.completed)


def headline_of_variant(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return a variant's headline stages: of a search, those at the highest rate that passed each time, without its
    other steps; all stages if none passed."""
    binding = [objective for objective in slo if objective.level == "fail"]

    def has_passed(stage: Stage) -> bool:
        measured = [objective for objective in binding if objective.metric in stage.metrics]
        return all(is_met(objective, find_estimate(stage, objective)) for objective in measured)

    searched = [stage for stage in stages if IN_SEARCH in stage.tags]
    failed = {stage.scheduled_per_s for stage in searched if not has_passed(stage)}
    passed = [stage for stage in searched if stage.scheduled_per_s not in failed]
    highest = max((stage.scheduled_per_s or 0.0 for stage in passed), default=0.0)
    dropped = [stage for stage in searched if passed and stage.scheduled_per_s != highest]
    return tuple(stage for stage in stages if stage not in dropped)


def with_headlines(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Mark the headline stages among the stages of all variants."""
    variants = dict.fromkeys(stage.variant for stage in stages)
    headline = [
        stage
        for variant in variants
        for stage in headline_of_variant(slo, [candidate for candidate in stages if candidate.variant == variant])
    ]
    return marked(stages, headline)


NO_BEST_TEXTS: dict[NoBestReason, str] = {
    "not_trusted": "no variant was measured whose numbers can be relied on",
    "open": "no variant could be shown to meet every objective",
    "missed": "no variant met every objective",
    "cut_short": "the engine ended before it had judged the run",
}
NO_VARIANT = Cause("no_variant", ExitCode.GATE_FAILED, NO_BEST_TEXTS["missed"])


class Judgeable(msgspec.Struct, frozen=True):
    """A variant with all its stages."""

    facts: VariantFacts
    stages: tuple[Stage, ...]

    def answering(self, slo: Sequence[Objective]) -> tuple[Stage, ...]:
        """Return the headline stages, without the failed rates of a search."""
        return headline_of_variant(slo, self.stages)

    def misses(self, slo: Sequence[Objective]) -> tuple[tuple[Objective, Estimate], ...]:
        return missed_of(slo, self.answering(slo))

    def is_trusted(self, slo: Sequence[Objective]) -> bool:
        """Return True if the variant was measured completely, and nothing makes it INVALID."""
        is_valid = all(stage.verdict.status != "INVALID" for stage in self.answering(slo))
        return bool(self.stages) and is_valid and self.facts.failure is None


def best_of(variants: Sequence[Judgeable], slo: Sequence[Objective]) -> tuple[Judgeable | None, NoBestReason | None]:
    """Find the variant with the highest throughput that met every objective, by point estimates; if there is none, the
    reason."""
    trusted = [variant for variant in variants if variant.is_trusted(slo)]
    if not trusted:
        return None, "not_trusted"
    meeting = [variant for variant in trusted if not variant.misses(slo)]
    if not meeting:
        is_open = any(not is_beyond(slo, variant.stages) for variant in trusted)
        return None, "open" if is_open else "missed"
    return max(meeting, key=lambda variant: _throughput(variant).value or 0.0), None


def _throughput(variant: Judgeable) -> Estimate:
    """Return inferences per second: with arrivals, if that was searched, else the maximum."""
    searched, batch = variant.facts.server_per_s, variant.facts.variant.batch
    if searched is None or searched.value is None:
        return fastest(variant.stages)
    interval = None if searched.ci95 is None else (searched.ci95[0] * batch, searched.ci95[1] * batch)
    return Estimate(searched.value * batch, interval)


def as_fast_as(best: Judgeable, variants: Sequence[Judgeable], slo: Sequence[Objective]) -> tuple[Variant, ...]:
    """Return the other variants that met every objective and whose interval overlaps the best one's."""
    lower_bound = (_throughput(best).ci95 or (math.inf, math.inf))[0]
    others = [
        variant for variant in variants if variant is not best and variant.is_trusted(slo) and not variant.misses(slo)
    ]
    return tuple(
        variant.facts.variant for variant in others if (_throughput(variant).ci95 or (0.0, 0.0))[1] >= lower_bound
    )


def nearest_of(variants: Sequence[Judgeable], slo: Sequence[Objective]) -> Judgeable | None:
    """Find the variant that missed the fewest objectives, and of those the fastest."""

    def badness(variant: Judgeable) -> tuple[int, float]:
        return len(variant.misses(slo)), -(_throughput(variant).value or 0.0)

    return min((variant for variant in variants if variant.stages), key=badness, default=None)


def judge_by_answer(objective: Objective, stages: Sequence[Stage]) -> Judged:
    """Evaluate an objective in the variant's stage for it."""
    stage, estimate = answer_of(objective, stages)
    evaluated = msgspec.structs.replace(judge(objective, estimate), stage=None if stage is None else stage.name)
    is_over = stage is not None and is_endless(objective, stage) and objective.comparator in ("<", "<=")
    return msgspec.structs.replace(evaluated, judgement="FAIL") if is_over else evaluated


def judge_gate_by_answer(gate: Objective, judged_on: Sequence[Stage], stages: Sequence[Stage]) -> Judged:
    """Evaluate a gate on the best variant, or on those that the gate's tags select."""
    if gate.is_change or (gate.tags and not (selected := tagged(stages, gate.tags))):
        return judge_gate(gate, judged_on, stages, {})
    return judge_by_answer(gate, selected if gate.tags else judged_on)


def rescore_variants(own: Result, slo: tuple[Objective, ...]) -> Result:
    """Re-evaluate a stored local run with another SLO. Raises UsageError if the run's own SLO decided what was
    measured."""
    assert own.local is not None
    if any(IN_SEARCH in stage.tags for stage in own.stages):
        raise UsageError(
            "the arrivals of this local run were searched for its own SLO, and another asks for other rates",
            hint="Run it again with that SLO in its profile.",
        )
    variants = tuple(
        Judgeable(facts, tuple(stage for stage in own.stages if stage.variant == facts.variant))
        for facts in own.local.variants
    )
    best, reason = best_of(variants, slo)
    headline_variant = best or nearest_of(variants, slo)
    judged_on = () if headline_variant is None else headline_variant.answering(slo)
    local = replace(
        own.local,
        best=None if best is None else best.facts.variant,
        best_reason=reason,
        as_fast=() if best is None else as_fast_as(best, variants, slo),
    )
    slo_results = tuple(judge_by_answer(objective, judged_on) for objective in slo)
    gates = tuple(judge_gate_by_answer(gate.objective, judged_on, own.stages) for gate in own.gates)
    is_missed = reason == "missed" and all(evaluated.judgement != "FAIL" for evaluated in slo_results)
    extra_causes = [NO_VARIANT] if is_missed else []
    stages = with_headlines(slo, own.stages)
    return again(replace(own, local=local, stages=stages, slo=slo_results, gates=gates), own, slo, None, extra_causes)


class VariantPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A variant in the comparison. `latency_ms` is the same percentile, and `cost` in the same unit, for all compared
    points; None if unknown."""

    latency_ms: float | None
    rows_per_s: float | None
    cost: float | None
    accuracy: float | None
    """Accuracy as a share; higher is better."""


def usd_per_million_rows(rows_per_s: float, usd_per_hour: float) -> float:
    """Compute the cost per million rows on a machine that is never idle."""
    return usd_per_hour / 3600 / rows_per_s * 1e6


def machine_s_per_thousand_rows(rows_per_s: float) -> float:
    """Compute the cost of a machine without a price, in machine seconds per thousand rows."""
    return 1e3 / rows_per_s


def front_of(points: Sequence[VariantPoint]) -> tuple[int, ...]:
    """Return the indexes of the Pareto-optimal points, in order; equal points are all kept.

    Points without a latency or a cost are ignored. An unknown accuracy is worse than any known one: such a point can be
    dominated by one that is as fast and as cheap, and dominates only points of its kind.
    """
    by_index = {index: _coordinates(point) for index, point in enumerate(points)}
    placed = {index: coordinates for index, coordinates in by_index.items() if coordinates is not None}
    return tuple(
        index
        for index, coordinates in placed.items()
        if not any(_dominates(rival, coordinates) for rival in placed.values())
    )


def _coordinates(point: VariantPoint) -> tuple[float, float, float] | None:
    """Return the point's coordinates, each better if lower."""
    if point.latency_ms is None or point.cost is None:
        return None
    return point.latency_ms, point.cost, float("inf") if point.accuracy is None else -point.accuracy


def _dominates(first: tuple[float, float, float], second: tuple[float, float, float]) -> bool:
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))
