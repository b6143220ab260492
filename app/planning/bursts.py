"""How much less a fleet may be given where requests come in bursts that outlast its queues.

Counts over a window vary more than Poisson's by a gamma factor on the rate of each window. Windows
are long beside the fleet's own times, so in each of them the fleet is as at a steady rate: the
share that is late over all windows is the mean of the late share at each window's rate, weighted by
the requests that come in it. Beyond what the fleet can do all are late; what an overloaded window
leaves over for the next is not counted.

How bursty traffic is by a stated index of dispersion, as a random factor on its rate.

Arrivals of the planned peak with the traffic's own bursts: the trace's requests, or a stated
dispersion drawn.

Traffic above the trace's own level is that of independent copies of it at other times of its
window; traffic below is a random part of it. Bursts keep their length in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.traces import rate_per_s, times_s, token_pairs
from app.planning.simulation.arrivals import normals_by_size, poisson_arrivals, superposed
from app.planning.simulation.replaying import Arrivals
from app.records.traffic import Dispersion, TraceRows, Traffic


class Modulation(msgspec.Struct, frozen=True):
    """A gamma factor of mean 1 and this shape on the rate, drawn anew every `window_s`."""

    shape: float
    window_s: float


def modulation_of(traffic: Traffic) -> Modulation | None:
    """That which gives the traffic's index at its peak; None for Poisson's, or what is more even.

    A share answered by a cache thins requests and changes nothing of the factor.
    """
    said = traffic.dispersion
    if said.index <= 1.0:
        return None
    return Modulation(traffic.peak_per_s * said.window_s / (said.index - 1.0), said.window_s)


_STRATA = 400
_STEPS = 30


def burst_factor(loads: Sequence[float], late_shares: Sequence[float], allowed: float, shape: float) -> float:
    """By what the steady rate is to be multiplied, so that at most `allowed` of the requests are late.

    `late_shares` were played at `loads`, rising shares of the steady rate; beyond the last all are late. `shape` is the
    gamma factor's, whose mean is 1.
    """
    from scipy import stats  # half a second to import, which the start of a run would wait for

    factors = stats.gamma.ppf((np.arange(_STRATA) + 0.5) / _STRATA, shape, scale=1 / shape)
    factors /= factors.mean()
    low, high = 0.0, 1.0
    if _late(factors, loads, late_shares, 1.0) <= allowed:
        return 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _late(factors, loads, late_shares, middle) <= allowed else (low, middle)
    return low


def _late(factors: Floats, loads: Sequence[float], late_shares: Sequence[float], rate: float) -> float:
    at = factors * rate
    late = np.where(at > loads[-1], 1.0, np.interp(at, loads, late_shares))
    return float((late * factors).mean())


MAX_REQUESTS = 120_000
"""Of one seed: where the window holds more, bursts are planned by the fluid limit, which large fleets are near."""
_ALL_SEEDS, _MOST_SEEDS = 30_000, 5
_MIN_WINDOWS, _MOST_WINDOWS = 100, 400
_NONE = np.empty(0, dtype=np.int64)
_BISECTIONS = 22
_RESOLUTION = 5
"""A thinned stream shows no burst shorter than so many of its gaps."""


class Bursts(msgspec.Struct, frozen=True):
    """Arrival pattern of a fleet's peak, of `peak_per_s` in the mean."""

    rows: TraceRows | None
    dispersion: Dispersion
    peak_per_s: float

    @property
    def copies(self) -> float:
        """How many copies of the trace the peak is; 1 without a trace."""
        return 1.0 if self.rows is None else self.peak_per_s / rate_per_s(self.rows)


def are_bursty(rows: TraceRows | None, dispersion: Dispersion) -> bool:
    return rows is not None or dispersion.index > 1


@lru_cache(64)
def drawn_arrivals(bursts: Bursts, share: float) -> tuple[Arrivals, ...] | None:
    """Of this share of the traffic, one for each seed; None where they are too many to be simulated."""
    return _of_dispersion(bursts, share) if bursts.rows is None else _of_trace(bursts, bursts.rows, share)


