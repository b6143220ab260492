"""Text for a simulated day: its result first, then the notes that a reader needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import assert_never

from app.analysis.columns import Floats
from app.analysis.objectives import parse_objective
from app.analysis.traces import compute_rate_per_s
from app.planning.formatting import format_number, format_share, format_usd
from app.planning.planned_fleet import PlannedFleet, is_saturated
from app.records.day import DayTotals, Range, SimulatedDay
from app.records.scaling import Autoscaler, Fixed, Hpa, Keda, Knative, Operations, Predictive, ScalingMetric, Scheduled

_METRICS: dict[ScalingMetric, str] = {"busy": "busy", "in_flight": "requests in flight", "rate": "req/s"}


def format_request_counts(totals: DayTotals) -> str:
    """Return the equation of arrivals and their outcomes, which shows that every request is counted once."""
    return (
        f"{totals.arrivals} requests = {totals.good} good + {totals.late} late + {totals.dropped} dropped + "
        f"{totals.timed_out} timed out + {totals.failed} failed + {totals.in_flight} in flight"
    )


def format_day(day: SimulatedDay, planned: PlannedFleet) -> tuple[str, ...]:
    return (_verdict(day), *_attainment(day, planned), _lost(day), _cost(day, planned), *_comparison(day, planned))


def format_day_notes(
    day: SimulatedDay,
    planned: PlannedFleet,
    simulation_notes: Sequence[str],
    timeout_s: float,
    queue_limit: int,
    rates: Floats,
) -> tuple[str, ...]:
    return (
        f"{_autoscaler_text(day.autoscaler)}.",
        *_load_notes(planned, rates),
        *_trace_notes(planned, rates),
        *_instance_notes(day),
        *_cold_start_notes(day),
        *_event_notes(day.operations),
        *simulation_notes,
        f"{_timeout_text(timeout_s)}, and a request that finds {queue_limit:,} queued at its replica is dropped.",
        "The median error of the service model against the measured percentiles is "
        f"{100 * planned.median_error:.0f} %, and the instance capacity is {planned.fleet.basis}. The day is "
        "simulated at the most likely speed; the plan's confidence covers the risk of a lower one.",
        *planned.shape.goals.notes,
        "Not simulated: errors and slow spells of the model itself, the network beyond what was measured, the loss "
        "of a zone, spot interruptions, and how the scheduler packs replicas.",
    )


def _verdict(day: SimulatedDay) -> str:
    if day.attainment is None:
        return "No responses: there were no requests, or all are still in flight."
    results = [result for result in (_meets_share(day), _meets_error_rate(day)) if result is not None]
    if not results:
        return "The SLO has no objective that a simulated day can evaluate."
    return f"The SLO is {'met' if all(results) else 'missed'} over the day."


def _meets_share(day: SimulatedDay) -> bool | None:
    if day.target_share is None or day.attainment is None:
        return None
    return day.attainment >= day.target_share


def _meets_error_rate(day: SimulatedDay) -> bool | None:
    """Return whether the SLO's error rate is met; only drops, time-outs and failures count as errors here."""
    limits = [
        objective.limit
        for objective in map(parse_objective, day.slo)
        if objective.metric == "error_rate" and objective.level == "fail"
    ]
    lost = _lost_share(day.totals)
    return None if not limits or lost is None else lost <= min(limits)


def _lost_share(totals: DayTotals) -> float | None:
    ended = totals.arrivals - totals.in_flight
    return (totals.dropped + totals.timed_out + totals.failed) / ended if ended else None


def _attainment(day: SimulatedDay, planned: PlannedFleet) -> Iterator[str]:
    if day.attainment is None or day.target_share is None:
        return
    limits = " and ".join(goal.text for goal in planned.shape.goals.time_goals)
    shares = [hour.good_share for hour in day.hours if hour.good_share is not None]
    met = sum(1 for good in shares if good >= day.target_share)
    inside = f"met the limit{'' if len(planned.shape.goals.time_goals) == 1 else 's'} of {limits or 'the SLO'}"
    target_text = f"the target of {format_share(day.target_share)} was reached in {met} of {len(shares)} hours"
    yield f"{format_share(day.attainment).capitalize()} of {day.totals.arrivals:,} requests {inside}; {target_text}."


def _lost(day: SimulatedDay) -> str:
    totals = day.totals
    return f"{totals.dropped:,} requests were dropped, {totals.timed_out:,} timed out and {totals.failed:,} failed."


def _cost(day: SimulatedDay, planned: PlannedFleet) -> str:
    span = day.billed_instances
    noun = "instance" if span.min == span.max == 1 else "instances"
    replicas_text = "" if day.replicas_per_instance == 1 else f" of {day.replicas_per_instance} replicas"
    instances = f"{_span(span)} {noun}{replicas_text} at {format_usd(planned.usd_per_hour_each)}/h each"
    ready = f"{_span(day.ready)} {'replica was' if day.ready.max == 1 else 'replicas were'} ready"
    return f"The day costs {format_usd(day.usd)}: {instances}; {ready}."


def _span(span: Range) -> str:
    if span.min == span.max:
        return format_number(span.max)
    return f"{format_number(span.min)}–{format_number(span.max)} (mean {format_number(span.mean)})"


