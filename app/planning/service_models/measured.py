"""Measured targets of a plan: capacity, and service model of one replica.

The module also builds targets from load points of other tools, and from the batch times of the
variants of a local model. Local models are assumed to be served with dynamic batching. No server
was measured, so their targets count as assumed and contain no server overhead.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from app.analysis.curve import (
    build_capacity_curve,
    build_client_load_points,
    build_load_points,
    compute_client_cores_used,
)
from app.analysis.number_format import format_number
from app.analysis.objectives import select_binding_objectives
from app.analysis.token_samples import scale_sample
from app.analysis.traces import unpack_token_pairs
from app.errors import UsageError
from app.planning.service_models.evidence import LATENCY_KEY_BY_METRIC, collect_evidence, get_latency_s, meets_slo
from app.planning.sizing.formulas import estimate_rate_within_slo
from app.planning.sizing.slo_objectives import DEFAULT_LATENCY_METRIC, SloObjectives, build_slo_objectives
from app.records.estimate import Estimate, Variant
from app.records.local import BatchModel, VariantData
from app.records.metrics import metric_label
from app.records.offers import CapacityCurve, CurvePoint
from app.records.planning_inputs import ImportedCurve, MeasuredLoadPoint, MeasuredTarget, PlanningInputs
from app.records.result import Hardware, MaxRate, Objective, Result, Stage, Validity
from app.records.service import BatchService, FittedService, RequestService, ServiceFit, TokenService
from app.records.traffic import TokenLengths


def build_measured_target(
    name: str, hardware: Hardware, curve: CapacityCurve, load_points: Sequence[MeasuredLoadPoint]
) -> MeasuredTarget:
    """Build a target from the load points of a single replica.

    Fitting a service model takes one to two seconds. Equal load points are fitted only once, also if
    several threads build a target from them at the same time.
    """
    from app.planning.service_models.moments import CannotFitError
    from app.planning.service_models.token_fit import compute_mean_lengths, merge_load_point_samples

    try:
        with _FIT_LOCK:
            fit = _fit_model(_LoadPoints(tuple(load_points)))
    except CannotFitError as error:
        return MeasuredTarget(name, hardware, curve, no_fit_reason=str(error), load_points=_drop_lengths(load_points))
    return MeasuredTarget(
        name, hardware, curve, fit,
        lengths=compute_mean_lengths(load_points), load_points=_drop_lengths(load_points),
        token_sample=merge_load_point_samples(load_points),
    )  # fmt: skip


def build_run_target(
    name: str, hardware: Hardware, stages: Sequence[Stage], slo: Sequence[Objective], max_rate: MaxRate | None
) -> MeasuredTarget | None:
    """Build the target of a run with a max rate, or of a run that only swept over numbers of
    clients. Return `None` if no load met the SLO.

    Clients that wait for their responses slow down with the target, so the capacity of a sweep over
    clients is assumed if no service model can be fitted."""
    if max_rate is not None:
        if max_rate.per_s.value is None:
            return None
        valid_stages = [stage for stage in stages if stage.verdict.status != "INVALID"]
        curve = build_capacity_curve(stages, slo, max_rate)
        return build_measured_target(name, hardware, curve, build_load_points(valid_stages, hardware.replicas))
    load_points = build_client_load_points(stages)
    if not load_points:
        return None
    try:
        target = build_foreign_target(
            ImportedCurve(tool="sizewise", source=name, precision="requests", load_points=load_points), hardware, slo
        )
    except UsageError:  # no load point met the SLO
        return None
    curve = msgspec.structs.replace(target.curve, cores_used=compute_client_cores_used(stages))
    if curve.max_rate_per_s == 0:
        return None
    return msgspec.structs.replace(
        target,
        curve=curve,
        is_assumed=target.fit is None,
        notes=(_CLIENTS_NOTE if target.fit is not None else _UNFITTED_CLIENTS_NOTE,),
    )


_CLIENTS_NOTE = (
    "The load came from clients that wait for their responses. The capacity for users that do not wait is computed "
    "by the service model."
)
_UNFITTED_CLIENTS_NOTE = (
    "The load came from clients that wait for their responses, and no service model fits. The capacity for users that "
    "do not wait may be lower, so it is an assumption."
)


def measure_cached_input_share(stages: Sequence[Stage]) -> float | None:
    """Return the share of the input tokens of all valid stages that a prefix cache served.

    The responses report it or, if no response does, the counters of the server. Return `None` if
    neither does.
    """
    valid_stages = [stage for stage in stages if stage.verdict.status != "INVALID" and not stage.is_pooled]
    reported = [counts for stage in valid_stages if (counts := _get_reported_cached_tokens(stage)) is not None]
    counted = [
        (float(counters.cached_input_tokens), float(total))
        for stage in valid_stages
        if (counters := stage.server) is not None
        and counters.cached_input_tokens is not None
        and (total := counters.looked_up_input_tokens or counters.input_tokens)
    ]
    token_counts = reported or counted
    total_tokens = sum(total for _, total in token_counts)
    return min(1.0, sum(cached for cached, _ in token_counts) / total_tokens) if total_tokens > 0 else None


def _get_reported_cached_tokens(stage: Stage) -> tuple[float, float] | None:
    """Return the number of cached and of all input tokens that the responses of a stage report;
    `None` if they do not report both."""
    share = stage.metrics.get("cached_input_share", {}).get("value")
    mean_input = stage.metrics.get("input_tokens", {}).get("mean")
    if share is None or share.value is None or mean_input is None or mean_input.value is None:
        return None
    input_tokens = mean_input.value * (share.n or 0)
    return share.value * input_tokens, input_tokens


_DISTURBANCE_SIGMA: dict[Validity, float] = {"VALID": 0.0, "WARN": 0.1, "INVALID": 0.2}


def lower_trust(target: MeasuredTarget, validity: Validity) -> MeasuredTarget:
    """Return the target with uncertainty added to its capacity, depending on the validity of its
    measurement.

    The capacity of an INVALID measurement counts as assumed. A target with a VALID measurement is
    returned unchanged.
    """
    sigma = _DISTURBANCE_SIGMA[validity]
    if not sigma:
        return target
    note = (
        f"The measurement is {validity}, so the plan adds an uncertainty of {100 * sigma:.0f} % (one sigma) to the "
        "capacity."
    )
    return msgspec.structs.replace(
        target,
        disturbance_sigma=sigma,
        is_assumed=target.is_assumed or validity == "INVALID",
        notes=(*target.notes, note),
    )


def _drop_lengths(load_points: Sequence[MeasuredLoadPoint]) -> tuple[MeasuredLoadPoint, ...]:
    """Drop the token lengths of each load point, because the target stores one merged sample for
    all load points."""
    return tuple(msgspec.structs.replace(load_point, lengths=None) for load_point in load_points)


def may_meet_slo_in_fleet(target: MeasuredTarget, slo: Sequence[Objective]) -> bool:
    """Return whether a fleet may meet the SLO although a single replica misses the SLO. This is
    possible because a fleet pools its queues."""
    from app.planning.sizing.formulas import meets_slo_unloaded

    return target.fit is not None and meets_slo_unloaded(target.fit.services[0].service, build_slo_objectives(slo))


def build_measured_tokens(lengths: tuple[float, float]) -> tuple[TokenLengths, ...]:
    """Return token lengths for traffic in which all requests have the mean lengths `lengths`."""
    return (TokenLengths(1.0, *lengths),)


def add_measured_tokens(plan_inputs: PlanningInputs) -> PlanningInputs:
    """Return the plan inputs with the measured distribution of token lengths. If mean token lengths
    are specified, the distribution is scaled to them.

    The plan inputs are unchanged if their traffic already has a sample, several lengths, or a trace
    with tokens.
    """
    traffic = plan_inputs.traffic
    if traffic.token_sample is not None or len(traffic.tokens) > 1:
        return plan_inputs
    if traffic.rows is not None and unpack_token_pairs(traffic.rows) is not None:
        return plan_inputs
    target = next((target for target in plan_inputs.measured if target.lengths is not None), None)
    if target is None or target.lengths is None or (traffic.tokens and target.token_sample is None):
        return plan_inputs
    tokens, sample = traffic.tokens or build_measured_tokens(target.lengths), target.token_sample
    mean_lengths = tokens[0].input, tokens[0].output
    sample = None if sample is None else scale_sample(sample, mean_lengths)
    traffic = msgspec.structs.replace(traffic, tokens=tokens, token_sample=sample)
    return msgspec.structs.replace(plan_inputs, traffic=traffic)


class _LoadPoints(msgspec.Struct, frozen=True):
    """Load points with a hash, so that their fit can be cached."""

    load_points: tuple[MeasuredLoadPoint, ...]

    def __hash__(self) -> int:
        return hash(msgspec.msgpack.encode(self.load_points))


_FIT_LOCK = threading.Lock()
"""Lock under which models are fitted, because `lru_cache` lets two threads compute the same value."""


@lru_cache(maxsize=32)
def _fit_model(measurement: _LoadPoints) -> ServiceFit:
    """Fit a service model to the latencies that the load points report.

    Token latencies are preferred, then open-loop latencies, then closed-loop latencies.
    """
    # deferred, because the simulation takes a second to import
    from app.planning.service_models.closed_loop import fit_closed_loop
    from app.planning.service_models.service_fit import fit_service
    from app.planning.service_models.token_fit import fit_token_service, has_token_latencies

    load_points = measurement.load_points
    if any(has_token_latencies(load_point) for load_point in load_points):
        return fit_token_service(load_points)
    if any(load_point.clients is None for load_point in load_points):
        return fit_service(load_points)
    return fit_closed_loop(load_points)


_FORMULA_SIGMA = 0.1
"""Assumed standard deviation of the logarithm of a rate that is estimated by formula."""


def build_foreign_target(imported_curve: ImportedCurve, hardware: Hardware, slo: Sequence[Objective]) -> MeasuredTarget:
    """Build a target from load points of the whole system, all replicas combined.

    Raises UsageError if neither a load point nor the service model meets the SLO, for example
    because a limited latency is not reported.
    """
    objectives = build_slo_objectives(slo)
    points = tuple(
        point for load_point in imported_curve.load_points if (point := _build_curve_point(load_point, slo)) is not None
    )
    max_rate_per_s = max((point.offered_per_s for point in points if point.meets_slo), default=0.0)
    capacity_curve = CapacityCurve(points, _get_latency_metric(slo), max_rate_per_s, None, None)
    load_points = [_divide_by_replicas(load_point, hardware.replicas) for load_point in imported_curve.load_points]
    target = build_measured_target(imported_curve.source, hardware, capacity_curve, load_points)
    if max_rate_per_s == 0:
        target = msgspec.structs.replace(target, curve=_build_curve_from_fit(target, objectives, imported_curve, slo))
    is_assumed = imported_curve.precision == "typed"
    notes = tuple(f"{imported_curve.source} ({_format_tool(imported_curve)}): {note}." for note in imported_curve.notes)
    return msgspec.structs.replace(target, is_assumed=is_assumed, notes=notes)


def _build_curve_from_fit(
    target: MeasuredTarget, objectives: SloObjectives, imported_curve: ImportedCurve, slo: Sequence[Objective]
) -> CapacityCurve:
    """Return the capacity curve with the max rate that the service model predicts.

    The prediction replaces the measured max rate if no load point met the SLO, or if no load point
    can be evaluated.
    """
    rate_per_s = 0.0 if target.fit is None else _estimate_rate_from_fit(target, target.fit, objectives, slo)
    if rate_per_s <= 0:
        unreported_metrics = [
            objective.name
            for objective in _list_latency_objectives(slo)
            if all(get_latency_s(load_point, objective) is None for load_point in imported_curve.load_points)
        ]
        if unreported_metrics:
            message = f"no load point of {imported_curve.source} reports {metric_label(unreported_metrics[0])}"
            reported_text = ", ".join(_iterate_reported_metrics(imported_curve)) or "none"
            raise UsageError(message, hint=f"Set the SLO on a reported metric: {reported_text}.")
        if may_meet_slo_in_fleet(target, slo):
            return target.curve
        labels = " and ".join(objective.label for objective in slo)
        raise UsageError(
            f"no load point of {imported_curve.source} met {labels}"
            f"{describe_best_load_point(imported_curve.load_points, slo)}",
            hint=_suggest_remedy(imported_curve.load_points, slo),
        )
    return msgspec.structs.replace(target.curve, max_rate_per_s=rate_per_s)


_MIN_LATENCY_RATIO = 1.1
"""Ratio of two latencies of a curve above which they differ by more than chance."""


def _suggest_remedy(load_points: Sequence[MeasuredLoadPoint], slo: Sequence[Objective]) -> str:
    """Return what to do if no load point met the SLO.

    A lower load helps only if the latency grows with the load from the lowest load on. If the
    latency is highest at the lowest load, that load was measured first and cold, for example
    without cached prompts.
    """
    objective = next(iter(_list_latency_objectives(slo)), None)
    latencies_s = [
        latency_s
        for load_point in sorted(load_points, key=lambda load_point: load_point.achieved_per_s)
        if objective is not None and (latency_s := get_latency_s(load_point, objective)) is not None
    ]
    if len(latencies_s) < 2 or latencies_s[1] > _MIN_LATENCY_RATIO * latencies_s[0]:
        return "Measure at a lower load, or relax the SLO."
    if latencies_s[0] > _MIN_LATENCY_RATIO * min(latencies_s):
        return (
            "The latency is higher at the lowest load than at higher loads, so a lower load does not help. The first "
            "requests may have met empty caches or a cold server: warm up, and measure the lowest load again."
        )
    return (
        "The latency does not fall at lower loads, so a lower load does not help. Relax the SLO, or make the target "
        "faster."
    )


def _estimate_rate_from_fit(
    target: MeasuredTarget, fit: ServiceFit, objectives: SloObjectives, slo: Sequence[Objective]
) -> float:
    """Return the posterior median of the max rate, given the load points and the prediction of the
    service model. The prediction is limited to the highest observed rate."""
    from app.planning.sizing.formulas import estimate_rate_within_slo

    lengths = target.lengths or (1.0, 1.0)
    rate_per_s = min(
        estimate_rate_within_slo(fit.services[0].service, objectives, 1, "random", lengths), fit.highest_per_s
    )
    rate_per_s = collect_evidence(target, slo).compute_posterior(rate_per_s, _FORMULA_SIGMA).p50
    return rate_per_s * target.hardware.replicas


def _divide_by_replicas(load_point: MeasuredLoadPoint, replicas: int) -> MeasuredLoadPoint:
    """Return the load point of one replica, assuming that all replicas are identical."""
    if replicas == 1:
        return load_point
    return msgspec.structs.replace(
        load_point,
        offered_per_s=None if load_point.offered_per_s is None else load_point.offered_per_s / replicas,
        clients=None if load_point.clients is None else load_point.clients / replicas,
        achieved_per_s=load_point.achieved_per_s / replicas,
        completed=None if load_point.completed is None else load_point.completed // replicas,
        failed=None if load_point.failed is None else load_point.failed // replicas,
    )


def _build_curve_point(load_point: MeasuredLoadPoint, slo: Sequence[Objective]) -> CurvePoint | None:
    """Return the load point as a point of the capacity curve; `None` if the rate is 0. For a closed
    loop, the rate is the response rate."""
    rate_per_s = load_point.offered_per_s or load_point.achieved_per_s
    if rate_per_s <= 0:
        return None
    objective = next(iter(_list_latency_objectives(slo)), None)
    latency_s = None if objective is None else get_latency_s(load_point, objective)
    return CurvePoint(
        rate_per_s,
        None if latency_s is None else 1000 * latency_s,
        load_point.achieved_per_s,
        meets_slo(load_point, slo) is True,
    )


def describe_best_load_point(load_points: Sequence[MeasuredLoadPoint], slo: Sequence[Objective]) -> str:
    """Return the end of a sentence, such as "; the best has p95 latency 61 ms at 20 req/s", for the
    first limited latency that is reported; an empty string if none is."""
    for objective in _list_latency_objectives(slo):
        latencies_s = [
            (latency_s, load_point)
            for load_point in load_points
            if (latency_s := get_latency_s(load_point, objective)) is not None
        ]
        if latencies_s:
            latency_s, load_point = min(latencies_s, key=lambda pair: pair[0])
            latency_text = f"{metric_label(objective.metric, objective.aggregate)} {format_number(1000 * latency_s)} ms"
            return f"; the best has {latency_text} at {format_number(load_point.achieved_per_s)} req/s"
    return ""


def _list_latency_objectives(slo: Sequence[Objective]) -> list[Objective]:
    return [objective for objective in select_binding_objectives(slo) if objective.metric in LATENCY_KEY_BY_METRIC]


def _get_latency_metric(slo: Sequence[Objective]) -> str:
    objective = next(iter(_list_latency_objectives(slo)), None)
    return DEFAULT_LATENCY_METRIC if objective is None else objective.name


def _iterate_reported_metrics(imported_curve: ImportedCurve) -> Iterator[str]:
    reported_metrics = {
        (metric, aggregate)
        for load_point in imported_curve.load_points
        for metric, latencies_s in load_point.latencies_s.items()
        for aggregate in latencies_s
    }
    for metric, aggregate in sorted(reported_metrics):
        yield f"{metric}_ms.{aggregate.replace('_', '.')}"


def _format_tool(imported_curve: ImportedCurve) -> str:
    return imported_curve.tool if imported_curve.version is None else f"{imported_curve.tool} {imported_curve.version}"


_Z95 = 1.959964
_Z95_ONE_SIDED = 1.644854
_UNKNOWN_SIGMA = 0.05
_MIN_ACCURACY_RETAINED = 0.99
_ASSUMED_CV = 0.1
_MIN_TIME_S = 1e-6


def build_local_targets(
    name: str, result: Result, hardware: Hardware, slo: Sequence[Objective]
) -> tuple[MeasuredTarget, ...]:
    """Build a target for each variant of a local model.

    Variants known to retain less than 99 % of the reference accuracy are skipped. A target uses the
    variant's batch model, with the measured batch size that has the highest rate within the SLO.
    Without a batch model, requests are served one at a time, with the latencies of batch size 1.
    """
    if result.local is None:
        return ()
    variants_by_label = {variant.variant.label: variant for variant in result.local.variants}
    objectives = build_slo_objectives(slo)
    targets = []
    for batch_model in result.local.batch_models:
        if not _retains_accuracy(variants_by_label.get(batch_model.variant.label)):
            continue
        fitted_service = (
            _fit_batches(batch_model, objectives)
            if batch_model.reason is None
            else _fit_single_calls(batch_model.variant, result.stages)
        )
        if fitted_service is not None:
            targets.append(_build_local_target(name, batch_model.variant, fitted_service, hardware, objectives))
    return tuple(target for target in targets if target is not None)


def _retains_accuracy(variant: VariantData | None) -> bool:
    if variant is None or variant.failure is not None:
        return False
    retained_accuracy = variant.accuracy.retained if variant.accuracy is not None else None
    return (
        retained_accuracy is None
        or retained_accuracy.value is None
        or retained_accuracy.value >= _MIN_ACCURACY_RETAINED
    )


def _build_local_target(
    name: str, variant: Variant, fitted_service: FittedService, hardware: Hardware, objectives: SloObjectives
) -> MeasuredTarget | None:
    """Build the target of a variant; return `None` if the SLO is missed even at the lowest load."""
    assert not isinstance(fitted_service.service, TokenService)
    rate_per_s = estimate_rate_within_slo(fitted_service.service, objectives, 1, "random")
    if rate_per_s <= 0:
        return None
    fit = ServiceFit((fitted_service,), (), 0.0, 1.0, 0.0, fitted_service.service.max_throughput_per_s)
    cores = float(variant.threads) if variant.threads > 0 and hardware.accelerator is None else None
    curve = CapacityCurve((), objectives.latency_metric, rate_per_s, None, cores)
    label = f"{variant.model} {variant.provider} {variant.precision}"
    return MeasuredTarget(f"{name}: {label}, model only", hardware, curve, fit, is_assumed=True)


def _fit_batches(batch_model: BatchModel, objectives: SloObjectives) -> FittedService | None:
    if (
        batch_model.t0_ms.value is None
        or batch_model.t1_ms.value is None
        or batch_model.t0_ms.value + batch_model.t1_ms.value <= 0
    ):
        return None
    services = [_build_service(batch_model, max_batch) for max_batch in batch_model.batches]
    service = max(services, key=lambda candidate: estimate_rate_within_slo(candidate, objectives, 1, "random"))
    return FittedService(service, 1.0, ("fixed_s", "per_item_s"), _build_covariance(batch_model))


def _fit_single_calls(variant: Variant, stages: Sequence[Stage]) -> FittedService | None:
    """Fit a lognormal distribution to the mean, p50 and p95 latency of sequential calls with one
    row. Return `None` if these statistics were not measured."""
    single_row_variant = msgspec.structs.replace(variant, batch=1)
    call_stages = [
        stage for stage in stages if stage.variant == single_row_variant and "single-stream" in stage.tags.values()
    ]
    estimates = call_stages[0].metrics.get("service_ms", {}) if call_stages else {}
    mean_ms, p50_ms, p95_ms = (estimates.get(name, Estimate(None)).value for name in ("mean", "p50", "p95"))
    if mean_ms is None or not p50_ms or p95_ms is None:
        return None
    cv = math.sqrt(math.expm1((math.log(max(p95_ms / p50_ms, 1.0)) / _Z95_ONE_SIDED) ** 2))
    service = RequestService(1, mean_ms / 1000, max(cv, 0.01))
    return FittedService(service, 1.0, ("mean_s",), ((_UNKNOWN_SIGMA**2,),))


def _build_service(batch_model: BatchModel, max_batch: int) -> BatchService:
    fixed_ms, per_item_ms = batch_model.t0_ms.value or 0.0, batch_model.t1_ms.value or 0.0
    return BatchService(
        max(fixed_ms / 1000, _MIN_TIME_S), max(per_item_ms / 1000, _MIN_TIME_S), max_batch, cv=_ASSUMED_CV
    )


def _build_covariance(batch_model: BatchModel) -> tuple[tuple[float, ...], ...]:
    fixed_variance, per_item_variance = (
        _compute_sigma(parameter) ** 2 for parameter in (batch_model.t0_ms, batch_model.t1_ms)
    )
    return ((fixed_variance, 0.0), (0.0, per_item_variance))


def _compute_sigma(estimate: Estimate) -> float:
    """Return the standard deviation of the logarithm of a value from its confidence interval. The
    result is at most 0.5, since the fixed time t0 of a batch model may be close to 0."""
    if estimate.ci95 is None or not estimate.value:
        return _UNKNOWN_SIGMA
    low, high = (max(end, estimate.value / 10) for end in estimate.ci95)
    return min(math.log(high / low) / (2 * _Z95), 0.5) if high > low else _UNKNOWN_SIGMA
