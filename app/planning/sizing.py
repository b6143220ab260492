"""Number of instances that a peak needs when the capacity of one is log-normal, and their cost.

All instances of a fleet share one error of capacity (it comes from one measurement), so P(n × capacity ≥ peak) = Φ(ln(n
× median / peak) / sigma), and the smallest n that reaches the confidence is ⌈peak × exp(sigma × z) / median⌉ with z its
quantile. An uncertain peak is log-normal too: the sigma² are added.
"""

from __future__ import annotations

import datetime
import math
from statistics import NormalDist

import msgspec

from app.planning.capacity import Z95, Capacity
from app.planning.demand import compute_mean_per_s, compute_peak_sigma, peak_per_s
from app.records.offers import PlanLimits
from app.records.plan import SloProbabilities, Spread
from app.records.result import Estimate, Fleet, Traffic

HOURS_PER_MONTH = 730
Z80 = 1.281552
SPOT_MISSING_SHARE = 0.01
"""Assumed share of time in which a spot instance is interrupted and not yet replaced; no price list states it."""
_NORMAL = NormalDist()


class Demand(msgspec.Struct, frozen=True):
    """Demand on the replicas.

    `peak_per_s` is the peak of the next 12 months; `mean_per_s` is today's mean over the week; `peak_sigma` is one
    sigma of the peak's logarithm, whose square is added to that of the capacity.
    """

    peak_per_s: float
    mean_per_s: float
    z: float
    spares: int
    peak_sigma: float = 0.0
    zones: int = 1
    """Number of zones, one of which may fail where there are several."""

    def count_spares(self, needed: int) -> int:
        """Return the instances beyond those for the load.

        They cover failures, updates, and the capacity that the remaining zones lack after one fails.
        """
        if self.zones == 1:
            return self.spares
        per_zone = math.ceil(needed / (self.zones - 1))
        return max(self.spares, self.zones * per_zone - needed)


def build_demand(traffic: Traffic, limits: PlanLimits, today: datetime.date | None = None) -> Demand:
    """Return the demand; campaigns count only where `today` is given."""
    return Demand(
        peak_per_s=peak_per_s(traffic, today),
        mean_per_s=compute_mean_per_s(traffic),
        z=_NORMAL.inv_cdf(limits.confidence),
        spares=limits.redundancy + limits.surge,
        peak_sigma=compute_peak_sigma(traffic),
        zones=limits.zones,
    )


def count_instances(demand: Demand, capacity: Capacity, z: float) -> int:
    """Return the instances needed without spares; z is the normal quantile of the confidence, for capacity and peak."""
    return count_instances_at_rate(demand, capacity.per_s, capacity.sigma, z)


def count_instances_at_rate(demand: Demand, per_s: float, sigma: float, z: float) -> int:
    """Return the number of instances that are needed if each sustains `per_s`, with this sigma of its logarithm."""
    sigma = math.hypot(sigma, demand.peak_sigma)
    return max(1, math.ceil(demand.peak_per_s * math.exp(sigma * z) / per_s - 1e-9))


def sustained_peak_per_s(instances: int, capacity: Capacity, demand: Demand) -> float:
    """Return the highest peak that the instances sustain at the plan's confidence."""
    return instances * capacity.per_s * math.exp(-demand.z * math.hypot(capacity.sigma, demand.peak_sigma))


def get_planned_rate_per_s(fleet: Fleet) -> float | None:
    """Return the rate that one replica of a planned fleet is sized for; `None` where the fleet has no size.

    Plan files of version 0.1.0 do not state it: there it is the share of the peak that falls on each replica needed.
    """
    if fleet.planned_rate_per_replica_per_s is not None:
        return fleet.planned_rate_per_replica_per_s
    utilization, capacity = fleet.utilization_at_peak.value, fleet.capacity_per_instance_per_s.value
    if utilization is None or capacity is None or not fleet.instances:
        return None
    needed = max(1, fleet.instances - (fleet.spare_instances or 0))
    return utilization * capacity * fleet.instances / needed / (fleet.replicas_per_instance or 1)


def compute_confidence(instances: int, capacity: Capacity, demand: Demand) -> float:
    """Return the probability that the instances together sustain the peak; 0 for none."""
    if instances < 1:
        return 0.0
    margin = math.log(instances * capacity.per_s / demand.peak_per_s)
    sigma = math.hypot(capacity.sigma, demand.peak_sigma)
    if sigma == 0:
        return 1.0 if margin >= -1e-9 else 0.0
    return _NORMAL.cdf(margin / sigma)


def compute_probabilities(needed: int, capacity: Capacity, demand: Demand) -> SloProbabilities:
    return SloProbabilities(*(compute_confidence(needed + additional, capacity, demand) for additional in (-1, 0, 1)))


