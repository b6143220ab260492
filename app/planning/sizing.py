"""How many instances a peak needs when the capacity of one is log-normal, and what they cost.

All instances of a fleet share one error of capacity (it comes from one measurement), so
P(n × capacity ≥ peak) = Φ(ln(n × median / peak) / sigma), and the smallest n that reaches the assurance is
⌈peak × exp(sigma × z) / median⌉ with z its quantile.
"""

from __future__ import annotations

import datetime
import math
from statistics import NormalDist

import msgspec

from app.planning.capacity import Z95, Capacity
from app.planning.demand import mean_per_s, peak_per_s, peak_sigma
from app.records.offers import PlanLimits
from app.records.result import Estimate, Traffic

HOURS_A_MONTH = 730
_NORMAL = NormalDist()


class Demand(msgspec.Struct, frozen=True):
    """Of what reaches replicas. `peak_per_s` is that of the next 12 months; `mean_per_s` is today's, over the week;
    `peak_sigma` is one sigma of the peak's logarithm, which adds to a capacity's as squares do."""

    peak_per_s: float
    mean_per_s: float
    z: float
    spares: int
    peak_sigma: float = 0.0


def demand_of(traffic: Traffic, limits: PlanLimits, today: datetime.date | None = None) -> Demand:
    """Campaigns count where there is a date to count from."""
    return Demand(
        peak_per_s=peak_per_s(traffic, today),
        mean_per_s=mean_per_s(traffic),
        z=_NORMAL.inv_cdf(limits.assurance),
        spares=limits.redundancy,
        peak_sigma=peak_sigma(traffic),
    )


def instances_needed(peak_per_s: float, capacity: Capacity, z: float) -> int:
    """Without spares; z is the normal quantile of the assurance."""
    return max(1, math.ceil(peak_per_s / capacity.quantile_per_s(-z) - 1e-9))


def peak_carried_per_s(instances: int, capacity: Capacity, z: float) -> float:
    """The highest peak so many instances carry at the assurance."""
    return instances * capacity.quantile_per_s(-z)


def assurance_reached(instances: int, capacity: Capacity, peak_per_s: float) -> float:
    margin = math.log(instances * capacity.per_s / peak_per_s)
    if capacity.sigma == 0:
        return 1.0 if margin >= -1e-9 else 0.0
    return _NORMAL.cdf(margin / capacity.sigma)


def monthly_cost(instances: int, usd_per_hour_each: float) -> float:
    return HOURS_A_MONTH * instances * usd_per_hour_each


def monthly_estimate(instances: int, usd_per_hour_each: float, capacity: Capacity, demand: Demand) -> Estimate:
    """The interval is what the fleet would cost once resized to either end of its capacity's 95 % interval."""
    fewest, most = (instances_needed(demand.peak_per_s, capacity, z) + demand.spares for z in (-Z95, Z95))
    return Estimate(
        monthly_cost(instances, usd_per_hour_each),
        (
            monthly_cost(min(fewest, instances), usd_per_hour_each),
            monthly_cost(max(most, instances), usd_per_hour_each),
        ),
        basis=capacity.basis,
    )


def per_1k_estimate(monthly: Estimate, demand: Demand) -> Estimate:
    """The month's cost over the inferences of a month at the mean rate."""
    thousands = demand.mean_per_s * HOURS_A_MONTH * 3600 / 1000
    if thousands == 0 or monthly.value is None or monthly.ci95 is None:
        return Estimate(None, reason="the traffic has no requests", basis=monthly.basis)
    low, high = monthly.ci95
    return Estimate(monthly.value / thousands, (low / thousands, high / thousands), basis=monthly.basis)