def _comparison(day: SimulatedDay, planned: PlannedFleet) -> Iterator[str]:
    if isinstance(day.autoscaler, Fixed) or not day.usd_static:
        return
    saved = day.usd_static - day.usd
    static = f"{day.instances} static instances all day, which cost {format_usd(day.usd_static)}"
    saved_share = format_share(abs(saved) / day.usd_static)
    if abs(saved) < 0.005 * day.usd_static:
        yield f"This is about the same as {static}."
    elif saved > 0:
        yield f"This is {format_usd(saved)} ({saved_share}) less than {static}."
    else:
        yield f"This is {format_usd(-saved)} ({saved_share}) more than {static}."
    if spares := planned.fleet.spare_instances:
        spares_text = f"{spares:,} of them {'is a spare' if spares == 1 else 'are spares'}"
        yield f"{spares_text.capitalize()}. The autoscaler runs no spares beyond its target and autoscaler.min."


def _autoscaler_text(autoscaler: Autoscaler) -> str:
    match autoscaler:
        case Fixed(replicas=replicas):
            return f"No autoscaler: {replicas:,} replicas all day"
        case Hpa():
            return f"HPA: {_target(autoscaler.metric, autoscaler.target)}, {_bounds(autoscaler.min, autoscaler.max)}"
        case Keda():
            return f"KEDA: {_target(autoscaler.metric, autoscaler.target)}, {_bounds(autoscaler.min, autoscaler.max)}"
        case Knative():
            goal = _target(autoscaler.metric, autoscaler.capacity * autoscaler.utilization)
            note = f"{100 * autoscaler.utilization:g}% of a target of {format_number(autoscaler.capacity)}"
            return f"Knative (also KServe serverless): {goal} ({note}), {_bounds(autoscaler.min, autoscaler.max)}"
        case Scheduled(table=table):
            rows = [row for index, row in enumerate(table) if not index or row.replicas != table[index - 1].replicas]
            times_text = ", ".join(f"{_clock(row.at_s)} {row.replicas:,}" for row in rows)
            return f"Replica schedule: {times_text}"
        case Predictive():
            rate = (
                f"the highest rate of the next {format_number(autoscaler.lead_s)} s, "
                f"{format_number(autoscaler.per_replica_per_s)} req/s"
            )
            return (
                f"Predictive, with known rates of the day: {rate} per replica, "
                f"{_bounds(autoscaler.min, autoscaler.max)}"
            )
        case _:
            assert_never(autoscaler)


def _target(metric: ScalingMetric, target: float) -> str:
    value_text = format_share(target) if metric == "busy" else format_number(target)
    return f"target of {value_text} {_METRICS[metric]} per replica"


def _bounds(min_count: int, max_count: int) -> str:
    return f"from {min_count:,} to {max_count:,} replicas"


def _clock(at_s: float) -> str:
    return f"{int(at_s // 3600):02}:{int(at_s // 60 % 60):02}"


def _load_notes(planned: PlannedFleet, rates: Floats) -> Iterator[str]:
    sized = f"a replica is sized for {format_number(planned.planned_rate_per_s)} req/s"
    yield (
        f"The busiest minute has {format_number(float(rates.max()))} req/s and the day has a mean of "
        f"{format_number(float(rates.mean()))} req/s; {sized}."
    )
    if is_saturated(planned, rates):
        yield f"All {planned.replicas:,} planned replicas together cannot handle the busiest minute."


def _trace_notes(planned: PlannedFleet, rates: Floats) -> Iterator[str]:
    rows = None if planned.shape.bursts is None else planned.shape.bursts.rows
    if rows is not None:
        copies = float(rates.max()) / compute_rate_per_s(rows)
        yield (
            f"The trace of {format_number(rows.window_s / 60)} min is replayed in a loop, scaled to each minute's "
            f"rate, up to {copies:.3g} times the trace's own rate. Above 1 it is overlaid with independent copies; "
            "below 1 a random part of it is used."
        )


def _instance_notes(day: SimulatedDay) -> Iterator[str]:
    if day.replicas_per_instance > 1 and not isinstance(day.autoscaler, Fixed):
        yield (
            f"An instance runs {day.replicas_per_instance} replicas. Scaling is by replica. Paid instances are the "
            "fewest that fit the replicas, rounded up each minute; each new replica waits for a node as if it had "
            "one of its own."
        )


def _cold_start_notes(day: SimulatedDay) -> Iterator[str]:
    start, operations = day.operations.cold_start, day.operations
    if isinstance(day.autoscaler, Fixed) and operations.failures is None and not operations.updates:
        return
    parts = [
        f"{name} {format_number(seconds)} s"
        for name, seconds in (
            ("node", start.node_s),
            ("image", start.image.median_s),
            ("weights", start.weights.median_s),
            ("build", start.engine_s),
            ("warm-up", start.warm_up_s),
        )
        if seconds
    ]
    yield (
        f"The median cold start takes {format_number(start.median_s)} s ({', '.join(parts) or 'nothing'}), an "
        "assumption unless set with --set cold_start.…; it is billed from the node start."
    )


def _event_notes(operations: Operations) -> Iterator[str]:
    failures, warm_nodes = operations.failures, operations.cold_start.warm_nodes
    if failures is not None:
        lost = "restarts on a new node" if failures.new_node else "restarts on the same node"
        note = f"is detected after {format_number(failures.detect_s)} s and {lost}"
        yield (
            f"A replica fails every {format_number(failures.mtbf_hours)} hours on average, loses its requests, {note}."
        )
    for update in operations.updates:
        limits = f"maxSurge {format_share(update.surge)}, maxUnavailable {format_share(update.unavailable)}"
        yield f"Rolling update of all replicas from {_clock(update.at_s)}: {limits}."
    if warm_nodes:
        yield f"Nodes for {warm_nodes:,} replicas are kept warm and empty, and are billed."


def _timeout_text(timeout_s: float) -> str:
    if math.isinf(timeout_s):
        return "Requests wait without a timeout"
    return f"A request times out after waiting {format_number(timeout_s)} s"
