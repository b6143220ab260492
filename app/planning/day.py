"""One day of a fleet, played: its requests one by one, its autoscaler, its replicas' lives and its bill."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec.structs
import numpy as np

from app.errors import UsageError
from app.planning.scaling.arrivals import Minute, minutes_of_arrivals, minutes_of_trace
from app.planning.scaling.autoscaling import Decide, autoscaler_at_work, most_replicas, replicas_at_start
from app.planning.scaling.cell import cell_of, divided, divided_operations
from app.planning.scaling.lives import Lives
from app.planning.scaling.meters import MinuteMeter, SlotMeter
from app.planning.scaling.operated import OperatedFleet, limits_of
from app.planning.service_models.service_times import fleet_normals
from app.planning.simulation.compiled import Floats
from app.planning.simulation.design import FleetDesign, most_per_s
from app.planning.simulation.histogram import quantile_s
from app.planning.simulation.serving import counts_of, serve, settle
from app.planning.simulation.state import Fleet, new_fleet
from app.planning.simulation.tallying import latency_counts
from app.planning.wording import amount
from app.records.day import DayMinute, DayOutcome, DayTotals
from app.records.scaling import Autoscaler, Fixed, Keda, Knative, Operations
from app.records.service import RequestService
from app.records.traffic import TraceRows

_MINUTES_AN_HOUR = 60
_GATE = RequestService(slots=1, mean_s=1.0, cv=0.0)


class _Cell(msgspec.Struct, frozen=True):
    """What is played: the fleet's share of everything."""

    times: int
    rates_per_s: Floats
    autoscaler: Autoscaler
    operations: Operations


def play_day(
    design: FleetDesign,
    rates_per_s: Floats,
    bin_s: float,
    autoscaler: Autoscaler,
    operations: Operations,
    *,
    seed: int,
    usd_per_hour: float = 0.0,
    slot_s: float = 1.0,
    start_s: float = 0.0,
    shape: float | None = None,
    modulated_s: float = 30.0,
    rows: TraceRows | None = None,
    tell: Callable[[float], None] | None = None,
) -> DayOutcome:
    """As many bins as there are rates, from `start_s` after midnight on. `shape` is that of a gamma by which the rates
    vary of themselves, anew every `modulated_s`; None for Poisson arrivals. With `rows` a trace's requests arrive in
    place of those; where they have tokens, the design's lengths are theirs, row by row. `tell` hears after each minute
    which share of the arrivals is played.

    The replica at place i has the design's service i, counted round. Control acts between slots: what becomes ready,
    fails or is taken away does so at the next slot's beginning, while its bill is exact. `usd_per_hour` is of one
    replica or warm node. Arrivals, services and every replica's cold starts and failures are the same whatever the
    autoscaler, for one seed.
    """
    _check(design, rates_per_s, slot_s)
    per_replica_per_s = most_per_s(design.services[0], design.lengths)
    cell = _cell(rates_per_s, bin_s, autoscaler, operations, per_replica_per_s)
    replicas = replicas_at_start(cell.autoscaler, per_replica_per_s, cell.rates_per_s, bin_s, start_s)
    places = _places(cell, per_replica_per_s)
    holds = isinstance(autoscaler, Knative) or (isinstance(autoscaler, Keda) and autoscaler.holds)
    plane = new_fleet(_laid_out(design, places, holds), np.random.SeedSequence((seed, 1)))
    lives = Lives(cell.operations.cold_start, operations.failures, seed, replicas=min(replicas, places), now_s=start_s)
    operated = OperatedFleet(plane, lives, cell.operations, places, places if holds else None, start_s)
    decide = autoscaler_at_work(cell.autoscaler, replicas, slot_s, cell.rates_per_s, bin_s, start_s)
    meter = SlotMeter(plane, design.services[0].outside_s, design.timeout_s, start_s)
    minute_meter, hour_meter = (MinuteMeter(plane, usd_per_hour, start_s, cell.times) for _ in range(2))
    minutes: list[DayMinute] = []
    hours: list[DayMinute] = []
    now_s, wanted, until_s = start_s, replicas, start_s + cell.rates_per_s.size * bin_s
    for minute in (
        minutes_of_arrivals(cell.rates_per_s, bin_s, start_s, seed, shape, modulated_s)
        if rows is None
        else minutes_of_trace(
            cell.rates_per_s, bin_s, start_s, seed, rows, isinstance(design.services[0], RequestService)
        )
    ):
        end_s = minute.end_s
        normals = fleet_normals(minute.normals, design.services[0])
        minute = msgspec.structs.replace(minute, normals=normals)
        wanted = _play_minute(plane, operated, meter, decide, (now_s, slot_s), minute, wanted)
        minutes.append(minute_meter.read(operated, end_s, wanted))
        now_s = end_s
        if len(minutes) % _MINUTES_AN_HOUR == 0 or now_s >= until_s:
            hours.append(hour_meter.read(operated, end_s, wanted))
        if tell is not None:
            tell(_share_until(cell.rates_per_s, (now_s - start_s) / bin_s))
    return _outcome(plane, operated, now_s, (minutes, hours), cell.times, usd_per_hour, places)


