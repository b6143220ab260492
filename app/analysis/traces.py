"""Compute statistics of a recorded arrival trace (rates, burstiness, daily profile), and pack the
trace rows that a plan replays.

Arrival times are in seconds since the first arrival, in ascending order. They may be sparse: memory
use does not depend on the time span."""

from __future__ import annotations

import datetime
import math

import numpy as np
import numpy.typing as npt

from app.records.traffic import TraceRows, TraceStatistics

HOUR_S = 3_600.0
DAY_S = 86_400.0
MODULATION_WINDOW_S = 60.0
_MIN_WINDOWS = 10
_MIN_EXCESS_SIGMAS = 3.0
_EPOCH = datetime.datetime.combine(datetime.date(1970, 1, 1), datetime.time())

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def compute_trace_statistics(
    arrival_times_s: Floats,
    start_time: datetime.datetime | None = None,
    mean_tokens: tuple[float | None, float | None] = (None, None),
) -> TraceStatistics:
    """Compute the statistics of a trace. `mean_tokens` contains the mean input and output lengths
    in tokens. Without `start_time`, the trace is assumed to start at midnight on an unknown
    weekday."""
    span_s = float(arrival_times_s[-1])
    since_midnight_s = 0.0 if start_time is None else (start_time - _EPOCH).total_seconds() % DAY_S
    return TraceStatistics(
        count=len(arrival_times_s),
        span_s=span_s,
        mean_per_s=(len(arrival_times_s) - 1) / span_s if span_s else 0.0,
        peak_1s_per_s=compute_peak_rate_per_s(arrival_times_s, 1.0),
        peak_60s_per_s=compute_peak_rate_per_s(arrival_times_s, 60.0),
        peak_1h_per_s=compute_peak_rate_per_s(arrival_times_s, HOUR_S),
        ca2=compute_squared_cv(arrival_times_s),
        index_1s=compute_dispersion_index(arrival_times_s, 1.0),
        index_10s=compute_dispersion_index(arrival_times_s, 10.0),
        index_60s=compute_dispersion_index(arrival_times_s, 60.0),
        modulation_shape=compute_modulation_shape(arrival_times_s),
        hourly_share=compute_hourly_profile(arrival_times_s, since_midnight_s) if span_s >= DAY_S else None,
        weekly_share=None
        if start_time is None or span_s < 7 * DAY_S
        else compute_weekly_profile(arrival_times_s, since_midnight_s, start_time.weekday()),
        mean_input_tokens=mean_tokens[0],
        mean_output_tokens=mean_tokens[1],
    )


def compute_peak_rate_per_s(arrival_times_s: Floats, window_s: float) -> float | None:
    """Compute the peak arrival rate per second over all windows that start with an arrival; `None`
    if the trace is shorter than the window."""
    if arrival_times_s[-1] < window_s:
        return None
    counts = np.searchsorted(arrival_times_s, arrival_times_s + window_s, side="left") - np.arange(len(arrival_times_s))
    return float(counts.max()) / window_s


def compute_squared_cv(arrival_times_s: Floats) -> float | None:
    """Compute the squared coefficient of variation of the gaps between arrivals (1 for a Poisson
    process); `None` with fewer than three arrivals, or if all arrivals are simultaneous."""
    gaps = np.diff(arrival_times_s)
    if len(gaps) < 2 or arrival_times_s[-1] == 0:
        return None
    return float(gaps.var() / gaps.mean() ** 2)


def compute_dispersion_index(arrival_times_s: Floats, window_s: float) -> float | None:
    """Compute the index of dispersion, which is the variance divided by the mean of the counts in
    complete windows; `None` with fewer than ten windows."""
    window_count = math.floor(arrival_times_s[-1] / window_s)
    if window_count < _MIN_WINDOWS:
        return None
    _, counts = _count_arrivals(arrival_times_s, window_s, window_count)
    mean = counts.sum() / window_count
    return float((np.square(counts).sum() - window_count * mean**2) / (window_count - 1) / mean) if mean else None


