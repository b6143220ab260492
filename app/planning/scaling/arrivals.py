"""The arrivals of a day and the normals of their service, a minute at a time, all from the seed alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np

from app.analysis.traces import times_s, token_pairs
from app.planning.simulation.arrivals import normals_by_size, poisson_arrivals
from app.planning.simulation.compiled import Floats, Ints
from app.records.traffic import TraceRows

MINUTE_S = 60.0
_MOST_COPIES = 64
_CLONE_S, _LAST_S = 1.0, 1e-6
_NONE: Ints = np.empty(0, dtype=np.int64)


class Minute(msgspec.Struct, frozen=True, eq=False):
    """`at_s` ascends, with a standard normal for each; `rows` are places among a trace's rows, empty without them."""

    end_s: float
    at_s: Floats
    normals: Floats
    rows: Ints = _NONE


def minutes_of_arrivals(
    rates_per_s: Floats,
    bin_s: float,
    start_s: float,
    seed: int,
    shape: float | None = None,
    modulated_s: float = 30.0,
) -> Iterator[Minute]:
    """The last minute may be cut short. `shape` and `modulated_s` are of the rates' own variation, as in
    `poisson_arrivals`."""
    of_times, of_normals = np.random.SeedSequence((seed, 2)).spawn(2)
    generator = np.random.default_rng(of_normals)
    chunks = poisson_arrivals(rates_per_s, bin_s, of_times, shape, modulated_s)
    ahead_s = np.empty(0)
    length_s = rates_per_s.size * bin_s
    for minute in range(int(np.ceil(length_s / MINUTE_S - 1e-9))):
        end_s = min((minute + 1) * MINUTE_S, length_s)
        while not ahead_s.size or ahead_s[-1] < end_s:
            chunk = next(chunks, None)
            if chunk is None:
                break
            ahead_s = np.concatenate([ahead_s, chunk])
        stop = int(np.searchsorted(ahead_s, end_s, side="left"))
        yield Minute(start_s + end_s, start_s + ahead_s[:stop], generator.standard_normal(stop))
        ahead_s = ahead_s[stop:]


def minutes_of_trace(
    rates_per_s: Floats, bin_s: float, start_s: float, seed: int, rows: TraceRows, by_size: bool = False
) -> Iterator[Minute]:
    """The recorded window over and over, at each bin's rate: a random part of it, or independent copies on top.

    Beyond 64 copies each request stands for several within a second. With `by_size` the normals are in the order of
    the output tokens, where the trace has them.
    """
    tokens = token_pairs(rows)
    sized = None if tokens is None or not by_size else normals_by_size(tokens[:, 1])
    recorded_s = times_s(rows)
    copies = rates_per_s * rows.window_s / recorded_s.size
    each = max(1.0, float(copies.max()) / _MOST_COPIES)
    shares = copies / each
    of_copies, of_rest = (np.random.default_rng(one) for one in np.random.SeedSequence((seed, 3)).spawn(2))
    offsets_s = of_copies.uniform(0.0, rows.window_s, max(1, math.ceil(float(shares.max()) - 1e-6)))
    offsets_s[0] = 0.0
    length_s = rates_per_s.size * bin_s
    for minute in range(int(np.ceil(length_s / MINUTE_S - 1e-9))):
        begin_s, end_s = minute * MINUTE_S, min((minute + 1) * MINUTE_S, length_s)
        parts = [_repeated(recorded_s, rows.window_s, begin_s + one, end_s + one) for one in offsets_s]
        at_s = np.concatenate([found - one for (found, _), one in zip(parts, offsets_s, strict=True)])
        copy = np.repeat(np.arange(offsets_s.size), [found.size for found, _ in parts])
        share = shares[np.minimum((at_s / bin_s).astype(np.int64), shares.size - 1)] - copy
        kept = of_rest.random(at_s.size) < np.where(share > 1 - 1e-6, 1.0, share)
        at_s, places = at_s[kept], np.concatenate([places for _, places in parts])[kept]
        if each > 1:
            times = (each + of_rest.random(at_s.size)).astype(np.int64)
            at_s, places = np.repeat(at_s, times), np.repeat(places, times)
            at_s = np.minimum(at_s + of_rest.uniform(0.0, _CLONE_S, at_s.size), end_s - _LAST_S)
        order = np.argsort(at_s, kind="stable")
        at_s = np.clip(at_s[order], begin_s, None)
        normals = of_rest.standard_normal(at_s.size) if sized is None else sized[places[order]]
        yield Minute(start_s + end_s, start_s + at_s, normals, places[order] if rows.input_tokens else _NONE)


def _repeated(recorded_s: Floats, window_s: float, begin_s: float, end_s: float) -> tuple[Floats, Ints]:
    """Times from begin to end, and their rows, of a window that follows itself without end."""
    times, places = [], []
    for turn in range(math.floor(begin_s / window_s), math.floor(end_s / window_s) + 1):
        span = np.searchsorted(recorded_s, (begin_s - turn * window_s, end_s - turn * window_s))
        times.append(recorded_s[span[0] : span[1]] + turn * window_s)
        places.append(np.arange(span[0], span[1]))
    return np.concatenate(times), np.concatenate(places)
