"""Select variants of a local model: the best variant, the Pareto front, and the headline stages of
each variant.

The best variant has the highest throughput of those that met the SLO. A variant is on the Pareto
front if no other variant is at least as fast, as cheap and as accurate, and better in one of these
respects. Each objective is evaluated in the scenario that fits its metric.

A stored local run can be re-evaluated with another SLO: its stages do not change, but the best
variant may."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from app.analysis.gating import evaluate_gate, filter_by_tags
from app.analysis.headline import set_headline
from app.analysis.local.call_stages import SEARCH_TAG, find_max_throughput
from app.analysis.objectives import evaluate_objective, find_estimate, is_met
from app.analysis.reevaluation import mark_reevaluated
from app.analysis.rows import NOT_STARTED
from app.errors import ExitCode, UsageError
from app.records.estimate import Estimate, Variant
from app.records.local import NoBestReason, VariantData
from app.records.metrics import PERCENTILES, metric_label
from app.records.result import Cause, Objective, ObjectiveResult, Result, Stage

_LATENCY_METRICS = ("latency_ms", "send_lag_ms")
_LATENCY_SCENARIOS = ("server", "multi-stream", "single-stream", "offline", "generation")
_CALL_SCENARIOS = ("single-stream", "multi-stream", "server", "offline", "generation")
_THROUGHPUT_SCENARIOS = ("offline", "multi-stream", "single-stream", "server", "generation")


def find_objective_stage(objective: Objective, stages: Sequence[Stage]) -> tuple[Stage | None, Estimate]:
    """Find the stage on which an objective is evaluated, and the estimate of its metric.

    Each kind of metric has a preferred scenario, if measured: the server scenario for latency, the
    single-stream scenario for call durations, and the offline scenario for throughput. With several
    arrival rates or tests, the worst stage is used. Repeated measurements, which only serve to detect
    drift, are ignored."""
    scenario_order = _LATENCY_SCENARIOS if objective.metric in _LATENCY_METRICS else _CALL_SCENARIOS
    scenario_order = _THROUGHPUT_SCENARIOS if objective.metric == "throughput_per_s" else scenario_order
    candidates = [stage for stage in stages if stage.repeat == 1 and objective.metric in stage.metrics]
    if not candidates:
        return None, Estimate(None, reason=f"{metric_label(objective.metric, objective.aggregate)} was not measured")
    scenario = min((stage.tags["scenario"] for stage in candidates), key=scenario_order.index)
    is_lower_better = objective.comparator in ("<", "<=")

    def compute_severity(stage: Stage) -> float:
        value = find_estimate(stage, objective).value
        return math.inf if value is None else value if is_lower_better else -value

    stage = max((candidate for candidate in candidates if candidate.tags["scenario"] == scenario), key=compute_severity)
    return stage, find_estimate(stage, objective)


def find_violated_objectives(
    slo: Sequence[Objective], stages: Sequence[Stage]
) -> tuple[tuple[Objective, Estimate], ...]:
    """Return the objectives that a variant violates by point estimate in `stages`, or for which the
    variant has no estimate. Objectives that can only warn are excluded."""
    estimates = [
        (objective, find_objective_stage(objective, stages)[1]) for objective in slo if objective.level == "fail"
    ]
    return tuple((objective, estimate) for objective, estimate in estimates if not is_met(objective, estimate))


def find_violated_objectives_so_far(
    slo: Sequence[Objective], stages: Sequence[Stage]
) -> tuple[tuple[Objective, Estimate], ...]:
    """Return the objectives that a variant has violated before the end of the run. Metrics that are
    known only after the run, such as accuracy and telemetry, are ignored."""
    return find_violated_objectives(
        [objective for objective in slo if any(objective.metric in stage.metrics for stage in stages)], stages
    )


def is_slo_certainly_violated(slo: Sequence[Objective], stages: Sequence[Stage]) -> bool:
    """Return True if a known value violates an objective. A missing value is not a violation,
    unless the latency is infinite."""
    headline_stages = select_headline_stages(slo, stages)
    for objective in slo:
        stage, estimate = find_objective_stage(objective, headline_stages)
        is_known = estimate.value is not None or (stage is not None and is_latency_infinite(objective, stage))
        if objective.level == "fail" and is_known and not is_met(objective, estimate):
            return True
    return False


def is_latency_infinite(objective: Objective, stage: Stage) -> bool:
    """Return True if the latency aggregate of the objective is infinite, because too many calls
    were never started."""
    never_started_count = stage.errors.get(NOT_STARTED, 0)
    tail_share = 1 - PERCENTILES.get(objective.aggregate or "max", 1.0)
    return objective.metric == "latency_ms" and never_started_count > tail_share * (
        never_started_count + stage.completed
    )


def select_headline_stages(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the headline stages of a variant. Of the stages of a rate search, only those at the
    highest rate that never failed are included. If every rate failed, all stages are included."""
    binding_objectives = [objective for objective in slo if objective.level == "fail"]

    def has_passed(stage: Stage) -> bool:
        measured_objectives = [objective for objective in binding_objectives if objective.metric in stage.metrics]
        return all(is_met(objective, find_estimate(stage, objective)) for objective in measured_objectives)

    search_stages = [stage for stage in stages if SEARCH_TAG in stage.tags]
    failed_rates = {stage.scheduled_per_s for stage in search_stages if not has_passed(stage)}
    passed_stages = [stage for stage in search_stages if stage.scheduled_per_s not in failed_rates]
    max_rate_per_s = max((stage.scheduled_per_s or 0.0 for stage in passed_stages), default=0.0)
    dropped_stages = [stage for stage in search_stages if passed_stages and stage.scheduled_per_s != max_rate_per_s]
    return tuple(stage for stage in stages if stage not in dropped_stages)


