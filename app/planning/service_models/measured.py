"""Measured targets of a plan: their capacity, and the service model of one replica.

Also builds targets from another tool's load points, and from a local model's variants: their batch times behind a
server with dynamic batching. No server was measured for the latter, so they are assumed, without any overhead of a
server.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from app.analysis.objectives import binding_objectives
from app.analysis.token_samples import scale_sample
from app.analysis.traces import unpack_token_pairs
from app.errors import UsageError
from app.planning.formulas import estimate_rate_within_slo
from app.planning.goals import DEFAULT_LATENCY_METRIC, Goals, build_goals
from app.planning.service_models.evidence import TIMES_BY_METRIC, collect_evidence, get_time_s, meets_slo
from app.records.estimate import Estimate, Variant
from app.records.local import BatchModel, VariantData
from app.records.offers import CapacityCurve, CurvePoint
from app.records.planning_inputs import ImportedCurve, MeasuredLoadPoint, MeasuredTarget, PlanningInputs
from app.records.result import Hardware, Objective, Result, Stage
from app.records.service import BatchService, FittedService, RequestService, ServiceFit, TokenService
from app.records.traffic import TokenLengths


def build_measured_target(
    name: str, hardware: Hardware, curve: CapacityCurve, load_points: Sequence[MeasuredLoadPoint]
) -> MeasuredTarget:
    """Build a target from load points of one replica. Takes a second or two where a service model can be fitted."""
    from app.planning.service_models.moments import CannotFitError
    from app.planning.service_models.token_fit import compute_mean_lengths, merge_load_point_samples

    try:
        fit = _fit(load_points)
    except CannotFitError as error:
        return MeasuredTarget(
            name, hardware, curve, no_fit_reason=str(error), load_points=_without_lengths(load_points)
        )
    return MeasuredTarget(
        name, hardware, curve, fit,
        lengths=compute_mean_lengths(load_points), load_points=_without_lengths(load_points),
        token_sample=merge_load_point_samples(load_points),
    )  # fmt: skip


def _without_lengths(rungs: Sequence[MeasuredLoadPoint]) -> tuple[MeasuredLoadPoint, ...]:
    """Drop the lengths of each load point; they are stored once, in a sample of all."""
    return tuple(msgspec.structs.replace(rung, lengths=None) for rung in rungs)


def may_meet_slo_in_fleet(target: MeasuredTarget, slo: Sequence[Objective]) -> bool:
    """Return whether a fleet may meet the SLO although each replica alone misses it, since a fleet pools its queues."""
    from app.planning.formulas import meets_without_waiting

    return target.fit is not None and meets_without_waiting(target.fit.services[0].service, build_goals(slo))


def build_measured_tokens(lengths: tuple[float, float]) -> tuple[TokenLengths, ...]:
    """Return traffic with the measured mean lengths."""
    return (TokenLengths(1.0, *lengths),)


def add_measured_tokens(question: PlanningInputs) -> PlanningInputs:
    """Return the question with the measured joint token lengths, scaled to the stated means, if any.

    A trace has its own lengths.
    """
    traffic = question.traffic
    if traffic.token_sample is not None or len(traffic.tokens) > 1:
        return question
    if traffic.rows is not None and unpack_token_pairs(traffic.rows) is not None:
        return question
    target = next((target for target in question.measured if target.lengths is not None), None)
    if target is None or target.lengths is None or (traffic.tokens and target.token_sample is None):
        return question
    tokens, sample = traffic.tokens or build_measured_tokens(target.lengths), target.token_sample
    means = tokens[0].input, tokens[0].output
    sample = None if sample is None else scale_sample(sample, means)
    traffic = msgspec.structs.replace(traffic, tokens=tokens, token_sample=sample)
    return msgspec.structs.replace(question, traffic=traffic)


def _fit(rungs: Sequence[MeasuredLoadPoint]) -> ServiceFit:
    """Fit a service model to the times that the load points have.

    These are times per token, else open-loop latency, else closed-loop latency.
    """
    from app.planning.service_models.closed_loop import fit_closed  # imported here because the simulation takes a

    # second to import
    from app.planning.service_models.service_fit import fit_service
    from app.planning.service_models.token_fit import fit_tokens, has_token_times

    if any(has_token_times(rung) for rung in rungs):
        return fit_tokens(rungs)
    if any(rung.clients is None for rung in rungs):
        return fit_service(rungs)
    return fit_closed(rungs)


_FORMULA_SIGMA = 0.1
"""Assumed error of a formula's rate, as one sigma of its logarithm."""


