"""Arrivals of a day and the standard normals of their service times, minute by minute; they depend
only on the seed."""

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

    `modulation_shape` and `modulation_window_s` describe random variation of the rates, as in
    `iterate_poisson_arrivals`.
    """
    time_seed, normal_seed = np.random.SeedSequence((seed, 2)).spawn(2)
    generator = np.random.default_rng(normal_seed)
    chunks = iterate_poisson_arrivals(rates_per_s, bin_s, time_seed, modulation_shape, modulation_window_s)
    pending_s = np.empty(0)
    length_s = rates_per_s.size * bin_s
    for minute in range(int(np.ceil(length_s / MINUTE_S - 1e-9))):
        end_s = min((minute + 1) * MINUTE_S, length_s)
        while not pending_s.size or pending_s[-1] < end_s:
            chunk = next(chunks, None)
            if chunk is None:
                break
            pending_s = np.concatenate([pending_s, chunk])
        stop = int(np.searchsorted(pending_s, end_s, side="left"))
        yield Arrivals(start_s + end_s, start_s + pending_s[:stop], generator.standard_normal(stop))
        pending_s = pending_s[stop:]


def iterate_trace(
    rates_per_s: Floats, bin_s: float, start_s: float, seed: int, rows: TraceRows, by_size: bool = False
) -> Iterator[Arrivals]:
    """Yield the arrivals of a trace minute by minute, replayed in a loop and scaled to the rate of
    each bin.

    To scale it, a random part of the trace is used, or independent copies are added. Above 64
    copies, each request is repeated several times within a second. With `by_size`, the normals are
    ranked by output tokens if the trace has them.
    """
    tokens = unpack_token_pairs(rows)
    normals_by_row = None if tokens is None or not by_size else rank_normals(tokens[:, 1])
    recorded_s = unpack_times_s(rows)
    copies = rates_per_s * rows.window_s / recorded_s.size
    requests_per_arrival = max(1.0, float(copies.max()) / _MAX_COPIES)
    shares = copies / requests_per_arrival
    copy_rng, rng = (np.random.default_rng(child_seed) for child_seed in np.random.SeedSequence((seed, 3)).spawn(2))
    offsets_s = copy_rng.uniform(0.0, rows.window_s, max(1, math.ceil(float(shares.max()) - 1e-6)))
    offsets_s[0] = 0.0
    length_s = rates_per_s.size * bin_s
    for minute in range(int(np.ceil(length_s / MINUTE_S - 1e-9))):
        begin_s, end_s = minute * MINUTE_S, min((minute + 1) * MINUTE_S, length_s)
        parts = [
            _repeat_window(recorded_s, rows.window_s, begin_s + offset_s, end_s + offset_s) for offset_s in offsets_s
        ]
        at_s = np.concatenate(
            [copy_times_s - offset_s for (copy_times_s, _), offset_s in zip(parts, offsets_s, strict=True)]
        )
        copy = np.repeat(np.arange(offsets_s.size), [copy_times_s.size for copy_times_s, _ in parts])
        share = shares[np.minimum((at_s / bin_s).astype(np.int64), shares.size - 1)] - copy
        is_selected = rng.random(at_s.size) < np.where(share > 1 - 1e-6, 1.0, share)
        at_s, row_numbers = at_s[is_selected], np.concatenate([row_numbers for _, row_numbers in parts])[is_selected]
        if requests_per_arrival > 1:
            repeats = (requests_per_arrival + rng.random(at_s.size)).astype(np.int64)
            at_s, row_numbers = np.repeat(at_s, repeats), np.repeat(row_numbers, repeats)
            at_s = np.minimum(at_s + rng.uniform(0.0, _REPEAT_SPREAD_S, at_s.size), end_s - _END_MARGIN_S)
        order = np.argsort(at_s, kind="stable")
        at_s = np.clip(at_s[order], begin_s, None)
        normals = rng.standard_normal(at_s.size) if normals_by_row is None else normals_by_row[row_numbers[order]]
        yield Arrivals(start_s + end_s, start_s + at_s, normals, row_numbers[order] if rows.input_tokens else _NO_ROWS)


def _repeat_window(recorded_s: Floats, window_s: float, begin_s: float, end_s: float) -> tuple[Floats, Ints]:
    """Return the arrival times from `begin_s` to `end_s` and their row numbers, for a trace that
    repeats forever."""
    arrival_times, row_numbers = [], []
    for repeat in range(math.floor(begin_s / window_s), math.floor(end_s / window_s) + 1):
        span = np.searchsorted(recorded_s, (begin_s - repeat * window_s, end_s - repeat * window_s))
        arrival_times.append(recorded_s[span[0] : span[1]] + repeat * window_s)
        row_numbers.append(np.arange(span[0], span[1]))
    return np.concatenate(arrival_times), np.concatenate(row_numbers)
