"""Simulation of one day of a planned fleet, with attainment, replicas and cost per instance."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.days.day import simulate_fleet_day
from app.planning.days.day_text import format_day, format_day_notes, format_request_counts
from app.planning.days.planned_fleet import BIN_S, PlannedFleet, compute_day_rates_per_s, get_target_share
from app.planning.simulation.design import FleetDesign
from app.planning.sizing.bursts import find_modulation
from app.planning.sizing.fleet_rate import build_design
from app.records.day import (
    DayMinute,
    DayOutcome,
    LatencyPercentiles,
    Range,
    SimulatedDay,
    SimulatedHour,
    TokenPercentiles,
)
from app.records.offers import Router
from app.records.planning_inputs import PlanningInputs
from app.records.scaling import Autoscaler, Fixed, Operations
from app.records.service import TokenService

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
    planned_fleet: PlannedFleet,
    plan_inputs: PlanningInputs,
    day_options: DayOptions,
    on_progress: Callable[[float], None] | None = None,
) -> SimulatedDay:
    """Simulate one day of the planned fleet and return its results.

    `on_progress` is called once per simulated minute with the share of arrivals simulated so far.
    """
    rates_per_s = compute_day_rates_per_s(plan_inputs, day_options.date)
    rows = plan_inputs.traffic.rows
    modulation = None if rows is not None else find_modulation(plan_inputs.traffic)
    outcome = simulate_fleet_day(
        _build_design(planned_fleet, day_options),
        rates_per_s,
        BIN_S,
        day_options.autoscaler,
        day_options.operations,
        seed=day_options.seed,
        usd_per_hour=planned_fleet.usd_per_hour_each / planned_fleet.replicas_per_instance,
        slot_s=_IDLE_SLOT_S if _has_constant_replicas(day_options) else _SLOT_S,
        modulation_shape=None if modulation is None else modulation.shape,
        modulation_window_s=30.0 if modulation is None else modulation.window_s,
        rows=rows,
        on_progress=on_progress,
    )
    return summarize_day(planned_fleet, plan_inputs, day_options, outcome, rates_per_s)


def _has_constant_replicas(day_options: DayOptions) -> bool:
    """Return whether nothing changes the fleet between time slots: no autoscaler, no failures, no
    updates. Time slots may then be long."""
    operations = day_options.operations
    return isinstance(day_options.autoscaler, Fixed) and operations.failures is None and not operations.updates


def _build_design(planned_fleet: PlannedFleet, day_options: DayOptions) -> FleetDesign:
    shape = planned_fleet.shape
    if day_options.router is not None:
        shape = msgspec.structs.replace(shape, router=day_options.router)
    design = build_design(planned_fleet.service, shape, planned_fleet.replicas)
    return msgspec.structs.replace(design, timeout_s=day_options.timeout_s, queue_limit=day_options.queue_limit)


def summarize_day(
    planned_fleet: PlannedFleet,
    plan_inputs: PlanningInputs,
    day_options: DayOptions,
    outcome: DayOutcome,
    rates_per_s: Floats,
) -> SimulatedDay:
    """Build the results of a day from the outcome of `simulate_fleet_day`. The outcome must be
    computed with the price of one replica as `usd_per_hour`."""
    minutes = outcome.minutes
    has_tokens = isinstance(planned_fleet.service, TokenService)
    billed_instances = _compute_billed_instances(planned_fleet, minutes)
    simulated_day = SimulatedDay(
        date=day_options.date.isoformat(),
        offer=planned_fleet.fleet.offer,
        instances=planned_fleet.instances,
        replicas_per_instance=planned_fleet.replicas_per_instance,
        autoscaler=day_options.autoscaler,
        operations=day_options.operations,
        slo=tuple(objective.text for objective in plan_inputs.slo),
        target_share=get_target_share(planned_fleet.shape.objectives),
        attainment=outcome.totals.attainment,
        totals=outcome.totals,
        conservation=format_request_counts(outcome.totals),
        p50_ms=_to_ms(outcome.p50_s),
        p95_ms=_to_ms(outcome.p95_s),
        p99_ms=_to_ms(outcome.p99_s),
        ready=_build_range([minute.ready for minute in minutes]),
        billed=_build_range(_compute_billed_replicas(planned_fleet, minutes)),
        billed_instances=_build_range(billed_instances),
        usd=float(billed_instances.sum()) / _MINUTES_PER_HOUR * planned_fleet.usd_per_hour_each,
        usd_static=24 * planned_fleet.instances * planned_fleet.usd_per_hour_each,
        seed=day_options.seed,
        scale_divisor=outcome.scale_divisor,
        sentences=(),
        notes=(),
        hours=_build_hours(planned_fleet, outcome, billed_instances),
        minutes=minutes,
        tokens=_build_token_percentiles(outcome) if has_tokens else None,
    )
    notes = format_day_notes(
        simulated_day, planned_fleet, outcome.notes, day_options.timeout_s, day_options.queue_limit, rates_per_s
    )
    return msgspec.structs.replace(simulated_day, sentences=format_day(simulated_day, planned_fleet), notes=notes)


def _compute_billed_replicas(planned_fleet: PlannedFleet, minutes: Sequence[DayMinute]) -> Floats:
    """Return the mean number of billed replicas in each minute."""
    usd_per_replica_hour = planned_fleet.usd_per_hour_each / planned_fleet.replicas_per_instance
    if usd_per_replica_hour == 0:
        return np.array([float(minute.billed) for minute in minutes])
    return np.array([minute.usd for minute in minutes]) * _MINUTES_PER_HOUR / usd_per_replica_hour


def _compute_billed_instances(planned_fleet: PlannedFleet, minutes: Sequence[DayMinute]) -> Floats:
    """Return, for each minute, the minimum number of instances that can run the billed replicas."""
    return np.ceil(_compute_billed_replicas(planned_fleet, minutes) / planned_fleet.replicas_per_instance - 1e-6)


def _build_hours(
    planned_fleet: PlannedFleet, outcome: DayOutcome, billed_instances: Floats
) -> tuple[SimulatedHour, ...]:
    """Summarize each hour of a simulated day: mean replicas and instances, cost of the billed instances in USD, and
    latency percentiles in ms."""
    billed_replicas = _compute_billed_replicas(planned_fleet, outcome.minutes)
    has_tokens = isinstance(planned_fleet.service, TokenService)
    hours = []
    for hour_index, hour in enumerate(outcome.hours):
        minute_range = slice(hour_index * _MINUTES_PER_HOUR, (hour_index + 1) * _MINUTES_PER_HOUR)
        finished_requests = hour.good + hour.late + hour.dropped + hour.timed_out + hour.failed
        hours.append(
            SimulatedHour(
                hour=round(hour.at_s / _HOUR_S),
                arrivals_per_s=hour.arrivals_per_s,
                ready=float(np.mean([minute.ready for minute in outcome.minutes[minute_range]])),
                billed=float(billed_replicas[minute_range].mean()),
                instances=float(billed_instances[minute_range].mean()),
                good_share=hour.good / finished_requests if finished_requests else None,
                usd=float(billed_instances[minute_range].sum()) / _MINUTES_PER_HOUR * planned_fleet.usd_per_hour_each,
                p50_ms=_to_ms(hour.p50_s),
                p95_ms=_to_ms(hour.p95_s),
                p99_ms=_to_ms(hour.p99_s),
                tokens=_build_token_percentiles(hour) if has_tokens else None,
            )
        )
    return tuple(hours)


def _build_range(values: Sequence[float] | Floats) -> Range:
    return Range(float(np.min(values)), float(np.mean(values)), float(np.max(values)))


def _build_token_percentiles(latencies: LatencyPercentiles) -> TokenPercentiles:
    return TokenPercentiles(
        **{
            name: _to_ms(getattr(latencies, name.removesuffix("_ms") + "_s"))
            for name in TokenPercentiles.__struct_fields__
        }
    )


def _to_ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds
