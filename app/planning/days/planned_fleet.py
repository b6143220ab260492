"""Preparation of a planned fleet for simulation: service model, planned rate per replica, and
traffic of a day."""

from __future__ import annotations

import datetime
import difflib
import math

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.errors import UsageError
from app.planning.hardware.capacity import extrapolate_capacity
from app.planning.hardware.rates import Unavailable
from app.planning.language_models.assumed_model import build_assumed_replicas
from app.planning.service_models.measured import add_measured_tokens
from app.planning.service_models.service_times import speed_up
from app.planning.simulation.design import compute_max_throughput_per_s
from app.planning.sizing.demand import compute_rates_per_s, compute_year_rates_per_s
from app.planning.sizing.fleet_rate import FleetShape, build_design, build_fleet_shape, simulate_fleet
from app.planning.sizing.instances import get_planned_rate_per_s
from app.planning.sizing.slo_objectives import SloObjectives, build_slo_objectives
from app.records.plan import Fleet, Plan
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.scaling import PlannedReplica
from app.records.service import ServiceFit, ServiceModel

BIN_S = 60.0
_BINS_PER_HOUR, _BINS_PER_DAY = 60, 1440
_REQUESTS = 8_000
_MIN_IN_FLIGHT = 0.01


class PlannedFleet(msgspec.Struct, frozen=True):
    """Fleet of a plan, with the inputs of its simulation.

    `usd_per_hour_each` is the price of one instance, `planned_rate_per_s` the planned rate per
    replica in req/s, and `median_error` the median relative error of the service model.
    """

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


def prepare_fleet(
    plan: Plan, plan_inputs: PlanningInputs, offer_key: str | None, instances: int | None
) -> PlannedFleet:
    """Prepare the recommended fleet, or the fleet of the offer with the given key, for simulation.

    `instances` overrides the planned number of instances. Raises UsageError if the fleet cannot be
    simulated.
    """
    fleet = _select_fleet(plan, offer_key)
    target = _find_target(fleet, plan_inputs)
    fit = _get_fit(target)
    speed = _compute_speed(fleet, target, plan_inputs)
    plan_inputs = add_measured_tokens(plan_inputs)
    shape = build_fleet_shape(
        plan_inputs.traffic, select_day_objectives(build_slo_objectives(plan_inputs.slo)), plan_inputs.limits.router
    )
    replicas_per_instance, instance_count = fleet.replicas_per_instance, instances or fleet.instances
    planned_rate_per_s = get_planned_rate_per_s(fleet)
    assert replicas_per_instance is not None
    assert instance_count is not None
    assert fleet.usd_per_hour_each is not None
    assert planned_rate_per_s is not None
    return PlannedFleet(
        fleet=fleet,
        instances=instance_count,
        replicas_per_instance=replicas_per_instance,
        usd_per_hour_each=fleet.usd_per_hour_each,
        service=speed_up(fit.services[0].service, speed),
        shape=shape,
        planned_rate_per_s=planned_rate_per_s,
        median_error=fit.median_error,
    )


def select_day_objectives(objectives: SloObjectives) -> SloObjectives:
    """Return the objectives that apply to a simulated day. `notes` of the result lists the other
    objectives.

    A request has one limit per kind of latency, so only the highest quantile of each kind applies.
    """
    ranked_objectives = sorted(
        (objective for objective in objectives.latency_objectives if objective.quantile is not None),
        key=lambda objective: objective.quantile or 0.0,
    )
    evaluated_objectives = tuple({objective.kind: objective for objective in ranked_objectives}.values())
    notes = tuple(
        f"{objective.text} is not evaluated over a day."
        for objective in objectives.latency_objectives
        if objective not in evaluated_objectives
    )
    return SloObjectives(evaluated_objectives, objectives.share, (*objectives.notes, *notes))


def get_target_share(objectives: SloObjectives) -> float | None:
    """Return the share of requests that must meet the limits; `None` if the SLO does not set a
    share or quantile."""
    shares = [objective.quantile for objective in objectives.latency_objectives if objective.quantile is not None]
    if objectives.share is not None:
        shares.append(objectives.share)
    return max(shares, default=None)


