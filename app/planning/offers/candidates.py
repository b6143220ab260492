"""Evaluation of offers: capacity per instance and number of instances, or the reason why an offer
is excluded."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator

import msgspec

from app.analysis.accelerator_names import matches_accelerator
from app.planning.formatting import format_probability, format_share, format_usd
from app.planning.hardware.capacity import Capacity
from app.planning.hardware.rates import Unavailable
from app.planning.hardware.risk import (
    MAX_PRICE_AGE_DAYS,
    Risk,
    compute_price_age_days,
    compute_price_sigma,
    is_low_trust,
    list_price_risks,
)
from app.planning.pricing.ownership import compute_owned_cost
from app.planning.sizing.instances import (
    SPOT_UNAVAILABLE_SHARE,
    Demand,
    compute_monthly_cost,
    compute_probabilities,
    compute_spot_probabilities,
    compute_sustained_peak_per_s,
    count_instances,
    count_spot_spares,
    estimate_cost_per_1k,
    estimate_cost_range,
    estimate_instance_range,
    estimate_monthly_cost,
    reaches_confidence,
)
from app.planning.sizing.latency_curve import LatencyCurve, estimate_latency_at_peak, estimate_latency_limit
from app.records.offers import PRICE_FIELDS, Offer, PlanLimits, PriceKind, RequestedPrice
from app.records.plan import RejectedBy, RejectionId, SloProbabilities
from app.records.result import Estimate, Fleet

_MAX_LARGER_FLEETS = 4


class Candidate(msgspec.Struct, frozen=True):
    """Offer that can be sized for the traffic.

    If the offer violates a limit of the plan, `rejected` states the reason, and `rejected_by` the
    limit. `spot_spares` is the number of spares that are needed only because spot instances are
    interrupted.
    """

    offer: Offer
    usd_per_hour: float
    price_kind: PriceKind
    capacity: Capacity
    needed_instances: int
    spares: int
    rejected: str | None
    rejected_by: RejectedBy | None = None
    spot_spares: int = 0

    @property
    def instances(self) -> int:
        return self.needed_instances + self.spares

    @property
    def usd_per_month(self) -> float:
        return compute_monthly_cost(self.instances, self.usd_per_hour)


class RejectedOffer(msgspec.Struct, frozen=True):
    """Offer that cannot be sized, with the reason and the violated limit or missing input."""

    offer: Offer
    reason: str
    rejected_by: RejectedBy
    reason_id: RejectionId | None = None


def evaluate_offer(
    offer: Offer, capacity: Capacity | Unavailable, demand: Demand, limits: PlanLimits, today: datetime.date
) -> Candidate | RejectedOffer:
    violation = _find_violated_limit(offer, limits, today)
    price = find_price(offer, limits.price)
    if isinstance(capacity, Unavailable):
        return _reject_offer(offer, violation, "capacity", capacity.reason, capacity.id)
    if price is None:
        return _reject_offer(offer, violation, "price", f"the price list has no {limits.price} price")
    if capacity.rate_per_s <= 0:
        return _reject_offer(offer, violation, "slo", "the SLO is violated at every load")
    usd_per_hour, price_kind = price
    needed_instances = count_instances(demand, capacity, demand.z)
    spares = demand.count_spares(needed_instances)
    spot_spares = count_spot_spares(needed_instances, spares, capacity, demand) if price_kind == "spot" else 0
    candidate = Candidate(
        offer, usd_per_hour, price_kind, capacity, needed_instances, spares + spot_spares, None, spot_spares=spot_spares
    )
    if violation is not None:
        return msgspec.structs.replace(candidate, rejected=violation[1], rejected_by=violation[0])
    if is_low_trust(offer) and price_kind != "owned" and not limits.low_trust_prices:
        reason = (
            "the price comes from a marketplace or a manually maintained list (low trust); set "
            "plan.low_trust_prices=true to allow it"
        )
        return msgspec.structs.replace(candidate, rejected=reason, rejected_by="price trust")
    owned_units = offer.owned.units if offer.owned is not None else None
    if owned_units is not None and candidate.instances > owned_units:
        reason = f"the traffic needs {candidate.instances} instances, but you own {owned_units}"
        return msgspec.structs.replace(candidate, rejected=reason, rejected_by="owned")
    budget, cost = limits.budget_usd_per_month, candidate.usd_per_month
    if budget is not None and cost > budget:
        reason = (
            f"a fleet of {candidate.instances} costs {format_usd(cost)}/month, above plan.budget of "
            f"{format_usd(budget)}/month"
        )
        return msgspec.structs.replace(candidate, rejected=reason, rejected_by="budget")
    return candidate


def _reject_offer(
    offer: Offer,
    violation: tuple[RejectedBy, str] | None,
    rejected_by: RejectedBy,
    reason: str,
    reason_id: RejectionId | None = None,
) -> RejectedOffer:
    return (
        RejectedOffer(offer, reason, rejected_by, reason_id)
        if violation is None
        else RejectedOffer(offer, violation[1], violation[0])
    )


def compute_ranking_cost(candidate: Candidate, today: datetime.date) -> float:
    """Return the monthly cost in USD by which the offer is ranked.

    If the list price is over 90 days old or from a low-trust source, the cost is raised by one
    sigma of the price's uncertainty.
    """
    offer = candidate.offer
    is_price_uncertain = compute_price_age_days(offer, today) > MAX_PRICE_AGE_DAYS or is_low_trust(offer)
    if candidate.price_kind == "owned" or not is_price_uncertain:
        return candidate.usd_per_month
    return candidate.usd_per_month * math.exp(compute_price_sigma(offer, today))


def find_price(offer: Offer, price_kind: RequestedPrice) -> tuple[float, PriceKind] | None:
    """Return the price of one instance in USD per hour, and the kind of price. Return `None` if the
    offer has no price of this kind.

    Owned hardware always has its own price, regardless of the requested kind. A price of 0 counts
    as missing.
    """
    if offer.owned is not None:
        usd_per_hour = compute_owned_cost(offer.owned).usd_per_hour
        return (usd_per_hour, "owned") if usd_per_hour > 0 else None
    price: float | None = getattr(offer, PRICE_FIELDS[price_kind])
    return (price, price_kind) if price else None


def _find_violated_limit(offer: Offer, limits: PlanLimits, today: datetime.date) -> tuple[RejectedBy, str] | None:
    if limits.providers and offer.provider not in limits.providers:
        return "provider", f"provider {offer.provider} is excluded by plan.providers"
    if limits.regions and offer.region not in limits.regions:
        return "region", f"region {offer.region} is excluded by plan.regions"
    if limits.accelerators and not any(matches_accelerator(offer.accelerator, name) for name in limits.accelerators):
        return "accelerator type", f"{_format_accelerator(offer)} is excluded by plan.accelerators"
    if limits.sources and set(list_price_sources(offer, limits.price)).isdisjoint(limits.sources):
        return "source", f"price source {offer.source} is excluded by plan.sources"
    max_accelerators = limits.max_accelerators
    if max_accelerators is not None and offer.accelerator_count > max_accelerators:
        reason = (
            f"{offer.accelerator_count:g} accelerators per instance exceed plan.max_accelerators of "
            f"{max_accelerators:g}"
        )
        return "accelerators", reason
    age_days, max_age_days = compute_price_age_days(offer, today), limits.max_price_age_days
    if max_age_days is not None and age_days > max_age_days:
        reason = f"the price from {offer.as_of} is {age_days} days old, above plan.max_price_age of {max_age_days}d"
        return "price age", reason
    return None


def _format_accelerator(offer: Offer) -> str:
    return "an instance without accelerator" if offer.accelerator is None else f"accelerator {offer.accelerator}"


def list_price_sources(offer: Offer, price_kind: PriceKind) -> tuple[str, ...]:
    """Return the sources that a price of the offer may come from. Only the source of the on-demand
    price is known exactly."""
    return offer.sources[:1] if price_kind == "on-demand" else offer.sources


def iterate_fleets(
    candidate: Candidate, demand: Demand, curve: LatencyCurve, budget_usd: float | None, today: datetime.date
) -> Iterator[Fleet]:
    """Yield the smallest sufficient fleet, then a few larger fleets with up to 50 % more instances,
    within the budget.
    """
    max_extra_instances = math.ceil(candidate.needed_instances / 2)
    for extra_instances in sorted(
        {round(max_extra_instances * step / _MAX_LARGER_FLEETS) for step in range(_MAX_LARGER_FLEETS + 1)}
    ):
        instances = candidate.instances + extra_instances
        if budget_usd is None or compute_monthly_cost(instances, candidate.usd_per_hour) <= budget_usd:
            yield build_fleet(candidate, instances, demand, curve, today)


def build_fleet(
    candidate: Candidate, instances: int, demand: Demand, curve: LatencyCurve, today: datetime.date
) -> Fleet:
    """Build a fleet of `instances` instances of the candidate's offer.

    Utilization and latency apply to the peak with all instances serving, including spares.
    """
    offer, capacity = candidate.offer, candidate.capacity
    utilization = demand.peak_per_s / (instances * capacity.rate_per_s)
    low_per_s, high_per_s = capacity.estimate.ci95 or (capacity.rate_per_s, capacity.rate_per_s)
    utilization_ci95 = (demand.peak_per_s / (instances * high_per_s), demand.peak_per_s / (instances * low_per_s))
    price_sigma, spot_spares = compute_price_sigma(offer, today), candidate.spot_spares
    monthly_cost = estimate_monthly_cost(instances, candidate.usd_per_hour, capacity, demand, price_sigma, spot_spares)
    risks = [*capacity.risks, *list_price_risks(offer, today)]
    instance_range, spares = estimate_instance_range(capacity, demand), demand.count_spares(candidate.needed_instances)
    if candidate.price_kind == "spot":
        probabilities = compute_spot_probabilities(instances, spares, capacity, demand)
        risks.append(Risk(2, _describe_spot_risk(candidate, probabilities, demand)))
    else:
        probabilities = compute_probabilities(instances - spares, capacity, demand)
    if instances == candidate.needed_instances:
        risks.append(Risk(1, "no spare instance: if one instance fails, the others cannot sustain the peak"))
    return Fleet(
        offer=offer.key,
        provider=offer.provider,
        instance_type=offer.instance_type,
        region=offer.region,
        accelerator=offer.accelerator,
        accelerator_count=offer.accelerator_count,
        vcpus=offer.vcpus,
        memory_gib=offer.memory_gib,
        basis=capacity.basis,
        instances=instances,
        spare_instances=instances - candidate.needed_instances,
        replicas_per_instance=capacity.replicas,
        capacity_per_instance_per_s=capacity.estimate,
        utilization_at_peak=Estimate(utilization, utilization_ci95, basis=capacity.basis),
        latency_at_peak=estimate_latency_at_peak(curve, utilization, capacity)
        if capacity.latency_limit_sigma is None
        else estimate_latency_limit(curve, utilization, capacity, capacity.latency_limit_sigma),
        is_latency_limit=capacity.latency_limit_sigma is not None,
        usd_per_hour_each=candidate.usd_per_hour,
        usd_per_month=monthly_cost,
        usd_per_1k_inferences=estimate_cost_per_1k(monthly_cost, demand),
        price_date=offer.as_of.isoformat(),
        price_age_days=compute_price_age_days(offer, today),
        price_source=offer.source,
        risk=max((risk.level for risk in risks), default=0),
        risk_reasons=tuple(risk.reason for risk in sorted(risks, key=lambda risk: -risk.level)),
        sizing_method=capacity.sizing_method,
        price_kind=candidate.price_kind,
        instances_needed=instance_range,
        usd_per_month_needed=estimate_cost_range(
            instance_range, candidate.usd_per_hour, price_sigma, demand, spot_spares
        ),
        slo_probabilities=probabilities,
        planned_rate_per_replica_per_s=compute_sustained_peak_per_s(1, capacity, demand) / capacity.replicas,
    )


def _describe_spot_risk(candidate: Candidate, probabilities: SloProbabilities, demand: Demand) -> str:
    description = (
        "spot price: it changes hourly, and instances may be interrupted; P(SLO met) assumes that each instance is "
        f"unavailable {format_share(SPOT_UNAVAILABLE_SHARE)} of the time"
    )
    if candidate.spot_spares:
        verb = "covers" if candidate.spot_spares == 1 else "cover"
        description += f"; {candidate.spot_spares} of the spares {verb} this"
    if not reaches_confidence(probabilities.planned, demand):
        description += f"; P(SLO met) is {format_probability(probabilities.planned)}, below the plan's confidence"
    return description


def build_rejected_fleet(
    offer: Offer,
    reason: str,
    today: datetime.date,
    rejected_by: RejectedBy = "capacity",
    reason_id: RejectionId | None = None,
) -> Fleet:
    """Build the fleet of an rejected offer. The fleet has no size, and its estimates state the
    reason."""
    unknown_estimate = Estimate(None, basis="assumed", reason=reason)
    risks = list_price_risks(offer, today)
    return Fleet(
        offer=offer.key,
        provider=offer.provider,
        instance_type=offer.instance_type,
        region=offer.region,
        accelerator=offer.accelerator,
        accelerator_count=offer.accelerator_count,
        vcpus=offer.vcpus,
        memory_gib=offer.memory_gib,
        basis="assumed",
        instances=None,
        spare_instances=None,
        replicas_per_instance=None,
        capacity_per_instance_per_s=unknown_estimate,
        utilization_at_peak=unknown_estimate,
        latency_at_peak=unknown_estimate,
        usd_per_hour_each=offer.on_demand_usd_per_hour,
        usd_per_month=unknown_estimate,
        usd_per_1k_inferences=unknown_estimate,
        price_date=offer.as_of.isoformat(),
        price_age_days=compute_price_age_days(offer, today),
        price_source=offer.source,
        risk=max((risk.level for risk in risks), default=0),
        risk_reasons=tuple(risk.reason for risk in risks),
        rejected=reason,
        rejected_by=rejected_by,
        rejection=reason_id,
    )
