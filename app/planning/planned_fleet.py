"""Fleet of a plan prepared for simulation.

Includes its replicas' service model, the rate each is sized for, and the days that can be simulated.
"""

from __future__ import annotations

import datetime
import difflib
import math

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.errors import UsageError
from app.planning.assumed_model import build_assumed_target
from app.planning.capacity import extrapolate_capacity
from app.planning.demand import compute_rates_per_s, compute_year_rates_per_s
from app.planning.fleet_rate import FleetShape, build_design, build_fleet_shape, simulate_fleet
from app.planning.goals import Goals, build_goals
from app.planning.rates import Refusal
from app.planning.service_models.measured import add_measured_tokens
from app.planning.service_models.service_times import speed_up
from app.planning.simulation.design import compute_max_throughput_per_s
from app.planning.sizing import get_planned_rate_per_s
from app.records.plan import Fleet, Plan
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.scaling import PlannedReplica
from app.records.service import ServiceFit, ServiceModel

BIN_S = 60.0
_BINS_PER_HOUR, _BINS_PER_DAY = 60, 1440
_REQUESTS = 8_000
_MIN_IN_FLIGHT = 0.01


class PlannedFleet(msgspec.Struct, frozen=True):
    """Planned fleet. `replicas` are those of all `instances`; `sized_per_s` is the planned rate of each."""

    fleet: Fleet
    instances: int
    replicas_per_instance: int
    usd_per_hour_each: float
    service: ServiceModel
    shape: FleetShape
    planned_rate_per_s: float
    median_error: float

    @property
    def replicas(self) -> int:
        return self.instances * self.replicas_per_instance


def prepare_fleet(plan: Plan, question: PlanningInputs, offer_key: str | None, instances: int | None) -> PlannedFleet:
    """Return the recommended fleet, or that of the offer with this key.

    Raises UsageError where it cannot be simulated.
    """
    fleet = _fleet(plan, offer_key)
    target = _target(fleet, question)
    fit = _fit(target)
    speed = _speed(fleet, target, question)
    question = add_measured_tokens(question)
    shape = build_fleet_shape(question.traffic, select_day_goals(build_goals(question.slo)), question.limits.router)
    per_instance, count = fleet.replicas_per_instance, instances or fleet.instances
    sized_per_s = get_planned_rate_per_s(fleet)
    assert per_instance is not None
    assert count is not None
    assert fleet.usd_per_hour_each is not None
    assert sized_per_s is not None
    return PlannedFleet(
        fleet=fleet,
        instances=count,
        replicas_per_instance=per_instance,
        usd_per_hour_each=fleet.usd_per_hour_each,
        service=speed_up(fit.services[0].service, speed),
        shape=shape,
        planned_rate_per_s=sized_per_s,
        median_error=fit.median_error,
    )


def select_day_goals(goals: Goals) -> Goals:
    """Return the goals of a simulated day.

    Of several quantiles of one time only the highest is used, since a request has one limit per time.
    """
    ranked = sorted(
        (goal for goal in goals.time_goals if goal.quantile is not None), key=lambda goal: goal.quantile or 0.0
    )
    evaluated = tuple({goal.time: goal for goal in ranked}.values())
    notes = tuple(f"{goal.text} is not evaluated over a day." for goal in goals.time_goals if goal not in evaluated)
    return Goals(evaluated, goals.share, (*goals.notes, *notes))


def required_share(goals: Goals) -> float | None:
    """Return the share of the requests that has to be good; `None` where the SLO does not set one."""
    shares = [goal.quantile for goal in goals.time_goals if goal.quantile is not None]
    if goals.share is not None:
        shares.append(goals.share)
    return max(shares, default=None)


