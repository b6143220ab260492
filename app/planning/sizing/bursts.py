"""Bursty arrivals, and the factor by which bursts reduce the rate that a fleet sustains.

With a stated index of dispersion, the rate of each time window is multiplied by a gamma-distributed
factor, so counts per window vary more than Poisson counts. Windows are long compared with
latencies, so the fleet is in steady state in each window. The share of late requests is therefore
computed for the rate of each window, and averaged over all windows, weighted by the number of
requests. Above the fleet's capacity, all requests are late. The backlog of an overloaded window is
not carried over to the next window.

Arrivals at the planned peak are the requests of a trace, or are drawn with a stated index of
dispersion. Traffic above the level of the trace is a superposition of independent copies of the
trace with random time offsets. Traffic below that level is a random sample of the trace. Both
methods preserve the duration of bursts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.traces import compute_rate_per_s, unpack_times_s, unpack_token_pairs
from app.planning.simulation.arrivals import Arrivals, iterate_poisson_arrivals, rank_normals, superpose_copies
from app.records.traffic import Dispersion, TraceRows, Traffic


class Modulation(msgspec.Struct, frozen=True):
    """Gamma-distributed factor on the arrival rate, with mean 1 and the given shape, redrawn every
    `window_s` seconds.
    """

    shape: float
    window_s: float


def find_modulation(traffic: Traffic) -> Modulation | None:
    """Return the modulation that yields the traffic's index of dispersion at its peak.

    Return `None` if arrivals are Poisson (index 1) or more regular. A cache removes requests at
    random, so it does not change the modulation.
    """
    dispersion = traffic.dispersion
    if dispersion.index <= 1.0:
        return None
    return Modulation(traffic.peak_per_s * dispersion.window_s / (dispersion.index - 1.0), dispersion.window_s)


_STRATUM_COUNT = 400
_FACTOR_BISECTION_STEPS = 30


def compute_burst_factor(
    loads: Sequence[float], late_shares: Sequence[float], allowed_late_share: float, shape: float
) -> float:
    """Return the factor, at most 1, that reduces the steady rate so that at most
    `allowed_late_share` of the requests are late.

    `loads` are ascending multiples of the steady rate, and `late_shares` the simulated shares of
    late requests at these loads; above the last load, all requests are late. `shape` is the shape
    of the gamma factor, whose mean is 1.
    """
    from scipy import stats  # deferred, because the import takes half a second

    factors = stats.gamma.ppf((np.arange(_STRATUM_COUNT) + 0.5) / _STRATUM_COUNT, shape, scale=1 / shape)
    factors /= factors.mean()
    low, high = 0.0, 1.0
    if _compute_modulated_late_share(factors, loads, late_shares, 1.0) <= allowed_late_share:
        return 1.0
    for _ in range(_FACTOR_BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if _compute_modulated_late_share(factors, loads, late_shares, middle) <= allowed_late_share
            else (low, middle)
        )
    return low


def _compute_modulated_late_share(
    factors: Floats, loads: Sequence[float], late_shares: Sequence[float], load: float
) -> float:
    modulated_loads = factors * load
    modulated_late_shares = np.where(modulated_loads > loads[-1], 1.0, np.interp(modulated_loads, loads, late_shares))
    return float((modulated_late_shares * factors).mean())


MAX_REQUESTS = 120_000
"""Maximum number of requests per seed for which a trace is simulated.

With more requests, bursts are planned in the fluid limit, which is a good approximation for large
fleets.
"""
_TOTAL_REQUESTS, _MAX_SEEDS = 30_000, 5
_MIN_WINDOWS, _MAX_WINDOWS = 100, 400
_MAX_RATE_BISECTION_STEPS = 22
_RESOLUTION = 5
"""Shortest burst that a thinned stream can resolve, as a multiple of the mean interarrival time."""


class Bursts(msgspec.Struct, frozen=True):
    """Arrival pattern at a fleet's peak, with a mean rate of `peak_per_s` requests per second."""

    rows: TraceRows | None
    dispersion: Dispersion
    peak_per_s: float

    @property
    def copies(self) -> float:
        """Number of copies of the trace that reach the peak rate: peak rate divided by the trace's
        mean rate; 1 without a trace.
        """
        return 1.0 if self.rows is None else self.peak_per_s / compute_rate_per_s(self.rows)


def is_bursty(rows: TraceRows | None, dispersion: Dispersion) -> bool:
    """Return whether arrivals come from a trace or vary more than Poisson arrivals."""
    return rows is not None or dispersion.index > 1


@lru_cache(64)
def draw_arrivals(bursts: Bursts, share: float) -> tuple[Arrivals, ...] | None:
    """Draw the arrivals of a `share` of the traffic, one `Arrivals` per seed.

    Return `None` if there are too many requests to simulate.
    """
    return (
        _draw_dispersed_arrivals(bursts, share)
        if bursts.rows is None
        else _draw_trace_arrivals(bursts, bursts.rows, share)
    )


