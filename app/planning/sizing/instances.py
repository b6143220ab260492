"""Number of instances for a peak, given a lognormal capacity per instance, and the cost of the
instances.

All instances of a fleet have the same capacity error, because their capacity comes from the same
measurement. So P(n × capacity ≥ peak) = F(ln(n × median / peak) / sigma), with F the distribution
of model errors, and the smallest n that reaches the confidence is ⌈peak × exp(sigma × z) / median⌉,
with z the quantile of the confidence. The log variances of peak and capacity are added.
"""

from __future__ import annotations

import datetime
import math
from typing import TypeVar

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.hardware.capacity import Z95, Capacity
from app.planning.sizing.demand import compute_mean_per_s, compute_peak_per_s, compute_peak_sigma
from app.planning.sizing.model_error import Z80, compute_cumulative_probability, compute_quantile
from app.records.offers import PlanLimits
from app.records.plan import SloProbabilities, Spread
from app.records.result import Estimate, Fleet, Traffic

HOURS_PER_MONTH = 730
SPOT_UNAVAILABLE_SHARE = 0.01
"""Assumed share of time in which a spot instance is interrupted and not yet replaced. Price lists
do not contain this share."""
Numbers = TypeVar("Numbers", float, Floats)
"""A number, or an array of numbers that a function converts one by one."""


class Demand(msgspec.Struct, frozen=True):
    """Peak and mean rates that the replicas must serve, with the required confidence and spares.

    `peak_per_s` is the peak of the next 12 months and `mean_per_s` the current weekly mean.
    `peak_sigma` is the standard deviation of the log peak. `z` is the quantile of the confidence.
    """

    peak_per_s: float
    mean_per_s: float
    z: float
    spares: int
    peak_sigma: float = 0.0
    zones: int = 1
    """Number of zones. With several zones, the fleet must tolerate the failure of one zone."""

    def count_spares(self, needed_instances: int) -> int:
        """Return the number of spare instances for failures and updates, if `needed_instances`
        instances serve the load.

        With several zones, the spares also replace the capacity that is lost if one zone fails.
        """
        if self.zones == 1:
            return self.spares
        instances_per_zone = math.ceil(needed_instances / (self.zones - 1))
        return max(self.spares, self.zones * instances_per_zone - needed_instances)

    def count_spares_of_each(self, needed_instances: Floats) -> Floats:
        """Return the number of spare instances for each number of needed instances."""
        if self.zones == 1:
            return np.full_like(needed_instances, self.spares)
        instances_per_zone = np.ceil(needed_instances / (self.zones - 1))
        return np.maximum(self.spares, self.zones * instances_per_zone - needed_instances)


def build_demand(traffic: Traffic, limits: PlanLimits, today: datetime.date | None = None) -> Demand:
    """Build the demand from the traffic and the plan limits. Campaigns are included only if `today`
    is set."""
    return Demand(
        peak_per_s=compute_peak_per_s(traffic, today),
        mean_per_s=compute_mean_per_s(traffic),
        z=compute_quantile(limits.confidence),
        spares=limits.redundancy + limits.max_unavailable,
        peak_sigma=compute_peak_sigma(traffic),
        zones=limits.zones,
    )


def count_instances(demand: Demand, capacity: Capacity, z: float) -> int:
    """Return the number of needed instances, without spares. `z` is the quantile of the
    confidence."""
    return count_instances_at_rate(demand, capacity.rate_per_s, capacity.sigma, z)


def count_instances_at_rate(demand: Demand, rate_per_s: float, sigma: float, z: float) -> int:
    """Return the number of needed instances if each instance sustains `rate_per_s`, with `sigma` as
    the standard deviation of the log rate."""
    sigma = math.hypot(sigma, demand.peak_sigma)
    return max(1, math.ceil(demand.peak_per_s * math.exp(sigma * z) / rate_per_s - 1e-9))


def count_instances_for_each(peaks_per_s: Floats, capacity: Capacity, demand: Demand) -> Floats:
    """Return the number of needed instances, without spares, for each peak, at the plan's
    confidence."""
    sigma = math.hypot(capacity.sigma, demand.peak_sigma)
    return np.maximum(1, np.ceil(peaks_per_s * math.exp(sigma * demand.z) / capacity.rate_per_s - 1e-9))