def _play_minute(
    plane: Fleet,
    operated: OperatedFleet,
    meter: SlotMeter,
    decide: Decide,
    span_s: tuple[float, float],
    minute: Minute,
    wanted: int,
) -> int:
    """From the beginning to the minute's end in slots; gives the replicas wanted at last."""
    (begin_s, slot_s), end_s = span_s, minute.end_s
    ends_s = np.append(np.arange(begin_s + slot_s, end_s - 1e-9, slot_s), end_s)
    stops = np.searchsorted(minute.at_s, ends_s, side="left")
    first = 0
    for slot_end_s, stop in zip(ends_s.tolist(), stops.tolist(), strict=True):
        serve(plane, minute.at_s[first:stop], minute.normals[first:stop], minute.rows[first:stop])
        settle(plane, slot_end_s)
        first = stop
        wanted = decide(meter.read(operated, slot_end_s, wanted))
        if operated.step(slot_end_s, wanted):
            meter.restart()
    return wanted


def _share_until(rates_per_s: Floats, bins: float) -> float:
    """Of all arrivals, those expected in so many bins; of the time where none are."""
    whole = int(bins)
    came = float(rates_per_s[:whole].sum() + rates_per_s[whole : whole + 1].sum() * (bins - whole))
    expected = float(rates_per_s.sum())
    return came / expected if expected else bins / rates_per_s.size


def _check(design: FleetDesign, rates_per_s: Floats, slot_s: float) -> None:
    if not design.services:
        raise UsageError("a fleet needs at least one service", hint="Give the design one service for each replica.")
    if rates_per_s.size == 0 or not np.isfinite(rates_per_s).all() or (rates_per_s < 0).any():
        raise UsageError("a day needs rates of 0 or more", hint="Give one rate for each bin.")
    if slot_s < 1 or slot_s != int(slot_s) or 60 % slot_s:
        raise UsageError(f"a slot of {slot_s} s does not divide a minute", hint="Take 1 or 2 s.")


def _cell(
    rates_per_s: Floats, bin_s: float, autoscaler: Autoscaler, operations: Operations, per_replica_per_s: float
) -> _Cell:
    at_peak = math.ceil(float(rates_per_s.max()) / per_replica_per_s)
    times = cell_of(float(rates_per_s.sum()) * bin_s, autoscaler, at_peak)
    if times == 1:
        return _Cell(1, rates_per_s, autoscaler, operations)
    return _Cell(times, rates_per_s / times, divided(autoscaler, times), divided_operations(operations, times))


def _places(cell: _Cell, per_replica_per_s: float) -> int:
    """For the most replicas there can be at once, and as many again that drain."""
    at_peak = math.ceil(float(cell.rates_per_s.max()) / per_replica_per_s)
    most = max(1, most_replicas(cell.autoscaler) or 4 * at_peak + 4)
    if isinstance(cell.autoscaler, Fixed) and not cell.operations.updates:
        return most
    return 2 * most + max((limits_of(update, most)[0] for update in cell.operations.updates), default=0)


def _laid_out(design: FleetDesign, places: int, holds: bool) -> FleetDesign:
    """One service a place, and one more place where requests are held."""
    services = tuple(design.services[place % len(design.services)] for place in range(places))
    weights = tuple(design.weights[place % len(design.weights)] for place in range(places)) if design.weights else ()
    if holds:
        services, weights = (*services, _GATE), (*weights, 1.0) if weights else ()
    return msgspec.structs.replace(design, services=services, weights=weights)


def _outcome(
    plane: Fleet,
    operated: OperatedFleet,
    now_s: float,
    spans: tuple[list[DayMinute], list[DayMinute]],
    times: int,
    usd_per_hour: float,
    places: int,
) -> DayOutcome:
    minutes, hours = spans
    counts, histogram = counts_of(plane), latency_counts(plane)
    billed_s = {phase: times * seconds for phase, seconds in operated.lives.billed_s(now_s).items()}
    p50_s, p95_s, p99_s = (quantile_s(histogram, share) for share in (0.50, 0.95, 0.99))
    notes = []
    if times > 1:
        notes.append(f"Played as a cell: one of {times} alike, each with 1/{times} of the traffic and of the replicas.")
    if any(minute.wanted > places * times for minute in minutes):
        notes.append(f"More than {amount(places * times)} replicas were wanted at times; the rest had no place.")
    return DayOutcome(
        minutes=tuple(minutes),
        hours=tuple(hours),
        totals=DayTotals(*(times * count for count in msgspec.structs.astuple(counts))),
        p50_s=p50_s,
        p95_s=p95_s,
        p99_s=p99_s,
        billed_s=billed_s,
        usd=sum(billed_s.values()) / 3600 * usd_per_hour,
        cell_of=times,
        notes=tuple(notes),
    )
