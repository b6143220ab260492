"""Arrivals of a simulation: Poisson at rates that change from bin to bin, perhaps over-dispersed, or a trace."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from app.planning.simulation.chances import branch
from app.planning.simulation.compiled import Floats, Ints, compiled

CHUNK = 65_536


def poisson_arrivals(
    rates_per_s: Floats,
    bin_s: float,
    seed: np.random.SeedSequence,
    shape: float | None = None,
    modulated_s: float = 30.0,
    chunk: int = CHUNK,
) -> Iterator[Floats]:
    """Ascending times from 0 to the end of the bins, in chunks of constant size; the last may be shorter, or empty.

    With a `shape` k the rates are multiplied by a gamma variate of mean 1 and this shape, drawn anew every
    `modulated_s`: the dispersion of counts over such a span is then 1 + rate × modulated_s / k.
    One bin may last for ever; modulation wants an end.
    """
    of_gaps, of_bins = (np.random.Generator(np.random.SFC64(branch(seed, number))) for number in range(2))
    multipliers, multiplied_s = np.ones(1), math.inf
    if shape is not None:
        spans = math.ceil(rates_per_s.size * bin_s / modulated_s)
        multipliers, multiplied_s = of_bins.gamma(shape, 1 / shape, spans), modulated_s
    rates_per_s, bin_s = np.asarray(rates_per_s, dtype=np.float64), float(bin_s)
    clock, bins = np.zeros(1), np.zeros(2, dtype=np.int64)
    while True:
        times_s = of_gaps.standard_exponential(chunk)
        filled = _spend(
            times_s, np.asarray(rates_per_s, dtype=np.float64), bin_s, multipliers, multiplied_s, clock, bins
        )
        yield times_s[:filled]
        if filled < chunk:
            return


def superposed(times_s: Floats, copies: float, window_s: float, seed: np.random.SeedSequence) -> tuple[Floats, Ints]:
    """Arrival times and row numbers of so many copies of a trace, 0.4 of a copy being a random 40 % of its requests.

    The first copy arrives as recorded. Each further one starts elsewhere in the window and wraps around: users with the
    same habits, whose bursts keep their length but seldom coincide.
    """
    rng = np.random.default_rng(seed)
    whole = max(1, math.ceil(copies - 1e-6))
    offsets_s = rng.uniform(0.0, window_s, whole)
    offsets_s[0] = 0.0
    shares = np.clip(copies - np.arange(whole), 0.0, 1.0)
    shares[shares > 1 - 1e-6] = 1.0
    kept = rng.random((whole, times_s.size)) < shares[:, None]
    shifted_s = ((times_s + offsets_s[:, None]) % window_s)[kept]
    rows = np.broadcast_to(np.arange(times_s.size), kept.shape)[kept]
    order = np.argsort(shifted_s, kind="stable")
    return shifted_s[order], rows[order]


def normals_by_size(sizes: Ints) -> Floats:
    """Standard normals in the order of the sizes: a lognormal service time made of them is longest for the largest."""
    from scipy import special  # half a second to import, which the start of a run would wait for

    ranks = np.empty(sizes.size)
    ranks[np.lexsort((np.random.default_rng(0).random(sizes.size), sizes))] = np.arange(sizes.size)
    return np.asarray(special.ndtri((ranks + 0.5) / sizes.size))


def in_chunks(times_s: Floats, chunk: int = CHUNK) -> Iterator[Floats]:
    for start in range(0, times_s.size, chunk):
        yield times_s[start : start + chunk]


@compiled
def _spend(
    gaps: Floats,
    rates_per_s: Floats,
    bin_s: float,
    multipliers: Floats,
    multiplied_s: float,
    clock: Floats,
    bins: Ints,
) -> int:
    """Turns unit exponentials into times, in place: each is spent as expected arrivals, over as many bins as it takes.

    Gives how many fit before the last bin ends.
    """
    now_s, at, part = clock[0], bins[0], bins[1]
    for number in range(gaps.size):
        left = gaps[number]
        while True:
            if at == rates_per_s.size:
                return number
            border_s = min((at + 1) * bin_s, (part + 1) * multiplied_s)
            rate_per_s = rates_per_s[at] * multipliers[part]
            expected = rate_per_s * (border_s - now_s) if rate_per_s > 0 else 0.0
            if expected > left:
                break
            left -= expected
            now_s = border_s
            if border_s >= (at + 1) * bin_s:
                at += 1
            if border_s >= (part + 1) * multiplied_s:
                part = min(part + 1, multipliers.size - 1)
        now_s += left / rate_per_s
        gaps[number] = now_s
    clock[0], bins[0], bins[1] = now_s, at, part
    return gaps.size