def compute_modulation_shape(arrival_times_s: Floats, window_s: float = MODULATION_WINDOW_S) -> float | None:
    """Compute the shape k of a gamma distribution that explains the variance of counts within each
    hour: the rate in each window is multiplied by a factor drawn from that distribution. Return
    `None` if random variation explains the variance, or with too little data.

    Over all hours, the variance in excess of a Poisson process equals the sum of the squared mean
    counts divided by k. Differences between hours belong to the daily profile and are excluded."""
    window_count = math.floor(arrival_times_s[-1] / window_s)
    windows_per_hour = min(window_count, round(HOUR_S / window_s))
    if windows_per_hour < _MIN_WINDOWS:
        return None
    hour_count = window_count // windows_per_hour
    windows_with_arrivals, counts = _count_arrivals(arrival_times_s, window_s, hour_count * windows_per_hour)
    _, hour_indices = np.unique(windows_with_arrivals // windows_per_hour, return_inverse=True)
    means = np.bincount(hour_indices, counts) / windows_per_hour
    variances = (np.bincount(hour_indices, np.square(counts)) - windows_per_hour * means**2) / (windows_per_hour - 1)
    squared_means = means**2 - variances / windows_per_hour  # subtracts the variance of the mean itself
    excess_variance, relative_error = (
        float((variances - means).sum()),
        math.sqrt(2 / (hour_count * (windows_per_hour - 1))),
    )
    if excess_variance <= _MIN_EXCESS_SIGMAS * relative_error * float(means.sum()):
        return None
    return max(float(squared_means.sum()), 0.0) / excess_variance or None


def compute_hourly_profile(arrival_times_s: Floats, since_midnight_s: float) -> tuple[float, ...]:
    """Compute the mean rate of each hour of the day, relative to the hour with the highest rate."""
    return _compute_relative_rates(arrival_times_s + since_midnight_s, since_midnight_s, HOUR_S, 24)


def compute_weekly_profile(arrival_times_s: Floats, since_midnight_s: float, weekday: int) -> tuple[float, ...]:
    """Compute the mean rate of each weekday from Monday, relative to the day with the highest
    rate."""
    offset_s = since_midnight_s + weekday * DAY_S
    return _compute_relative_rates(arrival_times_s + offset_s, offset_s, DAY_S, 7)


def _compute_relative_rates(arrival_times_s: Floats, start_s: float, bin_s: float, bin_count: int) -> tuple[float, ...]:
    counts = np.bincount((arrival_times_s // bin_s).astype(np.int64) % bin_count, minlength=bin_count)
    rates = counts / (
        _compute_covered_s(float(arrival_times_s[-1]), bin_s, bin_count) - _compute_covered_s(start_s, bin_s, bin_count)
    )
    return tuple((rates / rates.max()).tolist())


def _compute_covered_s(until_s: float, bin_s: float, bin_count: int) -> Floats:
    """Compute the time in s, between 0 and `until_s`, that falls into each bin of a repeating
    cycle."""
    cycles, remainder_s = divmod(until_s, bin_s * bin_count)
    covered_s: Floats = cycles * bin_s + np.clip(remainder_s - np.arange(bin_count) * bin_s, 0.0, bin_s)
    return covered_s


def _count_arrivals(arrival_times_s: Floats, window_s: float, window_count: int) -> tuple[Ints, Floats]:
    """Count the arrivals per window. Return the indices of the non-empty windows, and the counts
    in those windows."""
    indices = (arrival_times_s // window_s).astype(np.int64)
    indices = indices[: np.searchsorted(indices, window_count)]
    starts = np.flatnonzero(np.diff(indices, prepend=-1))
    return indices[starts], np.diff(starts, append=indices.size).astype(np.float64)


MAX_ROWS = 100_000
WINDOW_S = 3_600.0
_MICROSECONDS_PER_S = 1e6


def select_busiest_rows(
    arrival_times_s: Floats,
    token_columns: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None = None,
    max_rows: int = MAX_ROWS,
) -> TraceRows:
    """Select the rows in the hour of a trace with the most requests, or all rows of a shorter
    trace. `arrival_times_s` must ascend from 0 to a value above 0.

    If there are more than `max_rows` requests, an independent random sample of them is stored, so
    that bursts preserve their relative size."""
    span_s = float(arrival_times_s[-1])
    first_index, stop_index, window_s = 0, len(arrival_times_s), WINDOW_S
    if span_s >= WINDOW_S:
        end_indices = np.searchsorted(arrival_times_s, arrival_times_s + WINDOW_S, side="left")
        first_index = int(np.argmax(end_indices - np.arange(len(arrival_times_s))))
        stop_index = int(end_indices[first_index])
    else:
        window_s = (
            span_s * len(arrival_times_s) / (len(arrival_times_s) - 1)
        )  # includes the mean gap after the last row, so that the mean rate is preserved
    selected_indices = np.arange(first_index, stop_index)
    sampled_fraction = min(1.0, max_rows / selected_indices.size)
    if sampled_fraction < 1.0:
        selected_indices = np.sort(np.random.default_rng(0).choice(selected_indices, max_rows, replace=False))
    arrival_times_us = np.minimum(
        np.rint((arrival_times_s[selected_indices] - arrival_times_s[first_index]) * _MICROSECONDS_PER_S), 2**32 - 1
    )
    inputs, outputs = (
        (b"", b"")
        if token_columns is None
        else (column[selected_indices].astype("<i4").tobytes() for column in token_columns)
    )
    return TraceRows(window_s, arrival_times_us.astype("<u4").tobytes(), inputs, outputs, sampled_fraction)


def unpack_times_s(rows: TraceRows) -> Floats:
    """Return the arrival times in s since the start of the recorded hour, in ascending order."""
    return np.frombuffer(rows.at_us, "<u4").astype(np.float64) / _MICROSECONDS_PER_S


def unpack_token_pairs(rows: TraceRows) -> Ints | None:
    """Return an integer array with two columns, input tokens and output tokens, each at least 1;
    `None` if the trace has no token columns."""
    if not rows.input_tokens:
        return None
    columns = [np.frombuffer(column, "<i4").astype(np.int64) for column in (rows.input_tokens, rows.output_tokens)]
    return np.maximum(np.column_stack(columns), 1)


def compute_rate_per_s(rows: TraceRows) -> float:
    """Compute the mean request rate per second of the recorded hour, including requests that were
    not sampled."""
    return len(rows.at_us) / 4 / rows.sampled_share / rows.window_s


def find_rows_error(rows: TraceRows) -> str | None:
    """Return the reason why trace rows cannot be replayed, for example after a manual edit; `None`
    if they are valid."""
    count, remainder = divmod(len(rows.at_us), 4)
    if remainder or not 2 <= count <= MAX_ROWS:
        return (
            f"traffic.rows has {len(rows.at_us)} bytes of timestamps; it must have 2 to {MAX_ROWS:,} timestamps of "
            "4 bytes"
        )
    if any(len(column) not in (0, len(rows.at_us)) for column in (rows.input_tokens, rows.output_tokens)):
        return "traffic.rows has columns of different lengths"
    if len(rows.input_tokens) != len(rows.output_tokens):
        return "traffic.rows must have both input tokens and output tokens, or neither"
    if not 0 < rows.window_s <= 2 * WINDOW_S or not 0 < rows.sampled_share <= 1:
        return "traffic.rows has an invalid window_s or kept_share"
    arrival_times_s = unpack_times_s(rows)
    if (np.diff(arrival_times_s) < 0).any() or arrival_times_s[-1] > rows.window_s:
        return "traffic.rows must have ascending timestamps within window_s"
    return None
