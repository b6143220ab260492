"""Arrivals of a day, minute by minute, and the standard normals that determine their service times.
Both depend only on the rates and the seed, not on the autoscaler."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from app.analysis.traces import unpack_times_s, unpack_token_pairs
from app.planning.simulation.arrivals import Arrivals, iterate_poisson_arrivals, rank_normals
from app.planning.simulation.compiled import Floats, Ints
from app.records.traffic import TraceRows

MINUTE_S = 60.0
_MAX_COPIES = 64
_REPEAT_SPREAD_S, _END_MARGIN_S = 1.0, 1e-6
_NO_ROWS: Ints = np.empty(0, dtype=np.int64)


def iterate_arrivals(
    rates_per_s: Floats,
    bin_s: float,
    start_s: float,
    seed: int,
    modulation_shape: float | None = None,
    modulation_window_s: float = 30.0,
) -> Iterator[Arrivals]:
    """Yield random arrivals minute by minute; the last minute may be shorter.

    `modulation_shape` and `modulation_window_s` define random variation of the rates, as in
    `iterate_poisson_arrivals`.
    """
    time_seed, normal_seed = np.random.SeedSequence((seed, 2)).spawn(2)
    rng = np.random.default_rng(normal_seed)
    chunks = iterate_poisson_arrivals(rates_per_s, bin_s, time_seed, modulation_shape, modulation_window_s)
    pending_times_s = np.empty(0)
    duration_s = rates_per_s.size * bin_s
    for minute in range(int(np.ceil(duration_s / MINUTE_S - 1e-9))):
        end_s = min((minute + 1) * MINUTE_S, duration_s)
        while not pending_times_s.size or pending_times_s[-1] < end_s:
            chunk = next(chunks, None)
            if chunk is None:
                break
            pending_times_s = np.concatenate([pending_times_s, chunk])
        stop = int(np.searchsorted(pending_times_s, end_s, side="left"))
        yield Arrivals(start_s + end_s, start_s + pending_times_s[:stop], rng.standard_normal(stop))
        pending_times_s = pending_times_s[stop:]


def iterate_trace_arrivals(
    rates_per_s: Floats, bin_s: float, start_s: float, seed: int, rows: TraceRows, rank_by_size: bool = False
) -> Iterator[Arrivals]:
    """Yield the arrivals of a trace minute by minute. The trace is replayed in a loop and scaled to
    the rate of each bin.

    A lower rate is a random part of the trace; a higher rate is a superposition of independent
    copies. Above 64 copies, each request is repeated several times within a second. With
    `rank_by_size`, the normals are in the order of the requests' output tokens, if the trace has
    token lengths.
    """
    tokens = unpack_token_pairs(rows)
    row_normals = None if tokens is None or not rank_by_size else rank_normals(tokens[:, 1])
    trace_times_s = unpack_times_s(rows)
    copies = rates_per_s * rows.window_s / trace_times_s.size
    requests_per_arrival = max(1.0, float(copies.max()) / _MAX_COPIES)
    shares = copies / requests_per_arrival
    copy_rng, rng = (np.random.default_rng(child_seed) for child_seed in np.random.SeedSequence((seed, 3)).spawn(2))
    offsets_s = copy_rng.uniform(0.0, rows.window_s, max(1, math.ceil(float(shares.max()) - 1e-6)))
    offsets_s[0] = 0.0
    duration_s = rates_per_s.size * bin_s
    for minute in range(int(np.ceil(duration_s / MINUTE_S - 1e-9))):
        begin_s, end_s = minute * MINUTE_S, min((minute + 1) * MINUTE_S, duration_s)
        copy_arrivals = [
            _repeat_window(trace_times_s, rows.window_s, begin_s + offset_s, end_s + offset_s) for offset_s in offsets_s
        ]
        times_s = np.concatenate(
            [copy_times_s - offset_s for (copy_times_s, _), offset_s in zip(copy_arrivals, offsets_s, strict=True)]
        )
        copy_numbers = np.repeat(np.arange(offsets_s.size), [copy_times_s.size for copy_times_s, _ in copy_arrivals])
        remaining_shares = shares[np.minimum((times_s / bin_s).astype(np.int64), shares.size - 1)] - copy_numbers
        is_selected = rng.random(times_s.size) < np.where(remaining_shares > 1 - 1e-6, 1.0, remaining_shares)
        times_s, row_numbers = (
            times_s[is_selected],
            np.concatenate([row_numbers for _, row_numbers in copy_arrivals])[is_selected],
        )
        if requests_per_arrival > 1:
            repeat_counts = (requests_per_arrival + rng.random(times_s.size)).astype(np.int64)
            times_s, row_numbers = np.repeat(times_s, repeat_counts), np.repeat(row_numbers, repeat_counts)
            times_s = np.minimum(times_s + rng.uniform(0.0, _REPEAT_SPREAD_S, times_s.size), end_s - _END_MARGIN_S)
        order = np.argsort(times_s, kind="stable")
        times_s = np.clip(times_s[order], begin_s, None)
        normals = rng.standard_normal(times_s.size) if row_normals is None else row_normals[row_numbers[order]]
        yield Arrivals(
            start_s + end_s, start_s + times_s, normals, row_numbers[order] if rows.input_tokens else _NO_ROWS
        )


def _repeat_window(trace_times_s: Floats, window_s: float, begin_s: float, end_s: float) -> tuple[Floats, Ints]:
    """Return the arrival times from `begin_s` to `end_s`, and their row numbers in the trace. The
    trace is repeated endlessly."""
    time_arrays, row_arrays = [], []
    for repeat in range(math.floor(begin_s / window_s), math.floor(end_s / window_s) + 1):
        row_range = np.searchsorted(trace_times_s, (begin_s - repeat * window_s, end_s - repeat * window_s))
        time_arrays.append(trace_times_s[row_range[0] : row_range[1]] + repeat * window_s)
        row_arrays.append(np.arange(row_range[0], row_range[1]))
    return np.concatenate(time_arrays), np.concatenate(row_arrays)
