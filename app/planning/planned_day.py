"""Simulation of one day of a planned fleet, with attainment, replicas and cost per instance."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.bursts import find_modulation
from app.planning.day import simulate_fleet_day
from app.planning.day_text import format_day, format_day_notes, format_request_counts
from app.planning.fleet_rate import build_design
from app.planning.planned_fleet import BIN_S, PlannedFleet, compute_day_rates, get_required_share
from app.planning.simulation.design import FleetDesign
from app.records.day import DayMinute, DayOutcome, Range, SimulatedDay, SimulatedHour
from app.records.offers import Router
from app.records.planning_inputs import PlanningInputs
from app.records.scaling import Autoscaler, Fixed, Operations

_HOUR_S = 3600.0
_SLOT_S, _IDLE_SLOT_S = 1.0, 60.0
_MINUTES_PER_HOUR = 60


class DayOptions(msgspec.Struct, frozen=True):
    """Options of a simulated day; if `router` is `None`, the router of the plan is used."""

    date: datetime.date
    autoscaler: Autoscaler
    operations: Operations
    timeout_s: float = math.inf
    queue_limit: int = 10_000
    router: Router | None = None
    seed: int = 1


def simulate_day(
    planned: PlannedFleet,
    plan_inputs: PlanningInputs,
    day: DayOptions,
    on_progress: Callable[[float], None] | None = None,
) -> SimulatedDay:
    """Simulate one day of the planned fleet and return its results.

    `on_progress` is called once per simulated minute with the share of arrivals simulated so far.
    """
    rates = compute_day_rates(plan_inputs, day.date)
    rows = plan_inputs.traffic.rows
    modulation = None if rows is not None else find_modulation(plan_inputs.traffic)
    outcome = simulate_fleet_day(
        _build_design(planned, day),
        rates,
        BIN_S,
        day.autoscaler,
        day.operations,
        seed=day.seed,
        usd_per_hour=planned.usd_per_hour_each / planned.replicas_per_instance,
        slot_s=_IDLE_SLOT_S if _is_uncontrolled(day) else _SLOT_S,
        modulation_shape=None if modulation is None else modulation.shape,
        modulation_window_s=30.0 if modulation is None else modulation.window_s,
        rows=rows,
        on_progress=on_progress,
    )
    return summarize_day(planned, plan_inputs, day, outcome, rates)


def _is_uncontrolled(day: DayOptions) -> bool:
    """Return whether neither autoscaler, failures nor updates act between time slots, so that slots
    may be long."""
    operations = day.operations
    return isinstance(day.autoscaler, Fixed) and operations.failures is None and not operations.updates


def _build_design(planned: PlannedFleet, day: DayOptions) -> FleetDesign:
    shape = planned.shape
    if day.router is not None:
        shape = msgspec.structs.replace(shape, router=day.router)
    design = build_design(planned.service, shape, planned.replicas)
    return msgspec.structs.replace(design, timeout_s=day.timeout_s, queue_limit=day.queue_limit)


def summarize_day(
    planned: PlannedFleet, plan_inputs: PlanningInputs, day: DayOptions, outcome: DayOutcome, rates: Floats
) -> SimulatedDay:
    """Build the results of a day from an outcome of `play_day` whose `usd_per_hour` was the price
    of one replica."""
    minutes = outcome.minutes
    instances = _compute_billed_instances(planned, minutes)
    result = SimulatedDay(
        date=day.date.isoformat(),
        offer=planned.fleet.offer,
        instances=planned.instances,
        replicas_per_instance=planned.replicas_per_instance,
        autoscaler=day.autoscaler,
        operations=day.operations,
        slo=tuple(objective.text for objective in plan_inputs.slo),
        target_share=get_required_share(planned.shape.goals),
        attainment=outcome.totals.attainment,
        totals=outcome.totals,
        conservation=format_request_counts(outcome.totals),
        p50_ms=_to_ms(outcome.p50_s),
        p95_ms=_to_ms(outcome.p95_s),
        p99_ms=_to_ms(outcome.p99_s),
        ready=_build_range([minute.ready for minute in minutes]),
        billed=_build_range(_compute_billed_replicas(planned, minutes)),
        billed_instances=_build_range(instances),
        usd=float(instances.sum()) / _MINUTES_PER_HOUR * planned.usd_per_hour_each,
        usd_static=24 * planned.instances * planned.usd_per_hour_each,
        seed=day.seed,
        scale_divisor=outcome.scale_divisor,
        sentences=(),
        notes=(),
        hours=_build_hours(planned, outcome, instances),
        minutes=minutes,
    )
    notes = format_day_notes(result, planned, outcome.notes, day.timeout_s, day.queue_limit, rates)
    return msgspec.structs.replace(result, sentences=format_day(result, planned), notes=notes)


def _compute_billed_replicas(planned: PlannedFleet, minutes: Sequence[DayMinute]) -> Floats:
    """Return the mean number of billed replicas in each minute."""
    per_replica = planned.usd_per_hour_each / planned.replicas_per_instance
    if per_replica == 0:
        return np.array([float(minute.billed) for minute in minutes])
    return np.array([minute.usd for minute in minutes]) * _MINUTES_PER_HOUR / per_replica


def _compute_billed_instances(planned: PlannedFleet, minutes: Sequence[DayMinute]) -> Floats:
    """Return the minimum number of instances that can run the billed replicas, for each minute."""
    return np.ceil(_compute_billed_replicas(planned, minutes) / planned.replicas_per_instance - 1e-6)


def _build_hours(planned: PlannedFleet, outcome: DayOutcome, instances: Floats) -> tuple[SimulatedHour, ...]:
    billed = _compute_billed_replicas(planned, outcome.minutes)
    hours = []
    for number, hour in enumerate(outcome.hours):
        span = slice(number * _MINUTES_PER_HOUR, (number + 1) * _MINUTES_PER_HOUR)
        ended = hour.good + hour.late + hour.dropped + hour.timed_out + hour.failed
        hours.append(
            SimulatedHour(
                hour=round(hour.at_s / _HOUR_S),
                arrivals_per_s=hour.arrivals_per_s,
                ready=float(np.mean([minute.ready for minute in outcome.minutes[span]])),
                billed=float(billed[span].mean()),
                instances=float(instances[span].mean()),
                p50_ms=_to_ms(hour.p50_s),
                p95_ms=_to_ms(hour.p95_s),
                p99_ms=_to_ms(hour.p99_s),
                good_share=hour.good / ended if ended else None,
                usd=float(instances[span].sum()) / _MINUTES_PER_HOUR * planned.usd_per_hour_each,
            )
        )
    return tuple(hours)


def _build_range(values: Sequence[float] | Floats) -> Range:
    return Range(float(np.min(values)), float(np.mean(values)), float(np.max(values)))


def _to_ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds
