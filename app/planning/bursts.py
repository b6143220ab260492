"""Bursty arrivals, and how far bursts that outlast a fleet's queues lower its rate.

With a stated index of dispersion, counts per window vary more than Poisson counts by a gamma factor on the rate of each
window. Windows are long compared with the fleet's own times, so the fleet is at a steady rate in each of them: the
share of late requests over all windows is the mean of the late share at each window's rate, weighted by the requests in
the window. Above the fleet's capacity all requests are late; the backlog of an overloaded window is not carried into
the next one.

Arrivals at the planned peak are the trace's requests, or are drawn from a stated dispersion. Traffic above the trace's
own level is a superposition of independent copies of the trace, shifted in its window; traffic below it is a random
part of the trace. Both keep the length of bursts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.traces import compute_rate_per_s, unpack_times_s, unpack_token_pairs
from app.planning.simulation.arrivals import Arrivals, iterate_poisson_arrivals, rank_normals, superpose
from app.records.traffic import Dispersion, TraceRows, Traffic


class Modulation(msgspec.Struct, frozen=True):
    """Gamma-distributed factor on the arrival rate, of mean 1 and the given shape, drawn anew every `window_s`."""

    shape: float
    window_s: float


def find_modulation(traffic: Traffic) -> Modulation | None:
    """Return the modulation that gives the traffic's index of dispersion at its peak.

    `None` for Poisson arrivals (index 1) or more regular ones. A cache thins requests and does not change the factor.
    """
    dispersion = traffic.dispersion
    if dispersion.index <= 1.0:
        return None
    return Modulation(traffic.peak_per_s * dispersion.window_s / (dispersion.index - 1.0), dispersion.window_s)


_STRATA = 400
_STEPS = 30


def burst_factor(loads: Sequence[float], late_shares: Sequence[float], allowed: float, shape: float) -> float:
    """Return the factor on the steady rate at which at most `allowed` of the requests are late.

    `late_shares` are the simulated late shares at `loads`, increasing multiples of the steady rate; above the last one
    all requests are late. `shape` is the shape of the gamma factor, whose mean is 1. Returns at most 1.
    """
    from scipy import stats  # imported here because it takes half a second, which would delay the start of a run

    factors = stats.gamma.ppf((np.arange(_STRATA) + 0.5) / _STRATA, shape, scale=1 / shape)
    factors /= factors.mean()
    low, high = 0.0, 1.0
    if _late_share_under_modulation(factors, loads, late_shares, 1.0) <= allowed:
        return 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if _late_share_under_modulation(factors, loads, late_shares, middle) <= allowed
            else (low, middle)
        )
    return low


def _late_share_under_modulation(
    factors: Floats, loads: Sequence[float], late_shares: Sequence[float], rate: float
) -> float:
    rates = factors * rate
    late = np.where(rates > loads[-1], 1.0, np.interp(rates, loads, late_shares))
    return float((late * factors).mean())


MAX_REQUESTS = 120_000
"""Maximum number of simulated requests per seed.

Above it bursts are planned in the fluid limit, which large fleets are close to.
"""
_ALL_SEEDS, _MAX_SEEDS = 30_000, 5
_MIN_WINDOWS, _MAX_WINDOWS = 100, 400
_BISECTIONS = 22
_RESOLUTION = 5
"""Shortest burst that a thinned stream can show, in mean gaps between its requests."""


class Bursts(msgspec.Struct, frozen=True):
    """Arrival pattern of a fleet's peak, with a mean rate of `peak_per_s`."""

    rows: TraceRows | None
    dispersion: Dispersion
    peak_per_s: float

    @property
    def copies(self) -> float:
        """Peak rate over the trace's rate: how many copies of the trace make up the peak; 1 without a trace."""
        return 1.0 if self.rows is None else self.peak_per_s / compute_rate_per_s(self.rows)


def is_bursty(rows: TraceRows | None, dispersion: Dispersion) -> bool:
    return rows is not None or dispersion.index > 1


@lru_cache(64)
def draw_arrivals(bursts: Bursts, share: float) -> tuple[Arrivals, ...] | None:
    """Draw the arrivals of this share of the traffic, one `Arrivals` per seed.

    `None` where there are too many requests to simulate.
    """
    return (
        _arrivals_of_dispersion(bursts, share)
        if bursts.rows is None
        else _arrivals_of_trace(bursts, bursts.rows, share)
    )