def _draw_trace_arrivals(bursts: Bursts, rows: TraceRows, share: float) -> tuple[Arrivals, ...] | None:
    """Draw superposed copies of the trace at `share` of its rate, once for each of several seeds; None if a draw
    would have more than MAX_REQUESTS requests."""
    trace_times_s = unpack_times_s(rows)
    copies = bursts.copies * share / rows.sampled_share
    request_count = copies * trace_times_s.size
    if request_count > MAX_REQUESTS:
        return None
    seed_count = int(np.clip(_TOTAL_REQUESTS / max(request_count, 1.0), 1, _MAX_SEEDS))
    draws = (
        superpose_copies(trace_times_s, copies, rows.window_s, np.random.SeedSequence((5, seed)))
        for seed in range(seed_count)
    )
    tokens = unpack_token_pairs(rows)
    if tokens is None:
        return tuple(Arrivals(rows.window_s, times_s) for times_s, _ in draws)
    normals = rank_normals(tokens[:, 1])
    return tuple(Arrivals(rows.window_s, times_s, normals[row_numbers], row_numbers) for times_s, row_numbers in draws)


def _draw_dispersed_arrivals(bursts: Bursts, share: float) -> tuple[Arrivals, ...] | None:
    """Draw arrivals in windows with gamma-distributed rates.

    The rate factors are evenly spaced quantiles in random order, so that each draw contains rare
    bursts.
    """
    window_s, rate_per_s = bursts.dispersion.window_s, bursts.peak_per_s * share
    window_count = int(min(_MAX_WINDOWS, _TOTAL_REQUESTS * 2 / max(rate_per_s * window_s, 1e-9)))
    if window_count < _MIN_WINDOWS:
        return None
    return tuple(_draw_windowed_arrivals(bursts, share, window_count, seed) for seed in range(2))


def _draw_windowed_arrivals(bursts: Bursts, share: float, window_count: int, seed: int) -> Arrivals:
    """Draw Poisson arrivals whose rate varies between windows with a gamma distribution, so that the counts have the
    dispersion index of `bursts`. The factors are evenly spaced quantiles in random order, with mean 1."""
    from scipy import stats  # deferred, because the import takes half a second

    window_s = bursts.dispersion.window_s
    shape = bursts.peak_per_s * window_s / (bursts.dispersion.index - 1)
    rng = np.random.default_rng((6, seed))
    factors = stats.gamma.ppf((np.arange(window_count) + 0.5) / window_count, shape, scale=1 / shape)
    rates_per_s = rng.permutation(factors / factors.mean()) * bursts.peak_per_s * share
    chunks = list(iterate_poisson_arrivals(rates_per_s, window_s, np.random.SeedSequence((6, seed))))
    return Arrivals(window_count * window_s, np.concatenate(chunks))


@lru_cache(256)
def compute_fluid_rate_per_s(bursts: Bursts, slack_s: float, allowed_late_share: float) -> float:
    """Return the service rate in req/s that a fleet needs at the peak in the fluid limit; at least
    the peak rate.

    At the returned rate, at most the share `allowed_late_share` of the requests waits longer than
    `slack_s` seconds.
    """
    sampled_arrivals = _draw_sampled_arrivals(bursts)
    share = sampled_arrivals.times_s.size / sampled_arrivals.end_s / bursts.peak_per_s
    gaps_s = np.diff(sampled_arrivals.times_s)
    if gaps_s.size == 0 or share == 0:
        return bursts.peak_per_s
    slack_s = max(slack_s, _RESOLUTION * sampled_arrivals.end_s / sampled_arrivals.times_s.size)
    low = high = bursts.peak_per_s * share
    while _compute_late_share(gaps_s, high, slack_s) > allowed_late_share:
        low, high = high, 2 * high
    for _ in range(_MAX_RATE_BISECTION_STEPS if high > low else 0):
        middle = math.sqrt(low * high)
        low, high = (
            (low, middle) if _compute_late_share(gaps_s, middle, slack_s) <= allowed_late_share else (middle, high)
        )
        if high / low < 1.003:
            break
    return max(bursts.peak_per_s, high / share)


def _draw_sampled_arrivals(bursts: Bursts) -> Arrivals:
    """Draw the arrivals of the largest simulable share of the traffic, with a single seed."""
    window_s = _MIN_WINDOWS * bursts.dispersion.window_s if bursts.rows is None else bursts.rows.window_s
    share = min(1.0, 0.99 * _TOTAL_REQUESTS / (bursts.peak_per_s * window_s))
    arrivals_per_seed = draw_arrivals(bursts, share)
    assert arrivals_per_seed is not None
    return arrivals_per_seed[0]


def _compute_late_share(gaps_s: Floats, rate_per_s: float, slack_s: float) -> float:
    """Return the share of arrivals that wait longer than `slack_s` seconds, by Lindley's
    recursion."""
    backlog_s = np.cumsum(1 / rate_per_s - gaps_s)
    waits_s = backlog_s - np.minimum(np.minimum.accumulate(backlog_s), 0.0)
    return float(np.count_nonzero(waits_s > slack_s)) / (gaps_s.size + 1)
