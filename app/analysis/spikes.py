"""Compute the effect of a load spike: how long the SLO was violated, how large the backlog grew,
and how long the backlog took to drain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.analysis.arrivals import RateCurve, build_rate_curve
from app.analysis.columns import Floats, Ints, Mask, Nanoseconds
from app.analysis.rows import StageRows
from app.analysis.spans import LIMIT_METRICS, compute_durations_ms, is_within_limit
from app.records.metrics import PERCENTILES
from app.records.result import Estimate, Objective, Spike, Window
from app.records.stage import StageData

_NORMAL_QUANTILE = 0.99


def analyze_spike(
    rows: StageRows, stage_data: StageData, window: Window, objectives: Sequence[Objective]
) -> Spike | None:
    """Analyze the effect of a spike on a stage; `None` if the rate curve has no spike. `rows` must
    contain all rows of the stage, including its lead-in."""
    curve = build_rate_curve(stage_data)
    times_s = None if curve is None else _find_spike_times_s(curve)
    if curve is None or times_s is None:
        return None
    start_ns, end_ns = (stage_data.start_ns + round(time_s * 1e9) for time_s in times_s)
    change_times_ns, backlog = _compute_backlog(rows, stage_data.end_ns)
    return Spike(
        baseline_per_s=float(curve.rates_per_s[0]),
        peak_per_s=float(curve.rates_per_s.max()),
        spike_s=times_s[1] - times_s[0],
        slo_violated_s=_compute_violation_time(rows, window, objectives),
        backlog_peak=_compute_peak_backlog(change_times_ns, backlog, window),
        drained_s=_compute_drain_time(
            change_times_ns, backlog, Window(window.start_ns, start_ns), Window(end_ns, window.end_ns)
        ),
    )


def _find_spike_times_s(curve: RateCurve) -> tuple[float, float] | None:
    """Return the time at which the rate rises above its initial value, and the time at which it has
    returned to that value, both in s; `None` if the rate never rises.

    If the rate never returns, the second time is the end of the rate curve."""
    indices_above = np.flatnonzero(curve.rates_per_s > curve.rates_per_s[0])
    if not indices_above.size:
        return None
    indices_returned = np.flatnonzero(curve.rates_per_s[indices_above[0] :] <= curve.rates_per_s[0])
    end_index = indices_above[0] + indices_returned[0] if indices_returned.size else curve.times_s.size - 1
    return float(curve.times_s[indices_above[0] - 1]), float(curve.times_s[end_index])


def _compute_backlog(rows: StageRows, end_ns: int) -> tuple[Nanoseconds, Ints]:
    """Compute the times of all changes of the backlog, and the backlog after each change: the
    number of scheduled but uncompleted requests. Requests that never completed count until the end
    of the stage."""
    ends_ns = np.where(rows.end_ns > 0, rows.end_ns, end_ns)
    change_times_ns = np.concatenate((ends_ns, rows.scheduled_ns))
    changes = np.concatenate((np.full(ends_ns.size, -1), np.ones(ends_ns.size, dtype=np.int64)))
    order = np.argsort(change_times_ns, kind="stable")  # responses precede arrivals with the same timestamp
    return change_times_ns[order], np.cumsum(changes[order])


def _compute_peak_backlog(change_times_ns: Nanoseconds, backlog: Ints, window: Window) -> Estimate:
    backlog_in_window = backlog[change_times_ns >= window.start_ns]
    return (
        Estimate(float(backlog_in_window.max()), n=backlog_in_window.size)
        if backlog_in_window.size
        else Estimate(None, n=0, reason="no requests")
    )


def _compute_drain_time(
    change_times_ns: Nanoseconds, backlog: Ints, window_before: Window, window_after: Window
) -> Estimate:
    """Compute the time in s from the end of the spike until the backlog is at or below its 99th
    percentile before the spike. The backlog must drain while load is still offered."""
    normal_backlog = _compute_normal_backlog(change_times_ns, backlog, window_before)
    if normal_backlog is None:
        return Estimate(None, reason="no requests arrived before the spike")
    last_index = int(np.searchsorted(change_times_ns, window_after.start_ns, side="right")) - 1
    if last_index >= 0 and backlog[last_index] <= normal_backlog:
        return Estimate(0.0)
    indices_recovered = np.flatnonzero(
        (backlog[last_index + 1 :] <= normal_backlog) & (change_times_ns[last_index + 1 :] < window_after.end_ns)
    )
    if not indices_recovered.size:
        return Estimate(None, reason="the backlog had not drained when the load ended")
    return Estimate((int(change_times_ns[last_index + 1 + indices_recovered[0]]) - window_after.start_ns) / 1e9)


def _compute_normal_backlog(change_times_ns: Nanoseconds, backlog: Ints, window: Window) -> float | None:
    """Compute the time-weighted 99th percentile of the backlog in the window; `None` if the window
    contains no request."""
    is_inside = (change_times_ns >= window.start_ns) & (change_times_ns < window.end_ns)
    if not is_inside.any():
        return None
    durations_ns = np.diff(change_times_ns[is_inside], append=window.end_ns)
    order = np.argsort(backlog[is_inside], kind="stable")
    cumulative_shares = np.cumsum(durations_ns[order]) / durations_ns.sum()
    return float(
        backlog[is_inside][order][min(np.searchsorted(cumulative_shares, _NORMAL_QUANTILE), cumulative_shares.size - 1)]
    )


def _compute_violation_time(rows: StageRows, window: Window, objectives: Sequence[Objective]) -> Estimate:
    """Compute the time in s from the start of the first second that violated the SLO to the end of
    the last such second. Requests are assigned to seconds by scheduled start."""
    rows_inside = rows.filter((rows.scheduled_ns >= window.start_ns) & (rows.scheduled_ns < window.end_ns))
    second_of_request = (rows_inside.scheduled_ns - window.start_ns) // 1_000_000_000
    violated_masks = [
        violated_mask
        for violated_mask in (
            _find_violated_seconds(rows_inside, second_of_request, objective) for objective in objectives
        )
        if violated_mask is not None
    ]
    if not violated_masks:
        return Estimate(None, reason="the SLO has no limit that can be evaluated per second")
    violated_seconds = np.flatnonzero(np.logical_or.reduce(violated_masks))
    duration_s = (window.end_ns - window.start_ns) / 1e9
    if not violated_seconds.size:
        return Estimate(0.0, n=0)
    end_s = min(duration_s, float(violated_seconds[-1]) + 1)
    reason = "lower bound: the SLO was still violated when the stage ended" if end_s >= duration_s else None
    return Estimate(end_s - float(violated_seconds[0]), n=violated_seconds.size, reason=reason)


def _find_violated_seconds(rows: StageRows, second_of_request: Ints, objective: Objective) -> Mask | None:
    """Return a mask of the seconds in which the objective was violated; `None` if the objective
    limits neither a request duration nor the error rate."""
    second_count = int(second_of_request.max(initial=0)) + 1
    if objective.comparator not in ("<", "<="):
        return None
    if objective.metric == "error_rate":
        was_started = rows.was_started
        return _error_rate_exceeds_limit(
            second_of_request[was_started], rows.is_failed[was_started], objective, second_count
        )
    values_ms = compute_durations_ms(rows, objective.metric) if objective.metric in LIMIT_METRICS else None
    if values_ms is None:
        return None
    is_known = rows.is_success & ~np.isnan(values_ms)
    second_of_request, values_ms = second_of_request[is_known], values_ms[is_known]
    if objective.aggregate == "mean":
        return _mean_exceeds_limit(second_of_request, values_ms, objective, second_count)
    needed_counts = np.ceil(
        PERCENTILES.get(objective.aggregate or "", 1.0) * np.bincount(second_of_request, minlength=second_count) - 1e-9
    )
    is_within = is_within_limit(objective, values_ms, values_ms.size)
    return np.asarray(np.bincount(second_of_request[is_within], minlength=second_count) < needed_counts)


def _error_rate_exceeds_limit(
    second_of_request: Ints, is_failed: Mask, objective: Objective, second_count: int
) -> Mask:
    request_counts = np.bincount(second_of_request, minlength=second_count)
    error_rates = np.bincount(second_of_request[is_failed], minlength=second_count) / np.maximum(request_counts, 1)
    return (request_counts > 0) & ~(
        error_rates < objective.limit if objective.comparator == "<" else error_rates <= objective.limit
    )


def _mean_exceeds_limit(second_of_request: Ints, values_ms: Floats, objective: Objective, second_count: int) -> Mask:
    request_counts = np.bincount(second_of_request, minlength=second_count)
    means = np.bincount(second_of_request, values_ms, minlength=second_count) / np.maximum(request_counts, 1)
    return (request_counts > 0) & ~(
        means < objective.limit if objective.comparator == "<" else means <= objective.limit
    )
