"""Offers as candidates: capacity of one instance and number of instances, or the reason why an offer is excluded."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator

import msgspec

from app.planning.capacity import Capacity
from app.planning.latency_curve import LatencyCurve, latency_at_peak
from app.planning.pricing.ownership import owned_cost
from app.planning.rates import Refusal
from app.planning.risk import MAX_PRICE_AGE_DAYS, Risk, is_low_trust, price_age_days, price_risks, price_sigma
from app.planning.sizing import (
    SPOT_MISSING_SHARE,
    Demand,
    chances_of,
    cost_spread,
    instances_needed,
    monthly_cost,
    monthly_estimate,
    needed_spread,
    peak_carried_per_s,
    per_1k_estimate,
    reaches_assurance,
    spot_chances,
    spot_spares,
)
from app.planning.wording import usd
from app.records.offers import Offer, PlanLimits, PriceKind
from app.records.plan import Chances, RefusalId, RejectedBy
from app.records.result import Estimate, Fleet

_LARGER_FLEETS = 4


class Candidate(msgspec.Struct, frozen=True):
    """Offer that could serve the traffic.

    `refused` and `refused_by` state which of the plan's limits it violates. `spot_spares` are the spares that are
    needed only because spot instances are interrupted.
    """

    offer: Offer
    usd_per_hour: float
    price_kind: PriceKind
    capacity: Capacity
    needed: int
    spares: int
    refused: str | None
    refused_by: RejectedBy | None = None
    spot_spares: int = 0

    @property
    def instances(self) -> int:
        return self.needed + self.spares

    @property
    def usd_per_month(self) -> float:
        return monthly_cost(self.instances, self.usd_per_hour)


class RefusedOffer(msgspec.Struct, frozen=True):
    """Offer that cannot be sized, with the reason."""

    offer: Offer
    sentence: str
    by: RejectedBy
    refusal: RefusalId | None = None


def consider(
    offer: Offer, capacity: Capacity | Refusal, demand: Demand, limits: PlanLimits, today: datetime.date
) -> Candidate | RefusedOffer:
    forbidden = _violated_limit(offer, limits, today)
    price = price_of(offer, limits.price)
    if isinstance(capacity, Refusal):
        return _refused_offer(offer, forbidden, "capacity", capacity.sentence, capacity.id)
    if price is None:
        return _refused_offer(offer, forbidden, "price", f"no {limits.price} price is known")
    if capacity.per_s <= 0:
        return _refused_offer(offer, forbidden, "slo", "misses the SLO at any load")
    usd_per_hour, kind = price
    needed = instances_needed(demand, capacity, demand.z)
    spares = demand.spares_of(needed)
    spot_count = spot_spares(needed, spares, capacity, demand) if kind == "spot" else 0
    candidate = Candidate(
        offer, usd_per_hour, kind, capacity, needed, spares + spot_count, None, spot_spares=spot_count
    )
    if forbidden is not None:
        return msgspec.structs.replace(candidate, refused=forbidden[1], refused_by=forbidden[0])
    if is_low_trust(offer) and kind != "owned" and not limits.low_trust_prices:
        reason = "its price is a marketplace's or a hand-kept list's (trust low): plan.low_trust_prices=true admits it"
        return msgspec.structs.replace(candidate, refused=reason, refused_by="price trust")
    owned = offer.owned.units if offer.owned is not None else None
    if owned is not None and candidate.instances > owned:
        reason = f"needs {candidate.instances} and you own {owned}"
        return msgspec.structs.replace(candidate, refused=reason, refused_by="owned")
    budget, cost = limits.budget_usd_per_month, candidate.usd_per_month
    if budget is not None and cost > budget:
        reason = f"{candidate.instances} instances cost {usd(cost)} a month, over plan.budget of {usd(budget)}"
        return msgspec.structs.replace(candidate, refused=reason, refused_by="budget")
    return candidate


def _refused_offer(
    offer: Offer,
    forbidden: tuple[RejectedBy, str] | None,
    by: RejectedBy,
    sentence: str,
    refusal: RefusalId | None = None,
) -> RefusedOffer:
    return (
        RefusedOffer(offer, sentence, by, refusal)
        if forbidden is None
        else RefusedOffer(offer, forbidden[1], forbidden[0])
    )


def ranking_cost(candidate: Candidate, today: datetime.date) -> float:
    """Return the monthly cost in USD by which the offer is ranked.

    The list price where it is at most 90 days old and trusted; otherwise raised by one sigma of the price's drift.
    """
    offer = candidate.offer
    is_uncertain = price_age_days(offer, today) > MAX_PRICE_AGE_DAYS or is_low_trust(offer)
    if candidate.price_kind == "owned" or not is_uncertain:
        return candidate.usd_per_month
    return candidate.usd_per_month * math.exp(price_sigma(offer, today))


def price_of(offer: Offer, kind: PriceKind) -> tuple[float, PriceKind] | None:
    """Return the price of one instance in USD per hour and its kind; `None` where there is none.

    Owned hardware has its own price, whatever kind is requested. A price of 0 counts as missing.
    """
    if offer.owned is not None:
        cost = owned_cost(offer.owned, max(offer.accelerator_count, 1.0)).usd_per_hour
        return (cost, "owned") if cost > 0 else None
    price = {
        "on demand": offer.on_demand_usd_per_hour,
        "reserved 1y": offer.reserved_1y_usd_per_hour,
        "spot": offer.spot_usd_per_hour,
        "owned": None,
    }[kind]
    return (price, kind) if price else None


def _violated_limit(offer: Offer, limits: PlanLimits, today: datetime.date) -> tuple[RejectedBy, str] | None:
    if limits.providers and offer.provider not in limits.providers:
        return "provider", f"{offer.provider} is not in plan.providers"
    if limits.regions and offer.region not in limits.regions:
        return "region", f"{offer.region} is not in plan.regions"
    max_count = limits.max_accelerators
    if max_count is not None and offer.accelerator_count > max_count:
        reason = f"{offer.accelerator_count:g} accelerators an instance are over plan.max_accelerators of {max_count:g}"
        return "accelerators", reason
    age_days, max_days = price_age_days(offer, today), limits.max_price_age_days
    if max_days is not None and age_days > max_days:
        reason = f"its price of {offer.as_of} is {age_days} days old, over plan.max_price_age of {max_days}d"
        return "price age", reason
    return None


def fleets_of(
    candidate: Candidate, demand: Demand, curve: LatencyCurve, budget_usd: float | None, today: datetime.date
) -> Iterator[Fleet]:
    """Yield the smallest sufficient fleet, then a few larger ones with up to 50 % more instances."""
    extra = math.ceil(candidate.needed / 2)
    for more in sorted({round(extra * step / _LARGER_FLEETS) for step in range(_LARGER_FLEETS + 1)}):
        instances = candidate.instances + more
        if budget_usd is None or monthly_cost(instances, candidate.usd_per_hour) <= budget_usd:
            yield fleet_of(candidate, instances, demand, curve, today)


def fleet_of(candidate: Candidate, instances: int, demand: Demand, curve: LatencyCurve, today: datetime.date) -> Fleet:
    """Describe a fleet of this candidate.

    Utilization and latency are those at the day's peak with all instances serving, spares included.
    """
    offer, capacity = candidate.offer, candidate.capacity
    utilisation = demand.peak_per_s / (instances * capacity.per_s)
    low_per_s, high_per_s = capacity.estimate.ci95 or (capacity.per_s, capacity.per_s)
    utilisation_ci95 = (demand.peak_per_s / (instances * high_per_s), demand.peak_per_s / (instances * low_per_s))
    price_log_sigma, spot_count = price_sigma(offer, today), candidate.spot_spares
    monthly = monthly_estimate(instances, candidate.usd_per_hour, capacity, demand, price_log_sigma, spot_count)
    risks = [*capacity.risks, *price_risks(offer, today)]
    needs, spares = needed_spread(capacity, demand), demand.spares_of(candidate.needed)
    if candidate.price_kind == "spot":
        probabilities = spot_chances(instances, spares, capacity, demand)
        risks.append(Risk(2, _spot_risk(candidate, probabilities, demand)))
    else:
        probabilities = chances_of(instances - spares, capacity, demand)
    if instances == candidate.needed:
        risks.append(Risk(1, "no spare: one instance lost is one too few at the peak"))
    return Fleet(
        offer=offer.key,
        provider=offer.provider,
        instance_type=offer.instance_type,
        region=offer.region,
        accelerator=offer.accelerator,
        accelerator_count=offer.accelerator_count,
        vcpus=offer.vcpus,
        basis=capacity.basis,
        instances=instances,
        spare_instances=instances - candidate.needed,
        replicas_per_instance=capacity.replicas,
        capacity_per_instance_per_s=capacity.estimate,
        utilisation_at_peak=Estimate(utilisation, utilisation_ci95, basis=capacity.basis),
        latency_at_peak=latency_at_peak(curve, utilisation, capacity),
        usd_per_hour_each=candidate.usd_per_hour,
        usd_per_month=monthly,
        usd_per_1k_inferences=per_1k_estimate(monthly, demand),
        price_date=offer.as_of.isoformat(),
        price_age_days=price_age_days(offer, today),
        price_source=offer.source,
        risk=max((risk.level for risk in risks), default=0),
        risk_reasons=tuple(risk.sentence for risk in sorted(risks, key=lambda risk: -risk.level)),
        settled=capacity.settled,
        price_kind=candidate.price_kind,
        instances_needed=needs,
        usd_per_month_needed=cost_spread(needs, candidate.usd_per_hour, price_log_sigma, demand, spot_count),
        chances=probabilities,
        planned_rate_per_replica_per_s=peak_carried_per_s(1, capacity, demand) / capacity.replicas,
    )


def _spot_risk(candidate: Candidate, probabilities: Chances, demand: Demand) -> str:
    text = "a spot price: it moves by the hour, and the instance may be taken away; P(SLO met) assumes that each is "
    text += f"interrupted {SPOT_MISSING_SHARE:.0%} of the time"
    if candidate.spot_spares:
        text += f", and {candidate.spot_spares} of the spares are there for that"
    if not reaches_assurance(probabilities.planned, demand):
        text += f", and at {probabilities.planned:.1%} it is below the confidence that was asked for"
    return text


def refused_fleet(
    offer: Offer, sentence: str, today: datetime.date, by: RejectedBy = "capacity", refusal: RefusalId | None = None
) -> Fleet:
    unknown = Estimate(None, basis="assumed", reason=sentence)
    risks = price_risks(offer, today)
    return Fleet(
        offer=offer.key,
        provider=offer.provider,
        instance_type=offer.instance_type,
        region=offer.region,
        accelerator=offer.accelerator,
        accelerator_count=offer.accelerator_count,
        vcpus=offer.vcpus,
        basis="assumed",
        instances=None,
        spare_instances=None,
        replicas_per_instance=None,
        capacity_per_instance_per_s=unknown,
        utilisation_at_peak=unknown,
        latency_at_peak=unknown,
        usd_per_hour_each=offer.on_demand_usd_per_hour,
        usd_per_month=unknown,
        usd_per_1k_inferences=unknown,
        price_date=offer.as_of.isoformat(),
        price_age_days=price_age_days(offer, today),
        price_source=offer.source,
        risk=max((risk.level for risk in risks), default=0),
        risk_reasons=tuple(risk.sentence for risk in risks),
        rejected=sentence,
        rejected_by=by,
        refusal=refusal,
    )