def compute_sustained_peak_per_s(instances: Numbers, capacity: Capacity, demand: Demand) -> Numbers:
    """Return the highest peak in req/s that the fleet's instances sustain at the plan's
    confidence."""
    return instances * capacity.rate_per_s * math.exp(-demand.z * math.hypot(capacity.sigma, demand.peak_sigma))


def get_planned_rate_per_s(fleet: Fleet) -> float | None:
    """Return the planned rate per replica in req/s; `None` if the fleet was not sized.

    For plan files of version 0.1.0, which do not contain the planned rate, the rate is the peak
    divided by the number of needed replicas.
    """
    if fleet.planned_rate_per_replica_per_s is not None:
        return fleet.planned_rate_per_replica_per_s
    utilization, capacity = fleet.utilization_at_peak.value, fleet.capacity_per_instance_per_s.value
    if utilization is None or capacity is None or not fleet.instances:
        return None
    needed_instances = max(1, fleet.instances - (fleet.spare_instances or 0))
    return utilization * capacity * fleet.instances / needed_instances / (fleet.replicas_per_instance or 1)


def compute_confidence(instances: int, capacity: Capacity, demand: Demand) -> float:
    """Return the probability that `instances` instances together sustain the peak; 0 without
    instances."""
    if instances < 1:
        return 0.0
    log_margin = math.log(instances * capacity.rate_per_s / demand.peak_per_s)
    sigma = math.hypot(capacity.sigma, demand.peak_sigma)
    if sigma == 0:
        return 1.0 if log_margin >= -1e-9 else 0.0
    return compute_cumulative_probability(log_margin / sigma)


def compute_probabilities(needed_instances: int, capacity: Capacity, demand: Demand) -> SloProbabilities:
    return SloProbabilities(
        *(compute_confidence(needed_instances + extra_instances, capacity, demand) for extra_instances in (-1, 0, 1))
    )


def compute_spot_probabilities(instances: int, spares: int, capacity: Capacity, demand: Demand) -> SloProbabilities:
    """Return the probabilities that the SLO is met with one spot instance fewer than `instances`,
    with `instances`, and with one more.

    Spares replace interrupted instances. If more instances are interrupted than there are spares,
    the remaining instances serve the peak.
    """
    return SloProbabilities(
        *(
            _compute_spot_probability(instances + extra_instances, spares, capacity, demand)
            for extra_instances in (-1, 0, 1)
        )
    )


def count_spot_spares(needed_instances: int, spares: int, capacity: Capacity, demand: Demand) -> int:
    """Return the minimum number of additional instances with which a spot fleet reaches the plan's
    confidence; at most `needed_instances`.
    """
    for extra_instances in range(needed_instances):
        if reaches_confidence(
            _compute_spot_probability(needed_instances + spares + extra_instances, spares, capacity, demand), demand
        ):
            return extra_instances
    return needed_instances


def reaches_confidence(probability: float, demand: Demand) -> bool:
    return probability >= compute_cumulative_probability(demand.z) - 1e-9


def _compute_spot_probability(instances: int, spares: int, capacity: Capacity, demand: Demand) -> float:
    """Return the probability that spot instances sustain the peak.

    Interruptions are assumed to be independent. All spares for failures and updates are assumed to
    be available as replacements.
    """
    log_unavailable, log_available = math.log(SPOT_UNAVAILABLE_SHARE), math.log1p(-SPOT_UNAVAILABLE_SHARE)
    mean_interrupted = SPOT_UNAVAILABLE_SHARE * instances
    max_interrupted = min(instances, math.ceil(mean_interrupted + 10 * math.sqrt(mean_interrupted) + 10))
    return min(
        1.0,
        math.fsum(
            math.exp(
                math.lgamma(instances + 1) - math.lgamma(interrupted + 1) - math.lgamma(instances - interrupted + 1)
                + interrupted * log_unavailable + (instances - interrupted) * log_available
            )
            * compute_confidence(instances - max(spares, interrupted), capacity, demand)
            for interrupted in range(max(0, max_interrupted) + 1)
        ),
    )  # fmt: skip


