"""Compute all metrics of one stage of a local model from its calls and its stage data.

The module also represents the calls as arrays, and checks that calls ran in a steady state and
started on time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from app.analysis.columns import Ints, Nanoseconds, read_times
from app.analysis.drift import CHANGE_LIMIT, compute_latency_drift
from app.analysis.estimates import compute_distribution, estimate_rate
from app.analysis.number_format import format_number
from app.analysis.rows import NOT_STARTED
from app.analysis.validity import check_upper_limit, compute_verdict
from app.records.calls import CallStage
from app.records.estimate import Estimate
from app.records.result import Check, Stage, Window

Floats = npt.NDArray[np.float64]

CALL_PARTS = {
    "prepare_ms": ("begin_ns", "prepared_ns"),
    "copy_in_ms": ("prepared_ns", "copied_in_ns"),
    "execute_ms": ("copied_in_ns", "executed_ns"),
    "copy_out_ms": ("executed_ns", "copied_out_ns"),
    "post_process_ms": ("copied_out_ns", "end_ns"),
}
"""Names of the columns with the start and end timestamps of each part of a call."""


@dataclass(frozen=True)
class CallRows:
    """Calls inside the measurement window as arrays, with one entry per call, ordered by end time.
    `never_started_ns` holds the scheduled starts of calls that were never started."""

    query: Ints
    stream: Ints
    scheduled_ns: Nanoseconds
    begin_ns: Nanoseconds
    prepared_ns: Nanoseconds
    copied_in_ns: Nanoseconds
    """Time in ns at which the input copy ended; if copies are part of the execution, the start of
    the execution."""
    executed_ns: Nanoseconds
    copied_out_ns: Nanoseconds
    """Time in ns at which the output copy ended; if copies are part of the execution, the end of
    the execution."""
    end_ns: Nanoseconds
    has_separate_copies: bool
    never_started_ns: Nanoseconds

    def __len__(self) -> int:
        return len(self.end_ns)

    @property
    def service_ms(self) -> Floats:
        """Service time of each call in ms: copies and execution, without preparation and
        post-processing."""
        durations_ms: Floats = (self.copied_out_ns - self.prepared_ns) / 1e6
        return durations_ms

    def compute_part_ms(self, part_name: str) -> Floats:
        start_column, end_column = CALL_PARTS[part_name]
        durations_ms: Floats = (getattr(self, end_column) - getattr(self, start_column)) / 1e6
        return durations_ms


def read_calls(rows: pd.DataFrame | pa.Table, stage_data: CallStage) -> CallRows:
    """Read the calls of a stage. `rows` includes the warm-up of the stage, which is dropped."""
    frame = rows.to_pandas(types_mapper=pd.ArrowDtype) if isinstance(rows, pa.Table) else rows
    begin_ns, has_begun = read_times(frame["begin_ns"])
    copied_in_ns, has_copies = read_times(frame["copied_in_ns"])
    scheduled_ns, has_schedule = read_times(frame["scheduled_ns"])
    query, stream = (
        read_times(frame[name])[0] for name in ("query", "stream")
    )  # a call that never began has no stream
    is_in_stage = has_begun & (begin_ns >= stage_data.start_ns)
    if stage_data.scenario in ("server", "multi-stream"):
        is_in_stage &= has_schedule
    end_ns = read_times(frame["end_ns"])[0]
    order = np.flatnonzero(is_in_stage)
    order = order[np.argsort(end_ns[order], kind="stable")]
    has_separate_copies = bool(order.size) and bool(has_copies[order].all())
    prepared_ns, executed_ns = (read_times(frame[name])[0][order] for name in ("prepared_ns", "executed_ns"))
    return CallRows(
        query=query[order],
        stream=stream[order],
        scheduled_ns=scheduled_ns[order],
        begin_ns=begin_ns[order],
        prepared_ns=prepared_ns,
        copied_in_ns=copied_in_ns[order] if has_separate_copies else prepared_ns,
        executed_ns=executed_ns,
        copied_out_ns=read_times(frame["copied_out_ns"])[0][order] if has_separate_copies else executed_ns,
        end_ns=end_ns[order],
        has_separate_copies=has_separate_copies,
        never_started_ns=scheduled_ns[~has_begun & has_schedule],
    )


def compute_lateness_ms(calls: CallRows) -> Floats:
    """Compute the start delay of each call in ms: the time from the moment at which the call was
    due and a stream was free, to the actual start. Sizewise, not the model, causes this delay."""
    order = np.lexsort((calls.begin_ns, calls.stream))
    stream, begin_ns, end_ns = calls.stream[order], calls.begin_ns[order], calls.end_ns[order]
    free_ns = np.where(np.concatenate([[False], stream[1:] == stream[:-1]]), np.roll(end_ns, 1), 0)
    lateness_ms: Floats = (begin_ns - np.maximum(calls.scheduled_ns[order], free_ns)) / 1e6
    return lateness_ms


_MAX_LATE_MS = 1.0
_INVALID_LATE_MS = 10.0
_MIN_CALLS = 20
_MIN_CALLS_FOR_P99 = 100
_MAX_LOOP_SHARE = 0.05


def check_calls(calls: CallRows, stage_data: CallStage) -> tuple[Check, ...]:
    if not len(calls):
        return (Check("calls", 0, _MIN_CALLS, "calls", "INVALID", "No call completed. Increase load.max_duration."),)
    checks = [_check_warm_up(stage_data), _check_call_count(calls), _check_steady_times(calls, stage_data)]
    if stage_data.stopped_early:
        checks.append(_build_interruption_check(stage_data))
    elif stage_data.scenario == "server":
        checks += [_check_never_started(calls), _check_lateness(calls)]
    else:
        checks.append(_check_precision(stage_data))
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


def _build_interruption_check(stage_data: CallStage) -> Check:
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


def _check_warm_up(stage_data: CallStage) -> Check:
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


def _check_precision(stage_data: CallStage) -> Check:
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
        else "There are too few calls for a confidence interval. Increase load.max_duration.",
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


SEARCH_TAG = "search"
"""Tag of the stages of a search for the max rate within the SLO."""

_INFINITE_MS = 1e15
_NO_OFFERED_RATE = Estimate(None, reason="closed loop: the next call starts when the previous one ends")


def summarize_calls(rows: pd.DataFrame | pa.Table, stage_data: CallStage, checks: Sequence[Check] = ()) -> Stage:
    """Build the stage from its calls. `rows` includes the warm-up; `checks` are the checks that
    apply to the variant as a whole."""
    calls = read_calls(rows, stage_data)
    window = Window(stage_data.start_ns, stage_data.end_ns)
    bounds_ns = (window.start_ns, window.end_ns)
    all_checks = (*checks, *check_calls(calls, stage_data))
    is_server = stage_data.scenario == "server"
    scheduled_ns = np.concatenate([calls.scheduled_ns, calls.never_started_ns]) if is_server else calls.scheduled_ns
    return Stage(
        name=format_stage_name(stage_data),
        kind="steady" if is_server else "closed",
        repeat=1,
        tags={"scenario": stage_data.scenario} | ({SEARCH_TAG: "yes"} if stage_data.in_search else {}),
        variant=stage_data.variant,
        window=window,
        offered_per_s=estimate_rate(np.sort(scheduled_ns), bounds_ns) if is_server else _NO_OFFERED_RATE,
        achieved_per_s=estimate_rate(np.sort(calls.begin_ns), bounds_ns),
        good_per_s=Estimate(None, reason="individual calls of a local model are not evaluated"),
        completed=len(calls),
        errors={NOT_STARTED: len(calls.never_started_ns)} if len(calls.never_started_ns) else {},
        metrics=_build_metrics(calls, stage_data, bounds_ns),
        verdict=compute_verdict(all_checks),
        checks=all_checks,
        scheduled_per_s=stage_data.rate_per_s,
        concurrency=_get_concurrency(stage_data),
        arrivals="Poisson" if is_server else None,
        arrival_kind="poisson" if is_server else None,
    )


def format_stage_name(stage_data: CallStage) -> str:
    """Return the display name of the stage, such as `offline: digits cpu as-is, batch 8`."""
    rate_suffix = "" if stage_data.rate_per_s is None else f" at {format_number(stage_data.rate_per_s)} calls/s"
    return f"{stage_data.scenario}{rate_suffix}: {stage_data.variant.label}"


def _get_concurrency(stage_data: CallStage) -> int | None:
    """Return the number of concurrent calls; `None` if the number depends on the arrivals."""
    match stage_data.scenario:
        case "server":
            return None
        case "single-stream":
            return 1
        case _:
            return stage_data.variant.streams * max(1, len(stage_data.variant.devices))


def _build_metrics(
    calls: CallRows, stage_data: CallStage, bounds_ns: tuple[int, int]
) -> dict[str, dict[str, Estimate]]:
    metrics = {"service_ms": compute_distribution(calls.service_ms)}
    if stage_data.scenario == "server":
        metrics["latency_ms"] = _compute_latency_distribution(calls)
        metrics["send_lag_ms"] = compute_distribution(compute_lateness_ms(calls))
    if stage_data.scenario == "multi-stream":
        metrics["latency_ms"] = compute_distribution(_compute_query_latencies_ms(calls))
    for part_name in CALL_PARTS:
        if not part_name.startswith("copy") or calls.has_separate_copies:
            metrics[part_name] = _compute_part_distribution(calls.compute_part_ms(part_name))
    metrics["throughput_per_s"] = {"value": _compute_throughput(calls, stage_data, bounds_ns)}
    return metrics


def _compute_throughput(calls: CallRows, stage_data: CallStage, bounds_ns: tuple[int, int]) -> Estimate:
    """Compute the throughput in rows per second.

    In a closed loop, a call that was running at the end of the stage counts by the fraction inside
    the stage. Otherwise, the throughput of a stage with few long calls would be too low."""
    end_ns = bounds_ns[1]
    completed_rate = estimate_rate(
        calls.end_ns, (bounds_ns[0], end_ns + 1)
    )  # include the last call of a single stream, which ends exactly at `end_ns`
    is_running_at_end = (calls.begin_ns < end_ns) & (calls.end_ns > end_ns)
    durations_ns = np.maximum(calls.end_ns - calls.begin_ns, 1)
    partial_call_count = (
        float(((end_ns - calls.begin_ns) / durations_ns)[is_running_at_end].sum())
        if stage_data.scenario != "server"
        else 0.0
    )
    completed_count = completed_rate.n or 0
    if not completed_count:
        duration_s = (end_ns - bounds_ns[0]) / 1e9
        value = (
            partial_call_count * stage_data.variant.batch / duration_s
            if duration_s > 0 and partial_call_count
            else None
        )
        return Estimate(value, n=0, reason="no call completed within the stage")
    return _scale_estimate(
        completed_rate, stage_data.variant.batch * (completed_count + partial_call_count) / completed_count
    )


def _compute_part_distribution(values_ms: Floats) -> dict[str, Estimate]:
    return {
        name: estimate
        for name, estimate in compute_distribution(values_ms).items()
        if name in ("p50", "p95", "p99", "mean", "max")
    }


def _compute_latency_distribution(calls: CallRows) -> dict[str, Estimate]:
    """Compute the latency from the scheduled start of each call to its end.

    Calls that were never started count as infinite, because they would have waited longest.
    Infinite aggregates are withheld."""
    latencies_ms = ((calls.end_ns - calls.scheduled_ns) / 1e6)[np.argsort(calls.scheduled_ns, kind="stable")]
    never_started_count = len(calls.never_started_ns)
    if not never_started_count:
        return compute_distribution(latencies_ms)
    reason = f"{never_started_count:,} calls were never started because the model could not keep up"
    estimates = compute_distribution(np.concatenate([latencies_ms, np.full(never_started_count, _INFINITE_MS)]))
    return {
        name: Estimate(None, reason=reason) if name == "mean" else _withhold_infinite_value(estimate, reason)
        for name, estimate in estimates.items()
    }


def _withhold_infinite_value(estimate: Estimate, reason: str) -> Estimate:
    if estimate.value is None:
        is_infinite = estimate.undersampled is not None and estimate.undersampled >= _INFINITE_MS
        return msgspec.structs.replace(estimate, undersampled=None) if is_infinite else estimate
    if estimate.value >= _INFINITE_MS:
        return Estimate(None, n=estimate.n, reason=reason)
    has_known_interval = estimate.ci95 is not None and estimate.ci95[1] < _INFINITE_MS
    return estimate if has_known_interval else Estimate(estimate.value, n=estimate.n, reason=f"no interval: {reason}")


def _compute_query_latencies_ms(calls: CallRows) -> Floats:
    """Compute the latency of each query in ms, in query order. The latency is the time from the
    scheduled start to the end of the last call."""
    queries, query_index = np.unique(calls.query, return_inverse=True)
    ends_ns = np.zeros(len(queries), np.int64)
    np.maximum.at(ends_ns, query_index, calls.end_ns)
    scheduled_ns = np.zeros(len(queries), np.int64)
    scheduled_ns[query_index] = calls.scheduled_ns
    latencies_ms: Floats = (ends_ns - scheduled_ns) / 1e6
    return latencies_ms


def _scale_estimate(estimate: Estimate, factor: float) -> Estimate:
    if estimate.value is None:
        return estimate
    interval = None if estimate.ci95 is None else (estimate.ci95[0] * factor, estimate.ci95[1] * factor)
    return Estimate(estimate.value * factor, interval, estimate.n, estimate.basis, estimate.reason)


def find_max_throughput_per_s(stages: Sequence[Stage]) -> float | None:
    """Return the highest throughput of a variant in inferences per second; `None` if there is none.
    INVALID stages are ignored."""
    return find_max_throughput(stages).value


def find_max_throughput(stages: Sequence[Stage]) -> Estimate:
    """Return the highest throughput of a variant in inferences per second, with its confidence
    interval. INVALID stages are ignored."""
    throughputs = [stage.metrics["throughput_per_s"]["value"] for stage in stages if stage.verdict.status != "INVALID"]
    return max(throughputs, key=lambda estimate: estimate.value or 0.0, default=Estimate(None, reason="not measured"))
