"""Arrivals of a simulation, random or from a trace.

Random arrivals are Poisson at rates that change from bin to bin, optionally over-dispersed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled
from app.planning.simulation.random_words import branch

CHUNK = 65_536
_NO_NORMALS: Floats = np.empty(0)
_NO_ROWS: Ints = np.empty(0, dtype=np.int64)


class Arrivals(msgspec.Struct, frozen=True, eq=False):
    """Arrivals up to `end_s`.

    `at_s` is ascending. `normals` has a standard normal per arrival, which determines its service time; `rows` are row
    numbers in a trace or in the design's lengths. Both are empty where they are drawn later.
    """

    end_s: float
    at_s: Floats
    normals: Floats = _NO_NORMALS
    rows: Ints = _NO_ROWS

    def compress(self, factor: float) -> Arrivals:
        """Return the same requests in `1/factor` of the time, equivalent to a slower replica with longer limits."""
        return Arrivals(self.end_s / factor, self.at_s / factor, self.normals, self.rows)


def iterate_poisson_arrivals(
    rates_per_s: Floats,
    bin_s: float,
    seed: np.random.SeedSequence,
    modulation_shape: float | None = None,
    modulation_window_s: float = 30.0,
    chunk: int = CHUNK,
) -> Iterator[Floats]:
    """Yield ascending times from 0 to the end of the bins, in chunks of constant size.

    The last may be shorter, or empty. With a `modulation_shape` k the rates are multiplied by a gamma variate of mean 1
    and this shape, drawn anew every `modulation_window_s`: the dispersion of counts over such a span is then 1 + rate ×
    modulated_s / k.

    A single bin may be infinitely long, but modulation needs an end.
    """
    gap_rng, modulation_rng = (np.random.Generator(np.random.SFC64(branch(seed, number))) for number in range(2))
    multipliers, span_s = np.ones(1), math.inf
    if modulation_shape is not None:
        span_count = math.ceil(rates_per_s.size * bin_s / modulation_window_s)
        multipliers, span_s = (
            modulation_rng.gamma(modulation_shape, 1 / modulation_shape, span_count),
            modulation_window_s,
        )
    rates_per_s, bin_s = np.asarray(rates_per_s, dtype=np.float64), float(bin_s)
    clock, bins = np.zeros(1), np.zeros(2, dtype=np.int64)
    while True:
        times_s = gap_rng.standard_exponential(chunk)
        count = _to_times(times_s, np.asarray(rates_per_s, dtype=np.float64), bin_s, multipliers, span_s, clock, bins)
        yield times_s[:count]
        if count < chunk:
            return


def superpose(times_s: Floats, copies: float, window_s: float, seed: np.random.SeedSequence) -> tuple[Floats, Ints]:
    """Return arrival times and row numbers of `copies` copies of a trace.

    0.4 of a copy is a random 40 % of its requests. The first copy arrives as recorded. Each further one starts
    elsewhere in the window and wraps around: users with the same habits, whose bursts keep their length but rarely
    coincide.
    """
    rng = np.random.default_rng(seed)
    copy_count = max(1, math.ceil(copies - 1e-6))
    offsets_s = rng.uniform(0.0, window_s, copy_count)
    offsets_s[0] = 0.0
    shares = np.clip(copies - np.arange(copy_count), 0.0, 1.0)
    shares[shares > 1 - 1e-6] = 1.0
    is_kept = rng.random((copy_count, times_s.size)) < shares[:, None]
    shifted_s = ((times_s + offsets_s[:, None]) % window_s)[is_kept]
    rows = np.broadcast_to(np.arange(times_s.size), is_kept.shape)[is_kept]
    order = np.argsort(shifted_s, kind="stable")
    return shifted_s[order], rows[order]


def rank_normals(sizes: Ints) -> Floats:
    """Return standard normals in the order of the sizes.

    A lognormal service time computed from them is longest for the largest size.
    """
    from scipy import special  # imported here because it takes half a second, which would delay the start of a run

    ranks = np.empty(sizes.size)
    ranks[np.lexsort((np.random.default_rng(0).random(sizes.size), sizes))] = np.arange(sizes.size)
    return np.asarray(special.ndtri((ranks + 0.5) / sizes.size))


def split_into_chunks(times_s: Floats, chunk: int = CHUNK) -> Iterator[Floats]:
    for start in range(0, times_s.size, chunk):
        yield times_s[start : start + chunk]


@compiled
def _to_times(
    gaps: Floats,
    rates_per_s: Floats,
    bin_s: float,
    multipliers: Floats,
    span_s: float,
    clock: Floats,
    bins: Ints,
) -> int:
    """Convert unit exponentials to times, in place.

    Each exponential is the expected number of arrivals until the next one, over all bins. Returns how many times are
    before the end of the last bin.
    """
    now_s, bin_index, span_index = clock[0], bins[0], bins[1]
    for index in range(gaps.size):
        remaining = gaps[index]
        while True:
            if bin_index == rates_per_s.size:
                return index
            border_s = min((bin_index + 1) * bin_s, (span_index + 1) * span_s)
            rate_per_s = rates_per_s[bin_index] * multipliers[span_index]
            expected = rate_per_s * (border_s - now_s) if rate_per_s > 0 else 0.0
            if expected > remaining:
                break
            remaining -= expected
            now_s = border_s
            if border_s >= (bin_index + 1) * bin_s:
                bin_index += 1
            if border_s >= (span_index + 1) * span_s:
                span_index = min(span_index + 1, multipliers.size - 1)
        now_s += remaining / rate_per_s
        gaps[index] = now_s
    clock[0], bins[0], bins[1] = now_s, bin_index, span_index
    return gaps.size
