"""Each offer as a candidate: what one instance carries and how many the traffic needs, or why it is refused."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator

import msgspec

from app.planning.capacity import Capacity
from app.planning.latency_curve import LatencyCurve, latency_at_peak
from app.planning.ownership import owned_cost
from app.planning.refusal import Refusal
from app.planning.risk import Risk, price_age_days, price_risks, price_sigma
from app.planning.sizing import (
    Demand,
    chances_of,
    cost_spread,
    instances_needed,
    monthly_cost,
    monthly_estimate,
    needed_spread,
    peak_carried_per_s,
    per_1k_estimate,
)
from app.planning.wording import usd
from app.records.offers import Offer, PlanLimits, PriceKind
from app.records.result import Estimate, Fleet

_STEPS = 4


class Candidate(msgspec.Struct, frozen=True):
    """An offer that could carry the traffic; `refused` tells which of the plan's limits it breaks."""

    offer: Offer
    usd_per_hour: float
    price_kind: PriceKind
    capacity: Capacity
    needed: int
    spares: int
    refused: str | None

    @property
    def instances(self) -> int:
        return self.needed + self.spares

    @property
    def usd_per_month(self) -> float:
        return monthly_cost(self.instances, self.usd_per_hour)


class Refused(msgspec.Struct, frozen=True):
    """An offer of which nothing can be said."""

    offer: Offer
    sentence: str


def consider(
    offer: Offer, capacity: Capacity | Refusal, demand: Demand, limits: PlanLimits, today: datetime.date
) -> Candidate | Refused:
    forbidden = _forbidden(offer, limits, today)
    if isinstance(capacity, Refusal):
        return Refused(offer, forbidden or capacity.sentence)
    price = price_of(offer, limits.price)
    if price is None:
        return Refused(offer, forbidden or f"no {limits.price} price is known")
    if capacity.per_s <= 0:
        return Refused(offer, forbidden or "misses the SLO at any load")
    usd_per_hour, kind = price
    needed = instances_needed(demand, capacity, demand.z)
    candidate = Candidate(offer, usd_per_hour, kind, capacity, needed, demand.spares_of(needed), forbidden)
    owned = offer.owned.units if offer.owned is not None else None
    if forbidden is None and owned is not None and candidate.instances > owned:
        return msgspec.structs.replace(candidate, refused=f"needs {candidate.instances} and you own {owned}")
    budget, cost = limits.budget_usd_per_month, candidate.usd_per_month
    if forbidden is None and budget is not None and cost > budget:
        over = f"{candidate.instances} instances cost {usd(cost)} a month, over plan.budget of {usd(budget)}"
        return msgspec.structs.replace(candidate, refused=over)
    return candidate


def price_of(offer: Offer, kind: PriceKind) -> tuple[float, PriceKind] | None:
    """USD an hour of one instance; owned hardware has its own price, whatever kind is asked for."""
    if offer.owned is not None:
        return owned_cost(offer.owned, max(offer.accelerator_count, 1.0)).usd_per_hour, "owned"
    price = {
        "on demand": offer.on_demand_usd_per_hour,
        "reserved 1y": offer.reserved_1y_usd_per_hour,
        "spot": offer.spot_usd_per_hour,
        "owned": None,
    }[kind]
    return None if price is None else (price, kind)


def _forbidden(offer: Offer, limits: PlanLimits, today: datetime.date) -> str | None:
    if limits.providers and offer.provider not in limits.providers:
        return f"{offer.provider} is not in plan.providers"
    if limits.regions and offer.region not in limits.regions:
        return f"{offer.region} is not in plan.regions"
    most = limits.max_accelerators
    if most is not None and offer.accelerator_count > most:
        return f"{offer.accelerator_count:g} accelerators an instance are over plan.max_accelerators of {most:g}"
    age_days, most_days = price_age_days(offer, today), limits.max_price_age_days
    if most_days is not None and age_days > most_days:
        return f"its price of {offer.as_of} is {age_days} days old, over plan.max_price_age of {most_days}d"
    return None


def fleets_of(
    candidate: Candidate, demand: Demand, curve: LatencyCurve, budget_usd: float | None, today: datetime.date
) -> Iterator[Fleet]:
    """The smallest fleet that is enough, then a few larger ones, up to half as many instances again."""
    extra = math.ceil(candidate.needed / 2)
    for more in sorted({round(extra * step / _STEPS) for step in range(_STEPS + 1)}):
        instances = candidate.instances + more
        if budget_usd is None or monthly_cost(instances, candidate.usd_per_hour) <= budget_usd:
            yield fleet_of(candidate, instances, demand, curve, today)


def fleet_of(candidate: Candidate, instances: int, demand: Demand, curve: LatencyCurve, today: datetime.date) -> Fleet:
    """Utilisation and latency are those of the day's peak with all instances serving, the spares too."""
    offer, capacity = candidate.offer, candidate.capacity
    utilisation = demand.peak_per_s / (instances * capacity.per_s)
    low_per_s, high_per_s = capacity.estimate.ci95 or (capacity.per_s, capacity.per_s)
    busy = (demand.peak_per_s / (instances * high_per_s), demand.peak_per_s / (instances * low_per_s))
    monthly = monthly_estimate(instances, candidate.usd_per_hour, capacity, demand)
    risks = [*capacity.risks, *price_risks(offer, today)]
    if candidate.price_kind == "spot":
        risks.append(Risk(2, "a spot price: it moves by the hour, and the instance may be taken away"))
    needs = needed_spread(capacity, demand)
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
        utilisation_at_peak=Estimate(utilisation, busy, basis=capacity.basis),
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
        usd_per_month_needed=cost_spread(needs, candidate.usd_per_hour, price_sigma(offer, today), demand),
        chances=chances_of(instances - demand.spares_of(candidate.needed), capacity, demand),
        planned_rate_per_replica_per_s=peak_carried_per_s(1, capacity, demand) / capacity.replicas,
    )


def refused_fleet(offer: Offer, sentence: str, today: datetime.date) -> Fleet:
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
    )