def prepare_replica(planned: PlannedFleet, rates: Floats) -> PlannedReplica:
    """Return the default settings of an autoscaler for a day of these rates, one per minute."""
    replicas, per_s = planned.replicas, planned.planned_rate_per_s
    outcome = simulate_fleet(build_design(planned.service, planned.shape, replicas), planned.shape, per_s, _REQUESTS)
    mean_s = outcome.overall.latency.mean_s or 0.0
    held_s = max(0.0, mean_s - planned.service.outside_s)
    busiest = rates.reshape(-1, _BINS_PER_HOUR).max(axis=1)
    per_instance = planned.replicas_per_instance
    by_hour = tuple(
        min(replicas, per_instance * max(1, math.ceil(rate / per_s / per_instance - 1e-9))) for rate in busiest.tolist()
    )
    return PlannedReplica(replicas, per_s, outcome.utilization, max(_MIN_IN_FLIGHT, per_s * held_s), by_hour)


def compute_day_rates(question: PlanningInputs, date: datetime.date) -> Floats:
    """Return the rates of the day, one per minute."""
    midnight = datetime.datetime.combine(date, datetime.time())
    return compute_rates_per_s(question.traffic, midnight, 24, BIN_S, today=question.today)


def find_busiest_date(question: PlanningInputs) -> datetime.date:
    """Return the day of the next 12 months with the busiest minute, for which the fleet is sized.

    It is the first of several such days.
    """
    peaks = compute_year_rates_per_s(question.traffic, question.today).reshape(-1, _BINS_PER_DAY).max(axis=1)
    return question.today + datetime.timedelta(days=int(np.argmax(peaks >= peaks.max() * (1 - 1e-9))))


def is_saturated(planned: PlannedFleet, rates: Floats) -> bool:
    """Return whether the busiest minute exceeds the maximum throughput of the replicas."""
    return float(rates.max()) > planned.replicas * compute_max_throughput_per_s(planned.service, planned.shape.lengths)


def _fleet(plan: Plan, key: str | None) -> Fleet:
    if key is None:
        if plan.recommendation is None:
            raise UsageError(
                "the plan recommends no fleet, so there is nothing to simulate",
                hint="See the notes of the plan for the reason.",
            )
        return plan.recommendation.fleet
    match = next((fleet for fleet in plan.offers if fleet.offer == key), None)
    if match is None:
        near = difflib.get_close_matches(key, [fleet.offer for fleet in plan.offers], n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "`sizewise plan` lists the offers."
        raise UsageError(f"the plan has no offer {key!r}", hint=hint)
    if match.instances is None:
        raise UsageError(f"{key} is excluded from this plan: {match.rejected}")
    return match


def _target(fleet: Fleet, question: PlanningInputs) -> MeasuredTarget:
    """Return the target that the fleet is based on, or the assumed one of its card where no measurement applies."""
    target = next((measured for measured in question.measured if measured.name == fleet.measured_on), None)
    if target is None and question.assumed_model is not None and fleet.accelerator is not None:
        card = question.catalog.accelerators[fleet.accelerator]
        assumed = build_assumed_target(card, question, build_goals(question.slo))
        target = None if isinstance(assumed, Refusal) else assumed
    return target or question.measured[0]


def _fit(target: MeasuredTarget) -> ServiceFit:
    if target.fit is None:
        raise UsageError(
            f"{target.name} has no service model, so a day cannot be simulated: {target.no_fit_reason}",
            hint="Measure it with open-loop stages at several rates, such as those of a profile with load.search.",
        )
    return target.fit


def _speed(fleet: Fleet, target: MeasuredTarget, question: PlanningInputs) -> float:
    """Return the speed of one of the fleet's replicas relative to the measured replica."""
    if target not in question.measured:
        return 1.0
    offer = next(candidate for candidate in question.catalog.offers if candidate.key == fleet.offer)
    catalogue, limits = question.catalog, question.limits
    capacity = extrapolate_capacity(
        target.curve, target.hardware, offer, catalogue.accelerators, limits.unmeasured_gpus
    )
    if isinstance(capacity, Refusal):
        raise UsageError(f"{fleet.offer} cannot be simulated: {capacity.reason}")
    return capacity.speed
