"""Latency as a function of the rate, interpolated between measured load points and never
extrapolated."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from statistics import fmean

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.hardware.capacity import Z90, Z95, Capacity
from app.records.offers import CapacityCurve
from app.records.result import Estimate

_LIMIT_REASON = (
    "not measured: a limit that the latency does not exceed with a probability of 90 %; the errors of estimates differ "
    "too much between servers for a value"
)
_NO_LIMIT_REASON = "no limit: the peak is beyond the max rate at the lower bound of the capacity"


class LatencyCurve(msgspec.Struct, frozen=True):
    """Non-decreasing latency curve, with linear interpolation of log latency.

    Rates go from the lowest measured rate to at most `max_rate_per_s`; `log_latencies` are
    logarithms of ms.
    """

    rates_per_s: tuple[float, ...]
    log_latencies: tuple[float, ...]
    max_rate_per_s: float

    def interpolate_ms(self, rate_per_s: float) -> float | None:
        """Return the latency in ms at a rate; `None` beyond the max rate or if the curve has no
        points.

        Below the lowest measured rate, the result is the latency at the lowest measured rate.
        """
        if not self.rates_per_s or rate_per_s > self.max_rate_per_s * (1 + 1e-9):
            return None
        upper_index = bisect.bisect_left(self.rates_per_s, rate_per_s)
        if upper_index == 0:
            return math.exp(self.log_latencies[0])
        if upper_index == len(self.rates_per_s):
            return math.exp(self.log_latencies[-1])
        lower_rate_per_s, upper_rate_per_s = self.rates_per_s[upper_index - 1], self.rates_per_s[upper_index]
        lower_log_ms, upper_log_ms = self.log_latencies[upper_index - 1], self.log_latencies[upper_index]
        return math.exp(
            lower_log_ms
            + (upper_log_ms - lower_log_ms) * (rate_per_s - lower_rate_per_s) / (upper_rate_per_s - lower_rate_per_s)
        )

    def interpolate_each_ms(self, rates_per_s: Floats) -> Floats:
        """Return what `interpolate_ms` returns for each of the rates, to the last bit; infinite
        where that is `None`."""
        if not self.rates_per_s:
            return np.full(len(rates_per_s), np.inf)
        points_per_s, log_points = np.array(self.rates_per_s), np.array(self.log_latencies)
        upper = np.searchsorted(points_per_s, rates_per_s)
        lower, upper = np.maximum(upper - 1, 0), np.minimum(upper, len(points_per_s) - 1)
        widths_per_s = np.where(upper > lower, points_per_s[upper] - points_per_s[lower], 1.0)
        log_latencies = (
            log_points[lower]
            + (log_points[upper] - log_points[lower]) * (rates_per_s - points_per_s[lower]) / widths_per_s
        )
        latencies_ms = np.array([math.exp(log_ms) for log_ms in log_latencies.tolist()])  # np.exp rounds differently
        return np.where(rates_per_s > self.max_rate_per_s * (1 + 1e-9), np.inf, latencies_ms)

    def scale_rates(self, factor: float) -> LatencyCurve:
        """Return a copy of the curve with all rates multiplied by `factor`; latencies are
        unchanged."""
        rates_per_s = tuple(rate * factor for rate in self.rates_per_s)
        return LatencyCurve(rates_per_s, self.log_latencies, self.max_rate_per_s * factor)


def build_latency_curve(curve: CapacityCurve) -> LatencyCurve:
    """Build the latency curve of a measurement.

    Log latencies of repeats at the same rate are averaged, and isotonic regression removes
    decreases.
    """
    log_latencies_by_rate: dict[float, list[float]] = defaultdict(list)
    for point in curve.points:
        if point.latency_ms is not None and point.latency_ms > 0 and point.offered_per_s <= curve.max_rate_per_s:
            log_latencies_by_rate[point.offered_per_s].append(math.log(point.latency_ms))
    rates_per_s = sorted(log_latencies_by_rate)
    log_latencies = _fit_isotonic(
        [(fmean(log_latencies_by_rate[rate]), len(log_latencies_by_rate[rate])) for rate in rates_per_s]
    )
    return LatencyCurve(tuple(rates_per_s), tuple(log_latencies), curve.max_rate_per_s)


def estimate_latency_at_peak(curve: LatencyCurve, utilization: float, capacity: Capacity) -> Estimate:
    """Return the latency in ms of an instance at a utilization, with an interval.

    For a machine k times as fast as the measured machine, the measured rates are multiplied by k
    and the latencies divided by k. The interval spans the uncertainty of k. If the slowest machine
    in this range is beyond its max rate, the estimate has no interval, and `reason` says so.
    """
    latency_ms = curve.interpolate_ms(utilization * curve.max_rate_per_s)
    if latency_ms is None:
        missing_reason = "latency was not measured" if not curve.rates_per_s else "the peak is beyond the max rate"
        return Estimate(None, basis=capacity.basis, reason=missing_reason)
    is_below_lowest = bool(curve.rates_per_s) and utilization * curve.max_rate_per_s < curve.rates_per_s[0]
    reason = (
        "the peak is below the lowest measured rate, so the latency is that at the lowest measured rate"
        if is_below_lowest
        else None
    )
    if capacity.basis == "measured":
        return Estimate(latency_ms, basis="interpolated", reason=reason)
    speed_factor = capacity.compute_quantile_per_s(Z95) / capacity.rate_per_s
    fastest_ms, slowest_ms = (
        curve.interpolate_ms(utilization * factor * curve.max_rate_per_s) for factor in (1 / speed_factor, speed_factor)
    )
    if fastest_ms is None or slowest_ms is None:
        reason = "no interval: the peak is beyond the max rate at the lower bound of the capacity"
        return Estimate(latency_ms, basis="extrapolated", reason=reason)
    return Estimate(
        latency_ms, (fastest_ms / speed_factor, slowest_ms * speed_factor), basis="extrapolated", reason=reason
    )


def estimate_latency_limit(curve: LatencyCurve, utilization: float, capacity: Capacity, sigma: float) -> Estimate:
    """Return a latency in ms that an instance at a utilization does not exceed with a probability of
    about 90 %.

    The latency at the 10 % quantile of the capacity is multiplied by the 90 % quantile of the error
    of the latency, whose logarithm has the standard deviation `sigma`.
    """
    capacity_factor = capacity.rate_per_s / capacity.compute_quantile_per_s(-Z90)
    latency_ms = curve.interpolate_ms(utilization * capacity_factor * curve.max_rate_per_s)
    if latency_ms is None:
        reason = "latency was not measured" if not curve.rates_per_s else _NO_LIMIT_REASON
        return Estimate(None, basis=capacity.basis, reason=reason)
    return Estimate(latency_ms * math.exp(Z90 * sigma), basis="extrapolated", reason=_LIMIT_REASON)


def _fit_isotonic(weighted_levels: list[tuple[float, int]]) -> list[float]:
    """Return the non-decreasing sequence closest to the levels in least squares, by pooling
    adjacent violators. `weighted_levels` holds pairs of level and weight.
    """
    pools: list[tuple[float, int, int]] = []
    for level, weight in weighted_levels:
        pool = (level, weight, 1)
        while pools and pools[-1][0] > pool[0]:
            previous_pool = pools.pop()
            total_weight = previous_pool[1] + pool[1]
            pooled_mean = (previous_pool[0] * previous_pool[1] + pool[0] * pool[1]) / total_weight
            pool = (pooled_mean, total_weight, previous_pool[2] + pool[2])
        pools.append(pool)
    return [level for level, _, count in pools for _ in range(count)]
