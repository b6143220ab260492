"""Number of pods that a plan needs: at its peak, in its quietest hour, and by hour of the day."""

from __future__ import annotations

import datetime
import math
from decimal import ROUND_DOWN, Decimal

import msgspec
import numpy as np

from app.errors import UsageError
from app.planning.demand import compute_rates_per_s
from app.planning.plan_notes import explain_no_fit
from app.planning.sizing import get_planned_rate_per_s
from app.records.plan import Fleet, Plan
from app.records.traffic import Traffic

_MONDAY = datetime.datetime(2024, 1, 1)  # noqa: DTZ001 (local hours, as the traffic's are)
_DIGITS = 4


class Scale(msgspec.Struct, frozen=True):
    """Pods of the recommended fleet, one for each replica.

    `max_pods` serves the peak at the plan's confidence, spares included. `min_pods` is the quietest hour's need in
    proportion to the peak's, plus the spares; a fleet this small may need slightly more.

    `target_per_s` is the rate that the plan sizes a pod for, the same in the plan, in `simulate` and in every
    autoscaler. An autoscaler that aims at it runs the pods that the load needs; spares are added where it can add them.
    """

    max_pods: int
    min_pods: int
    spare_pods: int
    pods_per_instance: int
    target_per_s: float

    @property
    def max_unavailable(self) -> int:
        """Pods that a rollout or a drained node may take out at once: those of one spare instance; 0 without spares."""
        return min(self.spare_pods, self.pods_per_instance)


def recommended_fleet(plan: Plan) -> Fleet:
    """Return the recommended fleet. Raises UsageError where the plan recommends nothing."""
    if plan.recommendation is None or not plan.recommendation.fleet.instances:
        refused = [fleet for fleet in plan.offers if fleet.rejected is not None]
        why = explain_no_fit(refused) if len(refused) == len(plan.offers) else "No instance type qualifies."
        raise UsageError(
            f"the plan recommends no fleet, so there is nothing to deploy: {why}",
            hint="Relax the plan's limits, or export its options as CSV to see why each was excluded.",
        )
    return plan.recommendation.fleet


def compute_scale(plan: Plan) -> Scale:
    fleet = recommended_fleet(plan)
    per_instance = fleet.replicas_per_instance or 1
    max_pods = (fleet.instances or 0) * per_instance
    spare = min(max_pods - 1, (fleet.spare_instances or 0) * per_instance)
    quietest = min(plan.traffic.hourly_share) * min(plan.traffic.weekly_share)
    min_pods = _pods(quietest * plan.traffic.peak_per_s / _typical_peak_per_s(plan.traffic), max_pods - spare) + spare
    return Scale(max_pods, min_pods, spare, per_instance, _target_per_s(fleet))


def compute_daily_pods(plan: Plan) -> tuple[int, ...]:
    """Return the pods of each of the 24 hours, spares included: enough for the hour's highest rate on any weekday.

    The rate is linear between the middles of hours, so an hour beside a busier one needs more than its share.
    """
    scale, traffic = compute_scale(plan), plan.traffic
    by_hour = _typical_week_per_s(traffic).reshape(7, 24, -1).max(axis=(0, 2))
    shares = np.asarray(traffic.hourly_share) * max(traffic.weekly_share)  # the middle of an hour is between two bins
    highest = np.maximum(by_hour, shares * traffic.peak_per_s) / _typical_peak_per_s(traffic)
    return tuple(_pods(float(share), scale.max_pods - scale.spare_pods) + scale.spare_pods for share in highest)


def format_rounded_down(number: float) -> str:
    """Return the number with four significant digits, rounded down and without an exponent.

    The result is valid as a Kubernetes quantity and as a float.
    """
    exact = Decimal(str(number))
    step = Decimal(1).scaleb(exact.adjusted() - _DIGITS + 1)
    text = f"{exact.quantize(min(step, Decimal(1)), rounding=ROUND_DOWN):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _pods(share_of_peak: float, needed: int) -> int:
    return min(needed, max(1, math.ceil(share_of_peak * needed - 1e-9)))


def _target_per_s(fleet: Fleet) -> float:
    target = get_planned_rate_per_s(fleet)
    if target is None or not (math.isfinite(target) and target > 0):
        raise UsageError("the plan's traffic has no requests, so a fleet cannot be scaled by it")
    return target


def _typical_peak_per_s(traffic: Traffic) -> float:
    """Return today's peak with spikes, before the cache.

    Growth, campaigns and cache change all hours by the same factor.
    """
    peak = max(traffic.peak_per_s, float(_typical_week_per_s(traffic).max()))
    return peak if peak > 0 else 1.0


def _typical_week_per_s(traffic: Traffic) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    current = msgspec.structs.replace(traffic, growth_per_year=0.0, campaigns=(), cache_share=0.0)
    week: np.ndarray[tuple[int], np.dtype[np.float64]] = compute_rates_per_s(current, _MONDAY, 7 * 24)
    return week
