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

from app.analysis.gating import evaluate_gate, filter_by_tags
from app.analysis.headline import set_headline
from app.analysis.local.call_stages import SEARCH_TAG, find_max_throughput
from app.analysis.objectives import evaluate_objective, find_estimate, is_met
from app.analysis.rescoring import mark_rescored
from app.analysis.rows import NOT_STARTED
from app.errors import ExitCode, UsageError
from app.records.estimate import Estimate, Variant
from app.records.local import NoBestReason, VariantData
from app.records.metrics import PERCENTILES
from app.records.result import Cause, Objective, ObjectiveResult, Result, Stage

_LATENCY_METRICS = ("latency_ms", "send_lag_ms")
_LATENCY_SCENARIOS = ("server", "multi-stream", "single-stream", "offline")
_TIME_SCENARIOS = ("single-stream", "multi-stream", "server", "offline")
_THROUGHPUT_SCENARIOS = ("offline", "multi-stream", "single-stream", "server")


def find_objective_stage(objective: Objective, stages: Sequence[Stage]) -> tuple[Stage | None, Estimate]:
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


def find_missed(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[tuple[Objective, Estimate], ...]:
    """Return the objectives that a variant misses by its point estimates in these stages, or has no estimate for,
    without those that only warn."""
    estimates = [
        (objective, find_objective_stage(objective, stages)[1]) for objective in slo if objective.level == "fail"
    ]
    return tuple((objective, estimate) for objective, estimate in estimates if not is_met(objective, estimate))


def find_missed_so_far(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[tuple[Objective, Estimate], ...]:
    """Return the objectives missed before the end of the run; metrics that need the whole run, such as accuracy and
    telemetry, do not count."""
    return find_missed(
        [objective for objective in slo if any(objective.metric in stage.metrics for stage in stages)], stages
    )


def is_certainly_missed(slo: Sequence[Objective], stages: Sequence[Stage]) -> bool:
    """Return True if an objective is certainly missed: not because of a missing value, unless the value is infinite."""
    headline = select_headline_stages(slo, stages)
    for objective in slo:
        stage, estimate = find_objective_stage(objective, headline)
        is_known = estimate.value is not None or (stage is not None and is_infinite(objective, stage))
        if objective.level == "fail" and is_known and not is_met(objective, estimate):
            return True
    return False


def is_infinite(objective: Objective, stage: Stage) -> bool:
    """Return True if this latency is infinite because its share of the arrivals was never started."""
    never_begun = stage.errors.get(NOT_STARTED, 0)
    tail_share = 1 - PERCENTILES.get(objective.aggregate or "max", 1.0)
    return objective.metric == "latency_ms" and never_begun > tail_share * (never_begun + stage.completed)


def select_headline_stages(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return a variant's headline stages: of a search, those at the highest rate that passed each time, without its
    other steps; all stages if none passed."""
    binding = [objective for objective in slo if objective.level == "fail"]

    def has_passed(stage: Stage) -> bool:
        measured = [objective for objective in binding if objective.metric in stage.metrics]
        return all(is_met(objective, find_estimate(stage, objective)) for objective in measured)

    searched = [stage for stage in stages if SEARCH_TAG in stage.tags]
    failed = {stage.scheduled_per_s for stage in searched if not has_passed(stage)}
    passed = [stage for stage in searched if stage.scheduled_per_s not in failed]
    highest = max((stage.scheduled_per_s or 0.0 for stage in passed), default=0.0)
    dropped = [stage for stage in searched if passed and stage.scheduled_per_s != highest]
    return tuple(stage for stage in stages if stage not in dropped)


def mark_variant_headlines(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Mark the headline stages among the stages of all variants."""
    variants = dict.fromkeys(stage.variant for stage in stages)
    headline = [
        stage
        for variant in variants
        for stage in select_headline_stages(slo, [candidate for candidate in stages if candidate.variant == variant])
    ]
    return set_headline(stages, headline)


NO_BEST_TEXTS: dict[NoBestReason, str] = {
    "not_trusted": "no variant has a valid measurement",
    "open": "no variant was shown to meet every objective",
    "missed": "no variant met every objective",
    "cut_short": "the run ended before it was evaluated",
}
NO_VARIANT = Cause("no_variant", ExitCode.GATE_FAILED, NO_BEST_TEXTS["missed"])


class VariantResult(msgspec.Struct, frozen=True):
    """A variant with all its stages."""

    data: VariantData
    stages: tuple[Stage, ...]

    def headline_stages(self, slo: Sequence[Objective]) -> tuple[Stage, ...]:
        """Return the headline stages, without the failed rates of a search."""
        return select_headline_stages(slo, self.stages)

    def find_missed(self, slo: Sequence[Objective]) -> tuple[tuple[Objective, Estimate], ...]:
        return find_missed(slo, self.headline_stages(slo))

    def is_reliable(self, slo: Sequence[Objective]) -> bool:
        """Return True if the variant was measured completely, and nothing makes it INVALID."""
        is_valid = all(stage.verdict.status != "INVALID" for stage in self.headline_stages(slo))
        return bool(self.stages) and is_valid and self.data.failure is None


def find_best(
    variants: Sequence[VariantResult], slo: Sequence[Objective]
) -> tuple[VariantResult | None, NoBestReason | None]:
    """Find the variant with the highest throughput that met every objective, by point estimates; if there is none, the
    reason."""
    trusted = [variant for variant in variants if variant.is_reliable(slo)]
    if not trusted:
        return None, "not_trusted"
    meeting = [variant for variant in trusted if not variant.find_missed(slo)]
    if not meeting:
        is_open = any(not is_certainly_missed(slo, variant.stages) for variant in trusted)
        return None, "open" if is_open else "missed"
    return max(meeting, key=lambda variant: _throughput(variant).value or 0.0), None


def _throughput(variant: VariantResult) -> Estimate:
    """Return inferences per second: with arrivals, if that was searched, else the maximum."""
    searched, batch = variant.data.server_per_s, variant.data.variant.batch
    if searched is None or searched.value is None:
        return find_max_throughput(variant.stages)
    interval = None if searched.ci95 is None else (searched.ci95[0] * batch, searched.ci95[1] * batch)
    return Estimate(searched.value * batch, interval)


def find_equally_fast(
    best: VariantResult, variants: Sequence[VariantResult], slo: Sequence[Objective]
) -> tuple[Variant, ...]:
    """Return the other variants that met every objective and whose interval overlaps the best one's."""
    lower_bound = (_throughput(best).ci95 or (math.inf, math.inf))[0]
    others = [
        variant
        for variant in variants
        if variant is not best and variant.is_reliable(slo) and not variant.find_missed(slo)
    ]
    return tuple(
        variant.data.variant for variant in others if (_throughput(variant).ci95 or (0.0, 0.0))[1] >= lower_bound
    )


def find_nearest(variants: Sequence[VariantResult], slo: Sequence[Objective]) -> VariantResult | None:
    """Find the variant that missed the fewest objectives, and of those the fastest."""

    def badness(variant: VariantResult) -> tuple[int, float]:
        return len(variant.find_missed(slo)), -(_throughput(variant).value or 0.0)

    return min((variant for variant in variants if variant.stages), key=badness, default=None)


def evaluate_variant_objective(objective: Objective, stages: Sequence[Stage]) -> ObjectiveResult:
    """Evaluate an objective in the variant's stage for it."""
    stage, estimate = find_objective_stage(objective, stages)
    evaluated = msgspec.structs.replace(
        evaluate_objective(objective, estimate), stage=None if stage is None else stage.name
    )
    is_over = stage is not None and is_infinite(objective, stage) and objective.comparator in ("<", "<=")
    return msgspec.structs.replace(evaluated, outcome="FAIL") if is_over else evaluated


def evaluate_variant_gate(gate: Objective, evaluated_on: Sequence[Stage], stages: Sequence[Stage]) -> ObjectiveResult:
    """Evaluate a gate on the best variant, or on those that the gate's tags select."""
    if gate.is_change or (gate.tags and not (selected := filter_by_tags(stages, gate.tags))):
        return evaluate_gate(gate, evaluated_on, stages, {})
    return evaluate_variant_objective(gate, selected if gate.tags else evaluated_on)


def rescore_variants(original: Result, slo: tuple[Objective, ...]) -> Result:
    """Re-evaluate a stored local run with another SLO. Raises UsageError if the run's own SLO decided what was
    measured."""
    assert original.local is not None
    if any(SEARCH_TAG in stage.tags for stage in original.stages):
        raise UsageError(
            "the rates of this local run were searched for its own SLO, and another SLO needs other rates",
            hint="Run it again with that SLO in its profile.",
        )
    variants = tuple(
        VariantResult(facts, tuple(stage for stage in original.stages if stage.variant == facts.variant))
        for facts in original.local.variants
    )
    best, reason = find_best(variants, slo)
    headline_variant = best or find_nearest(variants, slo)
    judged_on = () if headline_variant is None else headline_variant.headline_stages(slo)
    local = replace(
        original.local,
        best=None if best is None else best.data.variant,
        best_reason=reason,
        equally_fast=() if best is None else find_equally_fast(best, variants, slo),
    )
    slo_results = tuple(evaluate_variant_objective(objective, judged_on) for objective in slo)
    gates = tuple(evaluate_variant_gate(gate.objective, judged_on, original.stages) for gate in original.gates)
    is_missed = reason == "missed" and all(evaluated.outcome != "FAIL" for evaluated in slo_results)
    extra_causes = [NO_VARIANT] if is_missed else []
    stages = mark_variant_headlines(slo, original.stages)
    return mark_rescored(
        replace(original, local=local, stages=stages, slo=slo_results, gates=gates), original, slo, None, extra_causes
    )


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


def find_pareto_front(points: Sequence[VariantPoint]) -> tuple[int, ...]:
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