def estimate_instance_range(capacity: Capacity, demand: Demand) -> Spread:
    """Return P10, P50 and P90 of the number of instances.

    P10 assumes that the service model is correct beyond the observed rates.
    """
    min_instances = _count_min_instances(demand, capacity, Z80)
    return Spread(min_instances, *(count_instances(demand, capacity, z) for z in (0.0, Z80)))


def _count_min_instances(demand: Demand, capacity: Capacity, z: float) -> int:
    """Return the lower bound of the number of needed instances at the normal quantile `z`.

    The bound assumes at most the maximum throughput that the service model predicts.
    """
    needed_instances = count_instances_at_rate(demand, capacity.compute_upper_quantile_per_s(0.0), capacity.sigma, -z)
    return max(
        needed_instances,
        count_instances_at_rate(demand, max(capacity.max_throughput_per_s, capacity.rate_per_s), 0.0, -z),
    )


def estimate_cost_range(
    instance_range: Spread, usd_per_hour: float, price_sigma: float, demand: Demand, spot_spares: int = 0
) -> Spread:
    """Return P10, P50 and P90 of the monthly cost in USD, given the uncertainty of the number of
    instances and of the price.
    """
    instance_counts = [
        round(count) + demand.count_spares(round(count)) + spot_spares
        for count in (instance_range.p10, instance_range.p50, instance_range.p90)
    ]
    median_cost_usd = compute_monthly_cost(instance_counts[1], usd_per_hour)
    range_ends_usd = []
    for sign, count in ((-1, instance_counts[0]), (1, instance_counts[2])):
        log_ratio = math.log(count / instance_counts[1])
        range_ends_usd.append(median_cost_usd * math.exp(sign * math.hypot(log_ratio, Z80 * price_sigma)))
    return Spread(range_ends_usd[0], median_cost_usd, range_ends_usd[1])


def compute_monthly_cost(instances: Numbers, usd_per_hour_each: float) -> Numbers:
    return HOURS_PER_MONTH * instances * usd_per_hour_each


def estimate_monthly_cost(
    instances: int,
    usd_per_hour_each: float,
    capacity: Capacity,
    demand: Demand,
    price_sigma: float = 0.0,
    spot_spares: int = 0,
) -> Estimate:
    """Return the monthly cost in USD with its 95 % interval.

    The interval combines the uncertainty of the capacity, for which the fleet is resized, with that
    of the price. `price_sigma` is the standard deviation of the log price.
    """
    min_instances = _count_min_instances(demand, capacity, Z95)
    instance_counts = (min_instances, count_instances(demand, capacity, Z95))
    min_instances, max_instances = (count + demand.count_spares(count) + spot_spares for count in instance_counts)
    low_log_ratio, high_log_ratio = (
        sign * math.hypot(math.log(count / instances), Z95 * price_sigma)
        for sign, count in ((-1, min(min_instances, instances)), (1, max(max_instances, instances)))
    )
    cost_usd = compute_monthly_cost(instances, usd_per_hour_each)
    return Estimate(
        cost_usd, (cost_usd * math.exp(low_log_ratio), cost_usd * math.exp(high_log_ratio)), basis=capacity.basis
    )


def estimate_cost_per_1k(monthly_cost: Estimate, demand: Demand) -> Estimate:
    """Return the cost in USD per 1,000 inferences: the monthly cost divided by the number of
    inferences per month at the mean rate."""
    thousands_of_inferences = demand.mean_per_s * HOURS_PER_MONTH * 3600 / 1000
    if thousands_of_inferences == 0 or monthly_cost.value is None or monthly_cost.ci95 is None:
        return Estimate(None, reason="the traffic has no requests", basis=monthly_cost.basis)
    low, high = monthly_cost.ci95
    return Estimate(
        monthly_cost.value / thousands_of_inferences,
        (low / thousands_of_inferences, high / thousands_of_inferences),
        basis=monthly_cost.basis,
    )