def mark_variant_headlines(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Set `in_headline` on the headline stages of each variant."""
    variants = dict.fromkeys(stage.variant for stage in stages)
    headline_stages = [
        stage
        for variant in variants
        for stage in select_headline_stages(slo, [candidate for candidate in stages if candidate.variant == variant])
    ]
    return set_headline(stages, headline_stages)


NO_BEST_MESSAGES: dict[NoBestReason, str] = {
    "not_trusted": "no variant has a valid measurement",
    "open": "no variant was shown to meet the SLO",
    "missed": "no variant met the SLO",
    "cut_short": "the run ended before its variants were evaluated",
}
NO_VARIANT_CAUSE = Cause("no_variant", ExitCode.GATE_FAILED, NO_BEST_MESSAGES["missed"])


class VariantResult(msgspec.Struct, frozen=True):
    """Model variant with all its stages."""

    data: VariantData
    stages: tuple[Stage, ...]

    def get_headline_stages(self, slo: Sequence[Objective]) -> tuple[Stage, ...]:
        """Return the headline stages of the variant, which exclude the failed rates of a search."""
        return select_headline_stages(slo, self.stages)

    def find_violated_objectives(self, slo: Sequence[Objective]) -> tuple[tuple[Objective, Estimate], ...]:
        return find_violated_objectives(slo, self.get_headline_stages(slo))

    def is_reliable(self, slo: Sequence[Objective]) -> bool:
        """Return True if the variant was measured completely and none of its headline stages is
        INVALID."""
        is_valid = all(stage.verdict.status != "INVALID" for stage in self.get_headline_stages(slo))
        return bool(self.stages) and is_valid and self.data.failure is None


def find_best_variant(
    variants: Sequence[VariantResult], slo: Sequence[Objective]
) -> tuple[VariantResult | None, NoBestReason | None]:
    """Return the variant with the highest throughput that met the SLO by point estimate. If there
    is none, return `None` and the reason."""
    reliable_variants = [variant for variant in variants if variant.is_reliable(slo)]
    if not reliable_variants:
        return None, "not_trusted"
    passed_variants = [variant for variant in reliable_variants if not variant.find_violated_objectives(slo)]
    if not passed_variants:
        is_undecided = any(not is_slo_certainly_violated(slo, variant.stages) for variant in reliable_variants)
        return None, "open" if is_undecided else "missed"
    return max(passed_variants, key=lambda variant: _compute_throughput(variant).value or 0.0), None


def _compute_throughput(variant: VariantResult) -> Estimate:
    """Return the throughput in inferences per second: that of the rate search if one was run,
    otherwise the highest throughput of all stages. The interval of a lower bound has no upper
    end."""
    server_rate, batch = variant.data.server_per_s, variant.data.variant.batch
    if server_rate is None or server_rate.value is None:
        return find_max_throughput(variant.stages)
    interval = None if server_rate.ci95 is None else (server_rate.ci95[0] * batch, server_rate.ci95[1] * batch)
    if variant.data.is_server_rate_lower_bound:
        interval = (server_rate.value * batch, math.inf)
    return Estimate(server_rate.value * batch, interval)


def find_equally_fast_variants(
    best: VariantResult, variants: Sequence[VariantResult], slo: Sequence[Objective]
) -> tuple[Variant, ...]:
    """Return the variants, other than the best, that met the SLO and whose throughput interval
    overlaps that of the best variant."""
    best_lower_bound = (_compute_throughput(best).ci95 or (math.inf, math.inf))[0]
    candidates = [
        variant
        for variant in variants
        if variant is not best and variant.is_reliable(slo) and not variant.find_violated_objectives(slo)
    ]
    return tuple(
        variant.data.variant
        for variant in candidates
        if (_compute_throughput(variant).ci95 or (0.0, 0.0))[1] >= best_lower_bound
    )


def find_nearest_variant(variants: Sequence[VariantResult], slo: Sequence[Objective]) -> VariantResult | None:
    """Return the variant that violated the fewest objectives; among equals, the fastest."""

    def compute_distance(variant: VariantResult) -> tuple[int, float]:
        return len(variant.find_violated_objectives(slo)), -(_compute_throughput(variant).value or 0.0)

    return min((variant for variant in variants if variant.stages), key=compute_distance, default=None)


def evaluate_variant_objective(objective: Objective, stages: Sequence[Stage]) -> ObjectiveResult:
    """Evaluate an objective on the variant's stage whose scenario fits the metric best."""
    stage, estimate = find_objective_stage(objective, stages)
    result = msgspec.structs.replace(
        evaluate_objective(objective, estimate), stage=None if stage is None else stage.name
    )
    is_infinitely_late = (
        stage is not None and is_latency_infinite(objective, stage) and objective.comparator in ("<", "<=")
    )
    return msgspec.structs.replace(result, outcome="FAIL") if is_infinitely_late else result


def evaluate_variant_gate(
    gate: Objective, evaluated_stages: Sequence[Stage], stages: Sequence[Stage]
) -> ObjectiveResult:
    """Evaluate a gate on the best variant, or on the variants selected by the gate's tags."""
    if gate.is_change or (gate.tags and not (selected_stages := filter_by_tags(stages, gate.tags))):
        return evaluate_gate(gate, evaluated_stages, stages, {})
    return evaluate_variant_objective(gate, selected_stages if gate.tags else evaluated_stages)


def reevaluate_variants(original: Result, slo: tuple[Objective, ...]) -> Result:
    """Re-evaluate a stored local run with another SLO. Raises UsageError if the stored run searched
    for the max rate within its own SLO."""
    assert original.local is not None
    if any(SEARCH_TAG in stage.tags for stage in original.stages):
        raise UsageError(
            "this local run searched for the max rate within its own SLO and cannot be re-evaluated with another SLO",
            hint="Set the new SLO in the profile, and run the profile again.",
        )
    variants = tuple(
        VariantResult(variant_data, tuple(stage for stage in original.stages if stage.variant == variant_data.variant))
        for variant_data in original.local.variants
    )
    best_variant, reason = find_best_variant(variants, slo)
    headline_variant = best_variant or find_nearest_variant(variants, slo)
    evaluated_stages = () if headline_variant is None else headline_variant.get_headline_stages(slo)
    local = replace(
        original.local,
        best=None if best_variant is None else best_variant.data.variant,
        best_reason=reason,
        equally_fast=() if best_variant is None else find_equally_fast_variants(best_variant, variants, slo),
    )
    slo_results = tuple(evaluate_variant_objective(objective, evaluated_stages) for objective in slo)
    gates = tuple(evaluate_variant_gate(gate.objective, evaluated_stages, original.stages) for gate in original.gates)
    has_missed_slo = reason == "missed" and all(slo_result.outcome != "FAIL" for slo_result in slo_results)
    extra_causes = [NO_VARIANT_CAUSE] if has_missed_slo else []
    stages = mark_variant_headlines(slo, original.stages)
    return mark_reevaluated(
        replace(original, local=local, stages=stages, slo=slo_results, gates=gates), original, slo, None, extra_causes
    )


class VariantPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Variant as a point in a Pareto comparison. For all compared points, `latency_ms` must be the
    same percentile and `cost` in the same unit. Unknown values are `None`."""

    latency_ms: float | None
    cost: float | None
    accuracy: float | None
    """Accuracy as a proportion (0 to 1); higher is better."""


def compute_usd_per_million_rows(rows_per_s: float, usd_per_hour: float) -> float:
    """Compute the cost in USD per million rows, for a machine that is never idle."""
    return usd_per_hour / 3600 / rows_per_s * 1e6


def compute_machine_s_per_thousand_rows(rows_per_s: float) -> float:
    """Compute the machine time in s per thousand rows, which replaces the cost if the machine has
    no price."""
    return 1e3 / rows_per_s


def find_pareto_front(points: Sequence[VariantPoint]) -> tuple[int, ...]:
    """Return the indices of the Pareto-optimal points, in ascending order. Equal points are all
    included; points without a latency or a cost are ignored.

    An unknown accuracy counts as worse than any known accuracy. A point without an accuracy is
    therefore dominated by any point with an accuracy that is at least as fast and cheap, and can
    only dominate other points without an accuracy."""
    optional_coordinates_by_index = {index: _get_coordinates(point) for index, point in enumerate(points)}
    coordinates_by_index = {
        index: coordinates for index, coordinates in optional_coordinates_by_index.items() if coordinates is not None
    }
    return tuple(
        index
        for index, coordinates in coordinates_by_index.items()
        if not any(_dominates(other_coordinates, coordinates) for other_coordinates in coordinates_by_index.values())
    )


def _get_coordinates(point: VariantPoint) -> tuple[float, float, float] | None:
    """Return latency, cost and negated accuracy, so that lower is always better; `None` if the
    latency or the cost is unknown."""
    if point.latency_ms is None or point.cost is None:
        return None
    return point.latency_ms, point.cost, float("inf") if point.accuracy is None else -point.accuracy


def _dominates(first: tuple[float, float, float], second: tuple[float, float, float]) -> bool:
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))
