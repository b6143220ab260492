"""How many pods a plan asks for: at its peak, in its quietest hour, and by the clock."""

from __future__ import annotations

import datetime
import math
from decimal import ROUND_DOWN, Decimal

import msgspec
import numpy as np

from app.errors import UsageError
from app.planning.demand import rates_per_s
from app.planning.plan_notes import why_none_fits
from app.planning.sizing import planned_rate_per_s
from app.records.plan import Fleet, Plan
from app.records.traffic import Traffic

_MONDAY = datetime.datetime(2024, 1, 1)  # noqa: DTZ001 (local hours, as the traffic's are)
_DIGITS = 4


class Scale(msgspec.Struct, frozen=True):
    """Pods of the recommended fleet, one for each replica. `most` carries the peak at the assurance, spares included.

    `least` is the quietest hour's need, in proportion to the peak's, and the spares; so few may need a little more.
    `target_per_s` is the rate that the plan sizes a pod for, the same in the plan, in `simulate` and in every
    autoscaler. An autoscaler that aims at it runs what the load needs; spares come on top where it can add them.
    """

    most: int
    least: int
    spare: int
    per_instance: int
    target_per_s: float

    @property
    def may_be_missing(self) -> int:
        """Pods that a rollout or a drained node may take at once: one spare instance's. 0 without spares."""
        return min(self.spare, self.per_instance)


def recommended_fleet(plan: Plan) -> Fleet:
    """Raises UsageError where the plan recommends nothing."""
    if plan.recommendation is None or not plan.recommendation.fleet.instances:
        refused = [fleet for fleet in plan.offers if fleet.rejected is not None]
        why = why_none_fits(refused) if len(refused) == len(plan.offers) else "No offer fits."
        raise UsageError(
            f"the plan recommends no fleet, so there is nothing to deploy: {why}",
            hint="Loosen the plan's limits, or export its offers as CSV to see why each was refused.",
        )
    return plan.recommendation.fleet


def scale_of(plan: Plan) -> Scale:
    fleet = recommended_fleet(plan)
    each = fleet.replicas_per_instance or 1
    most = (fleet.instances or 0) * each
    spare = min(most - 1, (fleet.spare_instances or 0) * each)
    quietest = min(plan.traffic.hourly_share) * min(plan.traffic.weekly_share)
    least = _pods(quietest * plan.traffic.peak_per_s / _typical_peak_per_s(plan.traffic), most - spare) + spare
    return Scale(most, least, spare, each, _target_per_s(fleet))


def daily_pods(plan: Plan) -> tuple[int, ...]:
    """Pods of each of the 24 hours, spares included: enough for the highest rate that the hour has on any weekday.

    An hour's rate runs in a straight line to its neighbours', so one beside a busier hour needs more than its share.
    """
    scale, traffic = scale_of(plan), plan.traffic
    by_hour = _typical_week_per_s(traffic).reshape(7, 24, -1).max(axis=(0, 2))
    shares = np.asarray(traffic.hourly_share) * max(traffic.weekly_share)  # the middle of an hour is between two bins
    highest = np.maximum(by_hour, shares * traffic.peak_per_s) / _typical_peak_per_s(traffic)
    return tuple(_pods(float(share), scale.most - scale.spare) + scale.spare for share in highest)


def rounded_down(number: float) -> str:
    """Four significant digits and never an exponent: a quantity of Kubernetes, and a float anywhere."""
    exact = Decimal(str(number))
    step = Decimal(1).scaleb(exact.adjusted() - _DIGITS + 1)
    text = f"{exact.quantize(min(step, Decimal(1)), rounding=ROUND_DOWN):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _pods(share_of_peak: float, needed: int) -> int:
    return min(needed, max(1, math.ceil(share_of_peak * needed - 1e-9)))


def _target_per_s(fleet: Fleet) -> float:
    target = planned_rate_per_s(fleet)
    if target is None or not (math.isfinite(target) and target > 0):
        raise UsageError("the plan's traffic has no requests, so there is nothing to scale a fleet by")
    return target


def _typical_peak_per_s(traffic: Traffic) -> float:
    """Today's, spikes in it, before a cache: growth, campaigns and a cache change it and the other hours alike."""
    peak = max(traffic.peak_per_s, float(_typical_week_per_s(traffic).max()))
    return peak if peak > 0 else 1.0


def _typical_week_per_s(traffic: Traffic) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    still = msgspec.structs.replace(traffic, growth_per_year=0.0, campaigns=(), cache_share=0.0)
    week: np.ndarray[tuple[int], np.dtype[np.float64]] = rates_per_s(still, _MONDAY, 7 * 24)
    return week