def build_foreign_target(curve: ImportedCurve, hardware: Hardware, slo: Sequence[Objective]) -> MeasuredTarget:
    """Build a target from load points of the hardware as a whole, all its replicas together.

    Raises UsageError where the SLO has a time that no load point reports, or where not even a fitted model meets it.
    """
    goals = build_goals(slo)
    points = tuple(point for rung in curve.load_points if (point := _point(rung, slo)) is not None)
    max_rate_per_s = max((point.offered_per_s for point in points if point.meets_slo), default=0.0)
    capacity = CapacityCurve(points, _metric(slo), max_rate_per_s, None, None)
    rungs = [_per_replica(rung, hardware.replicas) for rung in curve.load_points]
    target = build_measured_target(curve.source, hardware, capacity, rungs)
    if max_rate_per_s == 0:
        target = msgspec.structs.replace(target, curve=_curve_from_fit(target, goals, curve, slo))
    is_assumed = curve.precision == "typed"
    notes = tuple(f"{curve.source} ({_tool(curve)}): {note}." for note in curve.notes)
    return msgspec.structs.replace(target, is_assumed=is_assumed, notes=notes)


def _curve_from_fit(
    target: MeasuredTarget, goals: Goals, curve: ImportedCurve, slo: Sequence[Objective]
) -> CapacityCurve:
    """Return the rate at which the service model meets the SLO, where no load point does, or none can be evaluated."""
    rate = 0.0 if target.fit is None else _rate_from_fit(target, target.fit, goals, slo)
    if rate <= 0:
        missing = [
            objective.text
            for objective in _latency_objectives(slo)
            if all(get_time_s(rung, objective) is None for rung in curve.load_points)
        ]
        if missing:
            message = f"no load point of {curve.source} reports {missing[0]}"
            raise UsageError(message, hint=f"It reports {', '.join(_reported_metrics(curve)) or 'no times'}.")
        if may_meet_slo_in_fleet(target, slo):
            return target.curve
        raise UsageError(
            f"no load point of {curve.source} met {' and '.join(objective.label for objective in slo)}",
            hint="Measure at a lower load, or relax the SLO.",
        )
    return msgspec.structs.replace(target.curve, max_rate_per_s=rate)


def _rate_from_fit(target: MeasuredTarget, fit: ServiceFit, goals: Goals, slo: Sequence[Objective]) -> float:
    """Return the rate within the bounds of the load points: below the lowest rate that missed the SLO."""
    from app.planning.formulas import estimate_rate_within_slo

    lengths = target.lengths or (1.0, 1.0)
    rate = min(estimate_rate_within_slo(fit.services[0].service, goals, 1, "random", lengths), fit.highest_per_s)
    rate = collect_evidence(target, slo).compute_posterior(rate, _FORMULA_SIGMA).p50
    return rate * target.hardware.replicas


def _per_replica(rung: MeasuredLoadPoint, replicas: int) -> MeasuredLoadPoint:
    """Return one replica's share of the load, of identical replicas."""
    if replicas == 1:
        return rung
    return msgspec.structs.replace(
        rung,
        offered_per_s=None if rung.offered_per_s is None else rung.offered_per_s / replicas,
        clients=None if rung.clients is None else rung.clients / replicas,
        achieved_per_s=rung.achieved_per_s / replicas,
        completed=None if rung.completed is None else rung.completed // replicas,
        failed=None if rung.failed is None else rung.failed // replicas,
    )


def _point(rung: MeasuredLoadPoint, slo: Sequence[Objective]) -> CurvePoint | None:
    """Return the point of the curve; `None` without a load. In a closed loop the rate is that of the responses."""
    rate = rung.offered_per_s or rung.achieved_per_s
    if rate <= 0:
        return None
    limiting = next(iter(_latency_objectives(slo)), None)
    latency_s = None if limiting is None else get_time_s(rung, limiting)
    return CurvePoint(
        rate, None if latency_s is None else 1000 * latency_s, rung.achieved_per_s, meets_slo(rung, slo) is True
    )


def _latency_objectives(slo: Sequence[Objective]) -> list[Objective]:
    return [objective for objective in binding_objectives(slo) if objective.metric in TIMES_BY_METRIC]


def _metric(slo: Sequence[Objective]) -> str:
    objective = next(iter(_latency_objectives(slo)), None)
    return DEFAULT_LATENCY_METRIC if objective is None else objective.name


def _reported_metrics(curve: ImportedCurve) -> Iterator[str]:
    reported = {
        (metric, name) for rung in curve.load_points for metric, times in rung.latencies_s.items() for name in times
    }
    for metric, name in sorted(reported):
        yield f"{metric}_ms.{name.replace('_', '.')}"


def _tool(curve: ImportedCurve) -> str:
    return curve.tool if curve.version is None else f"{curve.tool} {curve.version}"


_Z95 = 1.959964
_Z95_ONE_SIDED = 1.644854
_UNKNOWN_SIGMA = 0.05
_MIN_ACCURACY_RETAINED = 0.99
_ASSUMED_CV = 0.1
_MIN_TIME_S = 1e-6