def compute_spot_probabilities(instances: int, spares: int, capacity: Capacity, demand: Demand) -> SloProbabilities:
    """Return the probabilities of `compute_probabilities` for spot instances.

    Each of them is unavailable for a share of the time. The spares replace interrupted instances; beyond the spares
    fewer instances serve the peak.
    """
    return SloProbabilities(
        *(_spot_probability(instances + additional, spares, capacity, demand) for additional in (-1, 0, 1))
    )


def count_spot_spares(needed: int, spares: int, capacity: Capacity, demand: Demand) -> int:
    """Return the fewest additional instances with which spot instances reach the confidence; at most `needed`."""
    for additional in range(needed):
        if reaches_confidence(_spot_probability(needed + spares + additional, spares, capacity, demand), demand):
            return additional
    return needed


def reaches_confidence(probability: float, demand: Demand) -> bool:
    return probability >= _NORMAL.cdf(demand.z) - 1e-9


def _spot_probability(instances: int, spares: int, capacity: Capacity, demand: Demand) -> float:
    """Return the probability for spot instances.

    Interruptions are independent of each other. Spares for failures and updates have no other use.
    """
    log_missing, log_present = math.log(SPOT_MISSING_SHARE), math.log1p(-SPOT_MISSING_SHARE)
    mean = SPOT_MISSING_SHARE * instances
    max_gone = min(instances, math.ceil(mean + 10 * math.sqrt(mean) + 10))
    return min(
        1.0,
        math.fsum(
            math.exp(
                math.lgamma(instances + 1) - math.lgamma(gone + 1) - math.lgamma(instances - gone + 1)
                + gone * log_missing + (instances - gone) * log_present
            )
            * compute_confidence(instances - max(spares, gone), capacity, demand)
            for gone in range(max(0, max_gone) + 1)
        ),
    )  # fmt: skip


def estimate_instance_range(capacity: Capacity, demand: Demand) -> Spread:
    """Return the range of the number of instances; its minimum assumes the service model beyond the observed rates."""
    min_instances = _min_instances(demand, capacity, Z80)
    return Spread(min_instances, *(count_instances(demand, capacity, z) for z in (0.0, Z80)))


def _min_instances(demand: Demand, capacity: Capacity, z: float) -> int:
    """Return the lower end of the number of instances.

    Never fewer than the service model's maximum throughput needs for the lowest peak.
    """
    needed = count_instances_at_rate(demand, capacity.upper_quantile_per_s(0.0), capacity.sigma, -z)
    return max(needed, count_instances_at_rate(demand, max(capacity.max_throughput_per_s, capacity.per_s), 0.0, -z))


def estimate_cost_range(
    needed: Spread, usd_per_hour: float, price_sigma: float, demand: Demand, spot_spares: int = 0
) -> Spread:
    """Return the range of the monthly cost from the uncertainty of the need and of the price."""
    counts = [
        round(count) + demand.count_spares(round(count)) + spot_spares for count in (needed.p10, needed.p50, needed.p90)
    ]
    middle = compute_monthly_cost(counts[1], usd_per_hour)
    ends = []
    for sign, count in ((-1, counts[0]), (1, counts[2])):
        log_ratio = math.log(count / counts[1])
        ends.append(middle * math.exp(sign * math.hypot(log_ratio, Z80 * price_sigma)))
    return Spread(ends[0], middle, ends[1])


def compute_monthly_cost(instances: int, usd_per_hour_each: float) -> float:
    return HOURS_PER_MONTH * instances * usd_per_hour_each


def estimate_monthly_cost(
    instances: int,
    usd_per_hour_each: float,
    capacity: Capacity,
    demand: Demand,
    price_sigma: float = 0.0,
    spot_spares: int = 0,
) -> Estimate:
    """Return the monthly cost with its interval.

    The interval is the cost of the fleet resized to either end of its capacity's 95 % interval, and the possible change
    of its price: `price_sigma` is the sigma of its logarithm.
    """
    min_instances = _min_instances(demand, capacity, Z95)
    counts = (min_instances, count_instances(demand, capacity, Z95))
    min_instances, max_instances = (count + demand.count_spares(count) + spot_spares for count in counts)
    low, high = (
        sign * math.hypot(math.log(count / instances), Z95 * price_sigma)
        for sign, count in ((-1, min(min_instances, instances)), (1, max(max_instances, instances)))
    )
    cost = compute_monthly_cost(instances, usd_per_hour_each)
    return Estimate(cost, (cost * math.exp(low), cost * math.exp(high)), basis=capacity.basis)


def estimate_cost_per_1k(monthly: Estimate, demand: Demand) -> Estimate:
    """Return the monthly cost over the inferences of a month at the mean rate."""
    thousands = demand.mean_per_s * HOURS_PER_MONTH * 3600 / 1000
    if thousands == 0 or monthly.value is None or monthly.ci95 is None:
        return Estimate(None, reason="the traffic has no requests", basis=monthly.basis)
    low, high = monthly.ci95
    return Estimate(monthly.value / thousands, (low / thousands, high / thousands), basis=monthly.basis)