def _of_trace(bursts: Bursts, rows: TraceRows, share: float) -> tuple[Arrivals, ...] | None:
    recorded_s = times_s(rows)
    copies = bursts.copies * share / rows.kept_share
    requests = copies * recorded_s.size
    if requests > MAX_REQUESTS:
        return None
    seeds = int(np.clip(_ALL_SEEDS / max(requests, 1.0), 1, _MOST_SEEDS))
    drawn = (superposed(recorded_s, copies, rows.window_s, np.random.SeedSequence((5, seed))) for seed in range(seeds))
    tokens = token_pairs(rows)
    if tokens is None:
        return tuple(Arrivals(at_s, _NONE, rows.window_s) for at_s, _ in drawn)
    normals = normals_by_size(tokens[:, 1])
    return tuple(Arrivals(at_s, places, rows.window_s, normals[places]) for at_s, places in drawn)


def _of_dispersion(bursts: Bursts, share: float) -> tuple[Arrivals, ...] | None:
    """Gamma factors are spread evenly over their quantiles, in random order, so that rare bursts are in each draw."""
    window_s, per_s = bursts.dispersion.window_s, bursts.peak_per_s * share
    windows = int(min(_MOST_WINDOWS, _ALL_SEEDS * 2 / max(per_s * window_s, 1e-9)))
    if windows < _MIN_WINDOWS:
        return None
    return tuple(_drawn_windows(bursts, share, windows, seed) for seed in range(2))


def _drawn_windows(bursts: Bursts, share: float, windows: int, seed: int) -> Arrivals:
    from scipy import stats  # half a second to import, which the start of a run would wait for

    window_s = bursts.dispersion.window_s
    shape = bursts.peak_per_s * window_s / (bursts.dispersion.index - 1)
    rng = np.random.default_rng((6, seed))
    factors = stats.gamma.ppf((np.arange(windows) + 0.5) / windows, shape, scale=1 / shape)
    rates_per_s = rng.permutation(factors / factors.mean()) * bursts.peak_per_s * share
    chunks = list(poisson_arrivals(rates_per_s, window_s, np.random.SeedSequence((6, seed))))
    return Arrivals(np.concatenate(chunks), _NONE, windows * window_s)


@lru_cache(256)
def fluid_rate_per_s(bursts: Bursts, slack_s: float, allowed: float) -> float:
    """The rate at which a fleet must work off the peak's requests so that no larger share than `allowed` waits longer
    than `slack_s`, as if requests were a fluid: at least the peak itself."""
    thinned = _thinned(bursts)
    share = thinned.at_s.size / thinned.window_s / bursts.peak_per_s
    gaps_s = np.diff(thinned.at_s)
    if gaps_s.size == 0 or share == 0:
        return bursts.peak_per_s
    slack_s = max(slack_s, _RESOLUTION * thinned.window_s / thinned.at_s.size)
    low = high = bursts.peak_per_s * share
    while _late_share(gaps_s, high, slack_s) > allowed:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS if high > low else 0):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _late_share(gaps_s, middle, slack_s) <= allowed else (middle, high)
        if high / low < 1.003:
            break
    return max(bursts.peak_per_s, high / share)


def _thinned(bursts: Bursts) -> Arrivals:
    """As large a part of the traffic as is played of one seed."""
    window_s = _MIN_WINDOWS * bursts.dispersion.window_s if bursts.rows is None else bursts.rows.window_s
    share = min(1.0, 0.99 * _ALL_SEEDS / (bursts.peak_per_s * window_s))
    drawn = drawn_arrivals(bursts, share)
    assert drawn is not None
    return drawn[0]


def _late_share(gaps_s: Floats, per_s: float, slack_s: float) -> float:
    """Lindley's recursion: of arrivals, those that find more than `slack_s` of work ahead of them."""
    ahead_s = np.cumsum(1 / per_s - gaps_s)
    waits_s = ahead_s - np.minimum(np.minimum.accumulate(ahead_s), 0.0)
    return float(np.count_nonzero(waits_s > slack_s)) / (gaps_s.size + 1)
