"""Number of pods that a plan needs: at the peak, in the quietest hour, and by hour of the day."""

from __future__ import annotations

import datetime
import math
from decimal import ROUND_DOWN, Decimal

import msgspec
import numpy as np

from app.errors import UsageError
from app.planning.plan_notes import explain_no_fit
from app.planning.sizing.demand import compute_rates_per_s
from app.planning.sizing.instances import get_planned_rate_per_s
from app.records.plan import Fleet, Plan
from app.records.traffic import Traffic

_MONDAY = datetime.datetime(2024, 1, 1)  # noqa: DTZ001 (the traffic's hours are local time)
_SIGNIFICANT_DIGITS = 4


class Scale(msgspec.Struct, frozen=True):
    """Pods of the recommended fleet, one per replica.

    `max_pods` includes spares and sustains the peak at the plan's confidence. `min_pods` is the
    number of pods for the quietest hour, including spares. The number is proportional to the rate,
    so a very small fleet may need slightly more pods.

    `target_per_s` is the planned rate per pod in req/s, which `sizewise simulate` and all
    autoscalers use as well. With this target, an autoscaler runs as many pods as the load needs.
    Spares are added if the autoscaler supports them.
    """

    max_pods: int
    min_pods: int
    spare_pods: int
    pods_per_instance: int
    target_per_s: float
    max_unavailable: int
    """Maximum number of pods that a rollout or node drain may make unavailable at once: the pods of
    `plan.max_unavailable` instances, or else of one spare instance; 0 without spares."""


def get_recommended_fleet(plan: Plan) -> Fleet:
    """Return the recommended fleet. Raises UsageError if the plan recommends no fleet."""
    if plan.recommendation is None or not plan.recommendation.fleet.instances:
        excluded_fleets = [fleet for fleet in plan.offers if fleet.rejected is not None]
        reason = (
            explain_no_fit(excluded_fleets)
            if len(excluded_fleets) == len(plan.offers)
            else "No instance type qualifies."
        )
        raise UsageError(
            f"the plan recommends no fleet, so there is nothing to deploy: {reason}",
            hint="Relax the plan's limits, or export its offers as CSV to see why each was excluded.",
        )
    return plan.recommendation.fleet


def compute_scale(plan: Plan) -> Scale:
    """Return the pod counts and the autoscaling target of the recommended fleet. The minimum covers the quietest hour
    of the quietest weekday, plus the spares. Raises UsageError without a recommendation."""
    fleet = get_recommended_fleet(plan)
    pods_per_instance = fleet.replicas_per_instance or 1
    max_pods = (fleet.instances or 0) * pods_per_instance
    spare_pods = min(max_pods - 1, (fleet.spare_instances or 0) * pods_per_instance)
    min_share = min(plan.traffic.hourly_share) * min(plan.traffic.weekly_share)
    min_pods = (
        _count_pods(
            min_share * plan.traffic.peak_per_s / _compute_typical_peak_per_s(plan.traffic), max_pods - spare_pods
        )
        + spare_pods
    )
    max_unavailable = min(spare_pods, max(1, plan.max_unavailable) * pods_per_instance)
    return Scale(max_pods, min_pods, spare_pods, pods_per_instance, _get_target_per_s(fleet), max_unavailable)


def compute_hourly_pods(plan: Plan) -> tuple[int, ...]:
    """Return the number of pods, including spares, for each of the 24 hours, sufficient for the
    hour's peak on any weekday.

    The rate is interpolated linearly between the midpoints of the hours. An hour next to a busier
    hour therefore needs more pods than its own share requires.
    """
    scale, traffic = compute_scale(plan), plan.traffic
    max_rates_per_s = _compute_typical_week_per_s(traffic).reshape(7, 24, -1).max(axis=(0, 2))
    shares = np.asarray(traffic.hourly_share) * max(traffic.weekly_share)  # the middle of an hour is between two bins
    peak_shares = np.maximum(max_rates_per_s, shares * traffic.peak_per_s) / _compute_typical_peak_per_s(traffic)
    return tuple(
        _count_pods(float(share), scale.max_pods - scale.spare_pods) + scale.spare_pods for share in peak_shares
    )


def format_rounded_down(number: float) -> str:
    """Format a number with four significant digits, rounded down, without an exponent.

    The result is valid as a Kubernetes quantity and as a float.
    """
    exact_number = Decimal(str(number))
    step = Decimal(1).scaleb(exact_number.adjusted() - _SIGNIFICANT_DIGITS + 1)
    text = f"{exact_number.quantize(min(step, Decimal(1)), rounding=ROUND_DOWN):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _count_pods(share_of_peak: float, needed_pods: int) -> int:
    return min(needed_pods, max(1, math.ceil(share_of_peak * needed_pods - 1e-9)))


def _get_target_per_s(fleet: Fleet) -> float:
    target_per_s = get_planned_rate_per_s(fleet)
    if target_per_s is None or not (math.isfinite(target_per_s) and target_per_s > 0):
        raise UsageError("the plan's traffic has no requests, so a fleet cannot be scaled by its rate")
    return target_per_s


def _compute_typical_peak_per_s(traffic: Traffic) -> float:
    """Return the peak rate of a typical week in req/s, including spikes, before the cache; 1 if
    there is no traffic.

    Growth, campaigns and the cache are excluded, since they change all hours by the same factor.
    """
    peak_per_s = max(traffic.peak_per_s, float(_compute_typical_week_per_s(traffic).max()))
    return peak_per_s if peak_per_s > 0 else 1.0


def _compute_typical_week_per_s(traffic: Traffic) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    current_traffic = msgspec.structs.replace(traffic, growth_per_year=0.0, campaigns=(), cache_share=0.0)
    rates_per_s: np.ndarray[tuple[int], np.dtype[np.float64]] = compute_rates_per_s(current_traffic, _MONDAY, 7 * 24)
    return rates_per_s
