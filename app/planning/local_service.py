"""A local model's variants as targets of a plan: their batch laws behind a server with dynamic batching.

No server was measured, so whatever follows is assumed: what a server adds of its own is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.planning.formulae import rate_inside
from app.planning.goals import goals_of
from app.records.estimate import Estimate
from app.records.local import BatchLaw, LocalResult, VariantFacts
from app.records.offers import CapacityCurve
from app.records.plan_question import MeasuredTarget
from app.records.result import Hardware, Objective
from app.records.service import BatchService, FittedService, ServiceFit

_Z95 = 1.959964
_UNKNOWN_SIGMA = 0.05
_LEAST_KEPT = 0.99
_ASSUMED_CV = 0.1
_LEAST_S = 1e-6


def local_targets(
    name: str, local: LocalResult, hardware: Hardware, slo: Sequence[Objective]
) -> tuple[MeasuredTarget, ...]:
    """One for each batch law that holds, of variants that keep 99 % of the reference's accuracy, as far as it is known.

    The largest batch of each is the one of those measured that carries most inside the SLO.
    """
    facts = {one.variant.label: one for one in local.variants}
    laws = [law for law in local.batch_laws if law.reason is None and _is_good(facts.get(law.variant.label))]
    return tuple(target for law in laws if (target := _target(name, law, hardware, slo)) is not None)


def _is_good(facts: VariantFacts | None) -> bool:
    if facts is None or facts.failure is not None:
        return False
    kept = facts.accuracy.kept if facts.accuracy is not None else None
    return kept is None or kept.value is None or kept.value >= _LEAST_KEPT


def _target(name: str, law: BatchLaw, hardware: Hardware, slo: Sequence[Objective]) -> MeasuredTarget | None:
    if law.t0_ms.value is None or law.t1_ms.value is None or law.t0_ms.value + law.t1_ms.value <= 0:
        return None
    goals = goals_of(slo)
    services = [_service(law, most) for most in law.batches]
    rates = [rate_inside(service, goals, 1, "random") for service in services]
    best = max(range(len(rates)), key=rates.__getitem__)
    if rates[best] <= 0:
        return None
    service, threads = services[best], law.variant.threads
    fitted = FittedService(service, 1.0, ("fixed_s", "per_item_s"), _covariance(law))
    fit = ServiceFit((fitted,), (), 0.0, 1.0, 0.0, service.most_per_s)
    metric = goals.times[0].text.split("<")[0].strip() if goals.times else "latency_ms.p95"
    cores = float(threads) if threads > 0 and hardware.accelerator is None else None
    curve = CapacityCurve((), metric, rates[best], None, cores)
    label = f"{law.variant.model} {law.variant.provider} {law.variant.precision}"
    return MeasuredTarget(f"{name}: {label}, without a server", hardware, curve, fit, is_assumed=True)


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
