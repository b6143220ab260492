"""A local model's variants as targets of a plan: their batch laws behind a server with dynamic batching.

No server was measured, so whatever follows is assumed: what a server adds of its own is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from app.planning.formulae import rate_inside
from app.planning.goals import Goals, goals_of
from app.records.estimate import Estimate, Variant
from app.records.local import BatchLaw, VariantFacts
from app.records.offers import CapacityCurve
from app.records.plan_question import MeasuredTarget
from app.records.result import Hardware, Objective, Result, Stage
from app.records.service import BatchService, FittedService, RequestService, ServiceFit, TokenService

_Z95 = 1.959964
_Z95_ONE_SIDED = 1.644854
_UNKNOWN_SIGMA = 0.05
_LEAST_KEPT = 0.99
_ASSUMED_CV = 0.1
_LEAST_S = 1e-6


def local_targets(
    name: str, result: Result, hardware: Hardware, slo: Sequence[Objective]
) -> tuple[MeasuredTarget, ...]:
    """One a way of running the model that keeps 99 % of the reference's accuracy, as far as it is known.

    By its batch law, with the largest batch of those measured that carries most inside the SLO; where no law holds, one
    request at a time, as its calls of batch 1 took.
    """
    if result.local is None:
        return ()
    facts = {one.variant.label: one for one in result.local.variants}
    goals = goals_of(slo)
    targets = []
    for law in result.local.batch_laws:
        if not _is_good(facts.get(law.variant.label)):
            continue
        fitted = _of_law(law, goals) if law.reason is None else _of_single_calls(law.variant, result.stages)
        if fitted is not None:
            targets.append(_target(name, law.variant, fitted, hardware, goals))
    return tuple(target for target in targets if target is not None)


def _is_good(facts: VariantFacts | None) -> bool:
    if facts is None or facts.failure is not None:
        return False
    kept = facts.accuracy.kept if facts.accuracy is not None else None
    return kept is None or kept.value is None or kept.value >= _LEAST_KEPT


def _target(
    name: str, variant: Variant, fitted: FittedService, hardware: Hardware, goals: Goals
) -> MeasuredTarget | None:
    """None where the SLO is missed with hardly any load."""
    assert not isinstance(fitted.service, TokenService)
    rate = rate_inside(fitted.service, goals, 1, "random")
    if rate <= 0:
        return None
    fit = ServiceFit((fitted,), (), 0.0, 1.0, 0.0, fitted.service.most_per_s)
    cores = float(variant.threads) if variant.threads > 0 and hardware.accelerator is None else None
    curve = CapacityCurve((), goals.latency_metric, rate, None, cores)
    label = f"{variant.model} {variant.provider} {variant.precision}"
    return MeasuredTarget(f"{name}: {label}, without a server", hardware, curve, fit, is_assumed=True)


def _of_law(law: BatchLaw, goals: Goals) -> FittedService | None:
    if law.t0_ms.value is None or law.t1_ms.value is None or law.t0_ms.value + law.t1_ms.value <= 0:
        return None
    services = [_service(law, most) for most in law.batches]
    service = max(services, key=lambda one: rate_inside(one, goals, 1, "random"))
    return FittedService(service, 1.0, ("fixed_s", "per_item_s"), _covariance(law))


def _of_single_calls(variant: Variant, stages: Sequence[Stage]) -> FittedService | None:
    """A lognormal through the mean, p50 and p95 of calls of one row, one after another."""
    alone = msgspec.structs.replace(variant, batch=1)
    calls = [stage for stage in stages if stage.variant == alone and "single-stream" in stage.tags.values()]
    times = calls[0].metrics.get("service_ms", {}) if calls else {}
    mean, p50, p95 = (times.get(name, Estimate(None)).value for name in ("mean", "p50", "p95"))
    if mean is None or not p50 or p95 is None:
        return None
    cv = math.sqrt(math.expm1((math.log(max(p95 / p50, 1.0)) / _Z95_ONE_SIDED) ** 2))
    service = RequestService(1, mean / 1000, max(cv, 0.01))
    return FittedService(service, 1.0, ("mean_s",), ((_UNKNOWN_SIGMA**2,),))


def _service(law: BatchLaw, most: int) -> BatchService:
    fixed_ms, per_item_ms = law.t0_ms.value or 0.0, law.t1_ms.value or 0.0
    return BatchService(max(fixed_ms / 1000, _LEAST_S), max(per_item_ms / 1000, _LEAST_S), most, cv=_ASSUMED_CV)


def _covariance(law: BatchLaw) -> tuple[tuple[float, ...], ...]:
    first, second = (_sigma(one) ** 2 for one in (law.t0_ms, law.t1_ms))
    return ((first, 0.0), (0.0, second))


def _sigma(estimate: Estimate) -> float:
    """Of the logarithm, from the interval; at most 0.5, where t0 is hardly there."""
    if estimate.ci95 is None or not estimate.value:
        return _UNKNOWN_SIGMA
    low, high = (max(end, estimate.value / 10) for end in estimate.ci95)
    return min(math.log(high / low) / (2 * _Z95), 0.5) if high > low else _UNKNOWN_SIGMA