def build_local_targets(
    name: str, result: Result, hardware: Hardware, slo: Sequence[Objective]
) -> tuple[MeasuredTarget, ...]:
    """Return one target per variant of the model that keeps 99 % of the reference's accuracy, as far as it is known.

    Each uses its batch model, with the measured largest batch that sustains most within the SLO; without a batch model
    one request at a time, with the times of its calls of batch 1.
    """
    if result.local is None:
        return ()
    variants = {variant.variant.label: variant for variant in result.local.variants}
    goals = build_goals(slo)
    targets = []
    for batch_law in result.local.batch_models:
        if not _is_accurate(variants.get(batch_law.variant.label)):
            continue
        fitted = (
            _fit_batches(batch_law, goals)
            if batch_law.reason is None
            else _fit_single_calls(batch_law.variant, result.stages)
        )
        if fitted is not None:
            targets.append(_target(name, batch_law.variant, fitted, hardware, goals))
    return tuple(target for target in targets if target is not None)


def _is_accurate(variant: VariantData | None) -> bool:
    if variant is None or variant.failure is not None:
        return False
    retained = variant.accuracy.retained if variant.accuracy is not None else None
    return retained is None or retained.value is None or retained.value >= _MIN_ACCURACY_RETAINED


def _target(
    name: str, variant: Variant, fitted: FittedService, hardware: Hardware, goals: Goals
) -> MeasuredTarget | None:
    """Return the target; `None` where the SLO is missed at hardly any load."""
    assert not isinstance(fitted.service, TokenService)
    rate = estimate_rate_within_slo(fitted.service, goals, 1, "random")
    if rate <= 0:
        return None
    fit = ServiceFit((fitted,), (), 0.0, 1.0, 0.0, fitted.service.max_per_s)
    cores = float(variant.threads) if variant.threads > 0 and hardware.accelerator is None else None
    curve = CapacityCurve((), goals.latency_metric, rate, None, cores)
    label = f"{variant.model} {variant.provider} {variant.precision}"
    return MeasuredTarget(f"{name}: {label}, model only", hardware, curve, fit, is_assumed=True)


def _fit_batches(batch_law: BatchModel, goals: Goals) -> FittedService | None:
    if (
        batch_law.t0_ms.value is None
        or batch_law.t1_ms.value is None
        or batch_law.t0_ms.value + batch_law.t1_ms.value <= 0
    ):
        return None
    services = [_service(batch_law, max_batch) for max_batch in batch_law.batches]
    service = max(services, key=lambda candidate: estimate_rate_within_slo(candidate, goals, 1, "random"))
    return FittedService(service, 1.0, ("fixed_s", "per_item_s"), _covariance(batch_law))


def _fit_single_calls(variant: Variant, stages: Sequence[Stage]) -> FittedService | None:
    """Fit a lognormal to the mean, p50 and p95 of successive calls of one row."""
    single_row = msgspec.structs.replace(variant, batch=1)
    calls = [stage for stage in stages if stage.variant == single_row and "single-stream" in stage.tags.values()]
    times = calls[0].metrics.get("service_ms", {}) if calls else {}
    mean, p50, p95 = (times.get(name, Estimate(None)).value for name in ("mean", "p50", "p95"))
    if mean is None or not p50 or p95 is None:
        return None
    cv = math.sqrt(math.expm1((math.log(max(p95 / p50, 1.0)) / _Z95_ONE_SIDED) ** 2))
    service = RequestService(1, mean / 1000, max(cv, 0.01))
    return FittedService(service, 1.0, ("mean_s",), ((_UNKNOWN_SIGMA**2,),))


def _service(batch_law: BatchModel, max_batch: int) -> BatchService:
    fixed_ms, per_item_ms = batch_law.t0_ms.value or 0.0, batch_law.t1_ms.value or 0.0
    return BatchService(
        max(fixed_ms / 1000, _MIN_TIME_S), max(per_item_ms / 1000, _MIN_TIME_S), max_batch, cv=_ASSUMED_CV
    )


def _covariance(batch_law: BatchModel) -> tuple[tuple[float, ...], ...]:
    first, second = (_sigma(parameter) ** 2 for parameter in (batch_law.t0_ms, batch_law.t1_ms))
    return ((first, 0.0), (0.0, second))


def _sigma(estimate: Estimate) -> float:
    """Return the sigma of the logarithm from the interval; at most 0.5, where t0 is close to 0."""
    if estimate.ci95 is None or not estimate.value:
        return _UNKNOWN_SIGMA
    low, high = (max(end, estimate.value / 10) for end in estimate.ci95)
    return min(math.log(high / low) / (2 * _Z95), 0.5) if high > low else _UNKNOWN_SIGMA