def _arrivals_of_trace(bursts: Bursts, rows: TraceRows, share: float) -> tuple[Arrivals, ...] | None:
    recorded_s = unpack_times_s(rows)
    copies = bursts.copies * share / rows.sampled_share
    requests = copies * recorded_s.size
    if requests > MAX_REQUESTS:
        return None
    seeds = int(np.clip(_ALL_SEEDS / max(requests, 1.0), 1, _MAX_SEEDS))
    drawn = (superpose(recorded_s, copies, rows.window_s, np.random.SeedSequence((5, seed))) for seed in range(seeds))
    tokens = unpack_token_pairs(rows)
    if tokens is None:
        return tuple(Arrivals(rows.window_s, at_s) for at_s, _ in drawn)
    normals = rank_normals(tokens[:, 1])
    return tuple(Arrivals(rows.window_s, at_s, normals[row_numbers], row_numbers) for at_s, row_numbers in drawn)


def _arrivals_of_dispersion(bursts: Bursts, share: float) -> tuple[Arrivals, ...] | None:
    """Draw arrivals in windows with gamma-distributed rates.

    The factors are evenly spaced quantiles in random order, so that every draw has its rare bursts.
    """
    window_s, per_s = bursts.dispersion.window_s, bursts.peak_per_s * share
    windows = int(min(_MAX_WINDOWS, _ALL_SEEDS * 2 / max(per_s * window_s, 1e-9)))
    if windows < _MIN_WINDOWS:
        return None
    return tuple(_drawn_windows(bursts, share, windows, seed) for seed in range(2))


def _drawn_windows(bursts: Bursts, share: float, windows: int, seed: int) -> Arrivals:
    from scipy import stats  # imported here because it takes half a second, which would delay the start of a run

    window_s = bursts.dispersion.window_s
    shape = bursts.peak_per_s * window_s / (bursts.dispersion.index - 1)
    rng = np.random.default_rng((6, seed))
    factors = stats.gamma.ppf((np.arange(windows) + 0.5) / windows, shape, scale=1 / shape)
    rates_per_s = rng.permutation(factors / factors.mean()) * bursts.peak_per_s * share
    chunks = list(iterate_poisson_arrivals(rates_per_s, window_s, np.random.SeedSequence((6, seed))))
    return Arrivals(windows * window_s, np.concatenate(chunks))


@lru_cache(256)
def fluid_rate_per_s(bursts: Bursts, slack_s: float, allowed: float) -> float:
    """Return the lowest rate at which a fleet must process the peak's requests, treated as a fluid.

    At that rate at most the share `allowed` of the requests waits longer than `slack_s`. It is never below the peak.
    """
    thinned = _thinned_arrivals(bursts)
    share = thinned.at_s.size / thinned.end_s / bursts.peak_per_s
    gaps_s = np.diff(thinned.at_s)
    if gaps_s.size == 0 or share == 0:
        return bursts.peak_per_s
    slack_s = max(slack_s, _RESOLUTION * thinned.end_s / thinned.at_s.size)
    low = high = bursts.peak_per_s * share
    while _late_share(gaps_s, high, slack_s) > allowed:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS if high > low else 0):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _late_share(gaps_s, middle, slack_s) <= allowed else (middle, high)
        if high / low < 1.003:
            break
    return max(bursts.peak_per_s, high / share)


def _thinned_arrivals(bursts: Bursts) -> Arrivals:
    """Return as large a part of the traffic as one seed simulates."""
    window_s = _MIN_WINDOWS * bursts.dispersion.window_s if bursts.rows is None else bursts.rows.window_s
    share = min(1.0, 0.99 * _ALL_SEEDS / (bursts.peak_per_s * window_s))
    drawn = draw_arrivals(bursts, share)
    assert drawn is not None
    return drawn[0]


def _late_share(gaps_s: Floats, per_s: float, slack_s: float) -> float:
    """Return the share of arrivals that find more than `slack_s` of work ahead of them, by Lindley's recursion."""
    ahead_s = np.cumsum(1 / per_s - gaps_s)
    waits_s = ahead_s - np.minimum(np.minimum.accumulate(ahead_s), 0.0)
    return float(np.count_nonzero(waits_s > slack_s)) / (gaps_s.size + 1)