def prepare_replica(planned_fleet: PlannedFleet, rates_per_s: Floats) -> PlannedReplica:
    """Compute the values for default autoscaler settings: planned rate, utilization and requests in
    flight per replica, and replicas by hour. `rates_per_s` are the rates of the day, one per
    minute."""
    replicas, planned_rate_per_s = planned_fleet.replicas, planned_fleet.planned_rate_per_s
    outcome = simulate_fleet(
        build_design(planned_fleet.service, planned_fleet.shape, replicas),
        planned_fleet.shape,
        planned_rate_per_s,
        _REQUESTS,
    )
    mean_latency_s = outcome.overall.latency.mean_s or 0.0
    server_latency_s = max(0.0, mean_latency_s - planned_fleet.service.outside_s)
    hourly_max_per_s = rates_per_s.reshape(-1, _BINS_PER_HOUR).max(axis=1)
    replicas_per_instance = planned_fleet.replicas_per_instance
    replicas_by_hour = tuple(
        min(
            replicas,
            replicas_per_instance * max(1, math.ceil(rate / planned_rate_per_s / replicas_per_instance - 1e-9)),
        )
        for rate in hourly_max_per_s.tolist()
    )
    return PlannedReplica(
        replicas,
        planned_rate_per_s,
        outcome.utilization,
        max(_MIN_IN_FLIGHT, planned_rate_per_s * server_latency_s),
        replicas_by_hour,
    )


def compute_day_rates_per_s(plan_inputs: PlanningInputs, date: datetime.date) -> Floats:
    """Return the rates of a date in req/s, one per minute."""
    midnight = datetime.datetime.combine(date, datetime.time())
    return compute_rates_per_s(plan_inputs.traffic, midnight, 24, BIN_S, today=plan_inputs.today)


def find_busiest_date(plan_inputs: PlanningInputs) -> datetime.date:
    """Return the date of the busiest minute in the next 12 months, for which the fleet is sized. Of
    several dates, the first is returned."""
    daily_peaks_per_s = (
        compute_year_rates_per_s(plan_inputs.traffic, plan_inputs.today).reshape(-1, _BINS_PER_DAY).max(axis=1)
    )
    return plan_inputs.today + datetime.timedelta(
        days=int(np.argmax(daily_peaks_per_s >= daily_peaks_per_s.max() * (1 - 1e-9)))
    )


def is_saturated(planned_fleet: PlannedFleet, rates_per_s: Floats) -> bool:
    """Return whether the busiest minute exceeds the max throughput of all replicas."""
    return float(rates_per_s.max()) > planned_fleet.replicas * compute_max_throughput_per_s(
        planned_fleet.service, planned_fleet.shape.lengths
    )


def _select_fleet(plan: Plan, offer_key: str | None) -> Fleet:
    if offer_key is None:
        if plan.recommendation is None:
            raise UsageError(
                "the plan recommends no fleet, so there is nothing to simulate",
                hint="See the notes of the plan for the reason.",
            )
        return plan.recommendation.fleet
    fleet = next((fleet for fleet in plan.offers if fleet.offer == offer_key), None)
    if fleet is None:
        close_matches = difflib.get_close_matches(offer_key, [fleet.offer for fleet in plan.offers], n=1)
        hint = f"Did you mean {close_matches[0]!r}?" if close_matches else "`sizewise plan` lists the offers."
        raise UsageError(f"the plan has no offer {offer_key!r}", hint=hint)
    if fleet.instances is None:
        raise UsageError(
            f"{offer_key} is excluded from this plan: {fleet.rejected}",
            hint="`sizewise plan` lists the offers that qualify.",
        )
    return fleet


def _find_target(fleet: Fleet, plan_inputs: PlanningInputs) -> MeasuredTarget:
    """Return the target that the fleet is based on: a measured target, or the assumed target of the
    fleet's accelerator.
    """
    target = next(
        (measured_target for measured_target in plan_inputs.measured if measured_target.name == fleet.measured_on), None
    )
    if target is None and plan_inputs.assumed_model is not None and fleet.accelerator is not None:
        accelerator = plan_inputs.catalog.accelerators[fleet.accelerator]
        replicas = build_assumed_replicas(accelerator, plan_inputs, build_slo_objectives(plan_inputs.slo))
        if not isinstance(replicas, Unavailable):
            target = next((replica.target for replica in replicas if replica.target.name == fleet.measured_on), None)
    return target or plan_inputs.measured[0]


def _get_fit(target: MeasuredTarget) -> ServiceFit:
    if target.fit is None:
        raise UsageError(
            f"{target.name} has no service model, so a day cannot be simulated: {target.no_fit_reason}",
            hint="Measure it with open-loop stages at several rates, such as those of a profile with load.search.",
        )
    return target.fit


def _compute_speed(fleet: Fleet, target: MeasuredTarget, plan_inputs: PlanningInputs) -> float:
    """Return the speed of the fleet's replicas relative to the measured replica."""
    if target not in plan_inputs.measured:
        return 1.0
    offer = next(catalog_offer for catalog_offer in plan_inputs.catalog.offers if catalog_offer.key == fleet.offer)
    catalog, limits = plan_inputs.catalog, plan_inputs.limits
    capacity = extrapolate_capacity(target.curve, target.hardware, offer, catalog.accelerators, limits.unmeasured_gpus)
    if isinstance(capacity, Unavailable):
        raise UsageError(f"{fleet.offer} cannot be simulated: {capacity.reason}")
    return capacity.speed
