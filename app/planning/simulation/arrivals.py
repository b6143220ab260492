"""Arrivals of a simulation, random or from a trace.

Random arrivals are Poisson with a rate per time bin, optionally over-dispersed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np

from app.planning.simulation.compiled import Floats, Ints, compiled
from app.planning.simulation.random_words import get_child_seed

CHUNK_SIZE = 65_536
"""Number of arrivals per chunk."""
_NO_NORMALS: Floats = np.empty(0)
_NO_ROWS: Ints = np.empty(0, dtype=np.int64)


class Arrivals(msgspec.Struct, frozen=True, eq=False):
    """Arrival times up to `end_s`, in ascending order.

    `normals` holds a standard normal per arrival, which determines the service time. `rows` holds
    row numbers in a trace or in the design's token lengths. The values of an empty array are drawn
    later.
    """

    end_s: float
    times_s: Floats
    normals: Floats = _NO_NORMALS
    rows: Ints = _NO_ROWS

    def compress(self, factor: float) -> Arrivals:
        """Return the same requests with all times divided by `factor`. The effect is the same as
        that of replicas slower by `factor`, with latency limits longer by `factor`.
        """
        return Arrivals(self.end_s / factor, self.times_s / factor, self.normals, self.rows)


def iterate_poisson_arrivals(
    rates_per_s: Floats,
    bin_s: float,
    seed: np.random.SeedSequence,
    modulation_shape: float | None = None,
    modulation_window_s: float = 30.0,
    chunk_size: int = CHUNK_SIZE,
) -> Iterator[Floats]:
    """Yield arrival times in ascending order, in chunks of `chunk_size` times; the last chunk may
    be shorter or empty.

    If `modulation_shape` is set, the rates are multiplied by a gamma variate with mean 1 and shape
    k = `modulation_shape`, redrawn every `modulation_window_s` seconds. The index of dispersion of
    the counts per window is then 1 + rate × modulation_window_s / k.

    A single bin may be infinitely long, but not with modulation.
    """
    gap_rng, modulation_rng = (
        np.random.Generator(np.random.SFC64(get_child_seed(seed, number))) for number in range(2)
    )
    multipliers, window_s = np.ones(1), math.inf
    if modulation_shape is not None:
        window_count = math.ceil(rates_per_s.size * bin_s / modulation_window_s)
        multipliers, window_s = (
            modulation_rng.gamma(modulation_shape, 1 / modulation_shape, window_count),
            modulation_window_s,
        )
    rates_per_s, bin_s = np.asarray(rates_per_s, dtype=np.float64), float(bin_s)
    clock, position = np.zeros(1), np.zeros(2, dtype=np.int64)
    while True:
        times_s = gap_rng.standard_exponential(chunk_size)
        count = _convert_to_times(
            times_s, np.asarray(rates_per_s, dtype=np.float64), bin_s, multipliers, window_s, clock, position
        )
        yield times_s[:count]
        if count < chunk_size:
            return


def superpose_copies(
    times_s: Floats, copies: float, window_s: float, seed: np.random.SeedSequence
) -> tuple[Floats, Ints]:
    """Return arrival times and row numbers of `copies` superposed copies of a trace.

    A fractional copy is a random sample of the requests. The first copy arrives as recorded. Each
    additional copy starts at a random offset and wraps around at the end of the trace. The copies
    model more users with the same behavior, so bursts keep their duration but rarely coincide.
    """
    rng = np.random.default_rng(seed)
    copy_count = max(1, math.ceil(copies - 1e-6))
    offsets_s = rng.uniform(0.0, window_s, copy_count)
    offsets_s[0] = 0.0
    shares = np.clip(copies - np.arange(copy_count), 0.0, 1.0)
    shares[shares > 1 - 1e-6] = 1.0
    is_selected = rng.random((copy_count, times_s.size)) < shares[:, None]
    shifted_times_s = ((times_s + offsets_s[:, None]) % window_s)[is_selected]
    rows = np.broadcast_to(np.arange(times_s.size), is_selected.shape)[is_selected]
    order = np.argsort(shifted_times_s, kind="stable")
    return shifted_times_s[order], rows[order]


def rank_normals(sizes: Ints) -> Floats:
    """Return standard normals in the order of `sizes`, so that larger requests have longer service
    times.
    """
    from scipy import special  # deferred, because the import takes half a second

    ranks = np.empty(sizes.size)
    ranks[np.lexsort((np.random.default_rng(0).random(sizes.size), sizes))] = np.arange(sizes.size)
    return np.asarray(special.ndtri((ranks + 0.5) / sizes.size))


def split_into_chunks(times_s: Floats, chunk_size: int = CHUNK_SIZE) -> Iterator[Floats]:
    for start in range(0, times_s.size, chunk_size):
        yield times_s[start : start + chunk_size]


@compiled
def _convert_to_times(
    gaps: Floats,
    rates_per_s: Floats,
    bin_s: float,
    multipliers: Floats,
    window_s: float,
    clock: Floats,
    position: Ints,
) -> int:
    """Convert unit exponentials to arrival times in place, and return the number of arrivals before
    the end of the last bin.

    Each exponential is the integral of the rate from one arrival to the next.
    """
    now_s, bin_index, window_index = clock[0], position[0], position[1]
    for index in range(gaps.size):
        remaining_arrivals = gaps[index]
        while True:
            if bin_index == rates_per_s.size:
                return index
            boundary_s = min((bin_index + 1) * bin_s, (window_index + 1) * window_s)
            rate_per_s = rates_per_s[bin_index] * multipliers[window_index]
            expected_arrivals = rate_per_s * (boundary_s - now_s) if rate_per_s > 0 else 0.0
            if expected_arrivals > remaining_arrivals:
                break
            remaining_arrivals -= expected_arrivals
            now_s = boundary_s
            if boundary_s >= (bin_index + 1) * bin_s:
                bin_index += 1
            if boundary_s >= (window_index + 1) * window_s:
                window_index = min(window_index + 1, multipliers.size - 1)
        now_s += remaining_arrivals / rate_per_s
        gaps[index] = now_s
    clock[0], position[0], position[1] = now_s, bin_index, window_index
    return gaps.size
