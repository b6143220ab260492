"""Text about a simulated day: the result first, then notes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import assert_never

from app.analysis.columns import Floats
from app.analysis.objectives import parse_objective
from app.analysis.traces import compute_rate_per_s
from app.planning.days.planned_fleet import PlannedFleet, is_saturated
from app.planning.formatting import format_number, format_share, format_usd
from app.records.day import DayTotals, Range, SimulatedDay
from app.records.scaling import Autoscaler, Fixed, Hpa, Keda, Knative, Operations, Predictive, ScalingMetric, Scheduled

_METRIC_LABELS: dict[ScalingMetric, str] = {"busy": "utilization", "in_flight": "requests in flight", "rate": "req/s"}


def format_request_counts(totals: DayTotals) -> str:
    """Format the number of arrivals as a sum over outcomes, which shows that every request is
    counted once."""
    return (
        f"{totals.arrivals} requests = {totals.good} good + {totals.late} late + {totals.dropped} dropped + "
        f"{totals.timed_out} timed out + {totals.failed} failed + {totals.in_flight} in flight"
    )


def format_day(day: SimulatedDay, planned_fleet: PlannedFleet) -> tuple[str, ...]:
    return (
        _format_verdict(day),
        *_format_attainment(day, planned_fleet),
        _format_lost_requests(day),
        _format_cost(day, planned_fleet),
        *_format_comparison(day, planned_fleet),
    )


def format_day_notes(
    day: SimulatedDay,
    planned_fleet: PlannedFleet,
    simulation_notes: Sequence[str],
    timeout_s: float,
    queue_limit: int,
    rates_per_s: Floats,
) -> tuple[str, ...]:
    return (
        f"{_format_autoscaler(day.autoscaler)}.",
        *_format_load_notes(planned_fleet, rates_per_s),
        *_format_trace_notes(planned_fleet, rates_per_s),
        *_format_instance_notes(day),
        *_format_cold_start_notes(day),
        *_format_event_notes(day.operations),
        *simulation_notes,
        f"{_format_timeout(timeout_s)}, and a request is dropped if {queue_limit:,} requests are queued at its "
        "replica.",
        "The median error of the service model against the measured percentiles is "
        f"{100 * planned_fleet.median_error:.0f} %, and the capacity per instance is {planned_fleet.fleet.basis}. The "
        "day is simulated at the most likely speed; the plan's confidence covers the risk of a lower speed.",
        *planned_fleet.shape.objectives.notes,
        "The simulation does not include errors and slowdowns of the model server, network latency beyond the measured "
        "one, zone failures, spot interruptions, and how the scheduler packs replicas.",
    )


def _format_verdict(day: SimulatedDay) -> str:
    if day.attainment is None:
        return "There are no responses: there were no requests, or all are still in flight."
    results = [result for result in (_meets_slo_share(day), _meets_error_rate(day)) if result is not None]
    if not results:
        return "The SLO has no objective that a simulated day can evaluate."
    return f"The SLO is {'met' if all(results) else 'missed'} over the day."


def _meets_slo_share(day: SimulatedDay) -> bool | None:
    if day.target_share is None or day.attainment is None:
        return None
    return day.attainment >= day.target_share


def _meets_error_rate(day: SimulatedDay) -> bool | None:
    """Return whether the error rate of the SLO is met; `None` if the SLO has none, or if no request
    has finished.

    Dropped, timed-out and failed requests count as errors. Other errors are not simulated.
    """
    limits = [
        objective.limit
        for objective in map(parse_objective, day.slo)
        if objective.metric == "error_rate" and objective.level == "fail"
    ]
    lost_share = _compute_lost_share(day.totals)
    return None if not limits or lost_share is None else lost_share <= min(limits)


def _compute_lost_share(totals: DayTotals) -> float | None:
    finished_requests = totals.arrivals - totals.in_flight
    return (totals.dropped + totals.timed_out + totals.failed) / finished_requests if finished_requests else None


def _format_attainment(day: SimulatedDay, planned_fleet: PlannedFleet) -> Iterator[str]:
    if day.attainment is None or day.target_share is None:
        return
    objectives = planned_fleet.shape.objectives.latency_objectives
    limits_text = " and ".join(objective.text for objective in objectives)
    hourly_shares = [hour.good_share for hour in day.hours if hour.good_share is not None]
    hours_met = sum(1 for good_share in hourly_shares if good_share >= day.target_share)
    met_text = f"met the limit{'' if len(objectives) == 1 else 's'} of {limits_text or 'the SLO'}"
    target_text = (
        f"the target of {format_share(day.target_share)} was reached in {hours_met} of {len(hourly_shares)} hours"
    )
    yield f"{format_share(day.attainment).capitalize()} of {day.totals.arrivals:,} requests {met_text}; {target_text}."


def _format_lost_requests(day: SimulatedDay) -> str:
    totals = day.totals
    return f"{totals.dropped:,} requests were dropped, {totals.timed_out:,} timed out and {totals.failed:,} failed."


def _format_cost(day: SimulatedDay, planned_fleet: PlannedFleet) -> str:
    instance_range = day.billed_instances
    instance_noun = "instance" if instance_range.min == instance_range.max == 1 else "instances"
    replicas_text = "" if day.replicas_per_instance == 1 else f" of {day.replicas_per_instance} replicas"
    price_text = f"{format_usd(planned_fleet.usd_per_hour_each)}/h"
    instances_text = f"{_format_range(instance_range)} {instance_noun}{replicas_text} at {price_text} each"
    ready_text = f"{_format_range(day.ready)} {'replica was' if day.ready.max == 1 else 'replicas were'} ready"
    return f"The day costs {format_usd(day.usd)}: {instances_text}; {ready_text}."


def _format_range(value_range: Range) -> str:
    if value_range.min == value_range.max:
        return format_number(value_range.max)
    return f"{format_number(value_range.min)}–{format_number(value_range.max)} (mean {format_number(value_range.mean)})"


def _format_comparison(day: SimulatedDay, planned_fleet: PlannedFleet) -> Iterator[str]:
    if isinstance(day.autoscaler, Fixed) or not day.usd_static:
        return
    saving_usd = day.usd_static - day.usd
    static_text = f"{day.instances} instances without autoscaling, which would cost {format_usd(day.usd_static)}"
    share_text = format_share(abs(saving_usd) / day.usd_static)
    if abs(saving_usd) < 0.005 * day.usd_static:
        yield f"This is about the same as {static_text}."
    elif saving_usd > 0:
        yield f"This is {format_usd(saving_usd)} ({share_text}) less than {static_text}."
    else:
        yield f"This is {format_usd(-saving_usd)} ({share_text}) more than {static_text}."
    if spares := planned_fleet.fleet.spare_instances:
        spares_text = f"{spares:,} of them {'is a spare' if spares == 1 else 'are spares'}"
        yield f"{spares_text.capitalize()}. The autoscaler runs no spares beyond its target and autoscaler.min."


def _format_autoscaler(autoscaler: Autoscaler) -> str:
    match autoscaler:
        case Fixed(replicas=replicas):
            return f"No autoscaler is used; {replicas:,} replicas run all day"
        case Hpa():
            target_text = _format_target(autoscaler.metric, autoscaler.target)
            return f"The autoscaler is an HPA with a {target_text}, {_format_bounds(autoscaler.min, autoscaler.max)}"
        case Keda():
            target_text = _format_target(autoscaler.metric, autoscaler.target)
            return f"The autoscaler is KEDA with a {target_text}, {_format_bounds(autoscaler.min, autoscaler.max)}"
        case Knative():
            target_text = _format_target(autoscaler.metric, autoscaler.capacity * autoscaler.utilization)
            target_note = f"{100 * autoscaler.utilization:g} % of a target of {format_number(autoscaler.capacity)}"
            bounds_text = _format_bounds(autoscaler.min, autoscaler.max)
            return (
                f"The autoscaler is Knative (also KServe serverless) with a {target_text} ({target_note}), "
                f"{bounds_text}"
            )
        case Scheduled(table=table):
            rows = [row for index, row in enumerate(table) if not index or row.replicas != table[index - 1].replicas]
            times_text = ", ".join(f"{row.replicas:,} from {_format_clock(row.at_s)}" for row in rows)
            return f"The replicas follow a schedule: {times_text}"
        case Predictive():
            rate_text = (
                f"replicas for the highest rate of the next {format_number(autoscaler.lead_s)} s at "
                f"{format_number(autoscaler.rate_per_replica_per_s)} req/s"
            )
            return (
                f"The autoscaler is predictive, with the rates of the day known in advance; it runs {rate_text} per "
                f"replica, {_format_bounds(autoscaler.min, autoscaler.max)}"
            )
        case _:
            assert_never(autoscaler)


def _format_target(metric: ScalingMetric, target: float) -> str:
    value_text = format_share(target) if metric == "busy" else format_number(target)
    return f"target of {value_text} {_METRIC_LABELS[metric]} per replica"


def _format_bounds(min_count: int, max_count: int) -> str:
    return f"from {min_count:,} to {max_count:,} replicas"


def _format_clock(time_s: float) -> str:
    return f"{int(time_s // 3600):02}:{int(time_s // 60 % 60):02}"


def _format_load_notes(planned_fleet: PlannedFleet, rates_per_s: Floats) -> Iterator[str]:
    size_text = f"a replica is sized for {format_number(planned_fleet.planned_rate_per_s)} req/s"
    yield (
        f"The busiest minute has {format_number(float(rates_per_s.max()))} req/s and the day has a mean of "
        f"{format_number(float(rates_per_s.mean()))} req/s; {size_text}."
    )
    if is_saturated(planned_fleet, rates_per_s):
        yield f"All {planned_fleet.replicas:,} planned replicas together cannot handle the busiest minute."


def _format_trace_notes(planned_fleet: PlannedFleet, rates_per_s: Floats) -> Iterator[str]:
    rows = None if planned_fleet.shape.bursts is None else planned_fleet.shape.bursts.rows
    if rows is not None:
        copies = float(rates_per_s.max()) / compute_rate_per_s(rows)
        yield (
            f"The trace of {format_number(rows.window_s / 60)} min is replayed in a loop, scaled to each minute's "
            f"rate, up to {copies:.3g} times the trace's own rate. Above its own rate, independent copies are added; "
            "below it, a random part of the trace is used."
        )


def _format_instance_notes(day: SimulatedDay) -> Iterator[str]:
    if day.replicas_per_instance > 1 and not isinstance(day.autoscaler, Fixed):
        yield (
            f"An instance runs {day.replicas_per_instance} replicas. The autoscaler scales by replica. The cost "
            "assumes the minimum number of instances for the replicas of each minute. Each new replica waits for a new "
            "node, even if an existing node has room."
        )


def _format_cold_start_notes(day: SimulatedDay) -> Iterator[str]:
    cold_start, operations = day.operations.cold_start, day.operations
    if isinstance(day.autoscaler, Fixed) and operations.failures is None and not operations.updates:
        return
    phase_texts = [
        f"{name} {format_number(seconds)} s"
        for name, seconds in (
            ("node", cold_start.node_s),
            ("image", cold_start.image.median_s),
            ("weights", cold_start.weights.median_s),
            ("engine build", cold_start.engine_s),
            ("warm-up", cold_start.warm_up_s),
        )
        if seconds
    ]
    yield (
        f"The median cold start takes {format_number(cold_start.median_s)} s "
        f"({', '.join(phase_texts) or 'no phases'}). This is an assumption unless it is set with "
        "`--set cold_start.…`. A replica is billed from the start of its node."
    )


def _format_event_notes(operations: Operations) -> Iterator[str]:
    failures, warm_nodes = operations.failures, operations.cold_start.warm_nodes
    if failures is not None:
        node_text = "a new node" if failures.new_node else "the same node"
        yield (
            f"A replica fails every {format_number(failures.mtbf_hours)} hours on average and loses its requests. The "
            f"failure is detected after {format_number(failures.detect_s)} s, and the replica restarts on {node_text}."
        )
    for update in operations.updates:
        limits_text = f"maxSurge {100 * update.surge:.4g}%, maxUnavailable {100 * update.unavailable:.4g}%"
        yield f"A rolling update of all replicas starts at {_format_clock(update.at_s)} ({limits_text})."
    if warm_nodes:
        yield f"Warm, empty nodes for {warm_nodes:,} replicas are always ready and are billed."


def _format_timeout(timeout_s: float) -> str:
    if math.isinf(timeout_s):
        return "Requests wait without a timeout"
    return f"A request times out after waiting {format_number(timeout_s)} s"
