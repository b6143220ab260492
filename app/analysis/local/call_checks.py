"""Check that the calls of a stage of a local model ran in a steady state and started on time."""

from __future__ import annotations

import math

import numpy as np

from app.analysis.drift import CHANGE_LIMIT, compute_latency_drift
from app.analysis.local.call_rows import CallRows, compute_lateness_ms
from app.analysis.validity import check_upper_limit
from app.records.calls import CallStage
from app.records.result import Check

_MAX_LATE_MS = 1.0
_INVALID_LATE_MS = 10.0
_MIN_CALLS = 20
_MIN_CALLS_FOR_P99 = 100
_MAX_LOOP_SHARE = 0.05


def check_calls(calls: CallRows, stage_data: CallStage) -> tuple[Check, ...]:
    if not len(calls):
        return (Check("calls", 0, _MIN_CALLS, "calls", "INVALID", "No call completed. Increase load.max_duration."),)
    checks = [check_warm_up(stage_data), _check_call_count(calls), _check_steady_times(calls, stage_data)]
    if stage_data.stopped_early:
        checks.append(build_interruption_check(stage_data))
    elif stage_data.scenario == "server":
        checks += [_check_never_started(calls), _check_lateness(calls)]
    else:
        checks.append(check_precision(stage_data))
    if stage_data.scenario == "single-stream":
        checks.append(_check_loop_time(calls))
    return tuple(checks)


def _check_loop_time(calls: CallRows) -> Check:
    """Check the proportion of time that the measuring loop takes between calls."""
    gaps_ns = calls.begin_ns[1:] - calls.end_ns[:-1]
    duration_ns = float(np.median(calls.end_ns - calls.begin_ns)) if len(calls) else 0.0
    gap_ns = float(np.median(gaps_ns)) if gaps_ns.size else 0.0
    return check_upper_limit(
        "time_between_calls",
        gap_ns / (gap_ns + duration_ns) if duration_ns else 0.0,
        unit="share",
        warn=_MAX_LOOP_SHARE,
        hint="The calls are so short that the measuring loop reduces throughput. Use the execution time (execute_ms), "
        "or measure larger batches.",
    )


def build_interruption_check(stage_data: CallStage) -> Check:
    duration_s = (stage_data.end_ns - stage_data.start_ns) / 1e9
    return Check("cut_short", duration_s, None, "s", "WARN", "The stage ended before it had enough samples.")


def _check_never_started(calls: CallRows) -> Check:
    """Check for scheduled calls that were never started."""
    never_started_count = len(calls.never_started_ns)
    hint = "The model could not keep up, and these calls would have waited longest. Lower the rate."
    return check_upper_limit(
        "arrivals_not_begun",
        never_started_count / (never_started_count + len(calls)),
        unit="share",
        warn=0.0,
        hint=hint,
    )


def check_warm_up(stage_data: CallStage) -> Check:
    if stage_data.is_stationary:
        return Check("warm_up", stage_data.warmup_windows, None, "windows", "VALID")
    hint = "No three consecutive windows agreed within 10 % before the warm-up limit. Increase load.warmup."
    return Check("warm_up", stage_data.warmup_windows, None, "windows", "WARN", hint)


def _check_call_count(calls: CallRows) -> Check:
    has_enough_calls = len(calls) >= _MIN_CALLS
    hint = (
        None if has_enough_calls else "There are too few calls for a confidence interval. Increase load.max_duration."
    )
    return Check("calls", len(calls), _MIN_CALLS, "calls", "VALID" if has_enough_calls else "WARN", hint)


def _check_steady_times(calls: CallRows, stage_data: CallStage) -> Check:
    """Check that service times are steady. In the server scenario, check latency in order of
    arrival instead, because a growing backlog is not a steady state."""
    latencies_ms = (calls.end_ns - calls.scheduled_ns) / 1e6
    is_server = stage_data.scenario == "server"
    drift = compute_latency_drift(latencies_ms[np.argsort(calls.scheduled_ns)] if is_server else calls.service_ms)
    if drift is None:
        return Check("steady_times", None, CHANGE_LIMIT, "share", "VALID")
    return check_upper_limit(
        "steady_times",
        abs(drift),
        unit="share",
        warn=CHANGE_LIMIT,
        hint=(
            "The backlog kept growing because calls arrive faster than the model runs, so latency depends on the "
            "stage duration. Lower the rate."
        )
        if is_server
        else ("Call durations drifted. Check for throttling and other load, and increase load.warmup."),
    )


def check_precision(stage_data: CallStage) -> Check:
    return check_upper_limit(
        "mean_time_half_width",
        stage_data.half_width,
        unit="share",
        warn=max(stage_data.target_half_width, 0.0),
        hint=(
            "The time limit was reached before the confidence interval was narrow enough. Increase load.max_duration, "
            "or use a machine without other load."
        )
        if stage_data.half_width is not None
        else f"There are too few {'calls' if stage_data.test is None else 'repetitions'} for a confidence interval. "
        "Increase load.max_duration.",
    )


def _check_lateness(calls: CallRows) -> Check:
    return check_upper_limit(
        "late_calls_p99",
        float(np.quantile(compute_lateness_ms(calls), 0.99)),
        unit="ms",
        warn=_MAX_LATE_MS,
        invalid=_INVALID_LATE_MS if len(calls) >= _MIN_CALLS_FOR_P99 else math.inf,
        hint=(
            "Calls started late although a stream was free, because the machine has too few cores for the model's "
            "threads. Use fewer threads or streams, or a machine with more cores."
        ),
    )
