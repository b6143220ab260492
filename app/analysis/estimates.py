"""Estimates with their 95 % intervals: percentiles, means, shares and rates of one stage.

Values are in time order. Requests near saturation are autocorrelated, so every interval is widened by what batch means
show: the variance of 20 batches' means against what independent values would give, never less than 1. NaN is no value.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.sample_size import ALPHA, needed_samples
from app.records.metrics import PERCENTILES
from app.records.result import Estimate

Values = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]

BATCHES = 20
_Z = float(special.ndtri(1 - ALPHA / 2))
_T = float(special.stdtrit(BATCHES - 1, 1 - ALPHA / 2))
_FEW_EVENTS = 100


def percentile(values: npt.ArrayLike, q: float) -> Estimate:
    """The smallest value with at least the share `q` of all values at or below it: the ceil(n q)-th in order.

    The interval is by order statistics (no distribution assumed). Below `needed_samples(q)` the value is withheld; when
    the interval's upper rank passes the largest value, the interval is.
    """
    timed = _known(values)
    return _percentile(timed, np.sort(timed), q)


def distribution(values: npt.ArrayLike) -> dict[str, Estimate]:
    """All percentiles of the catalogue, the mean and the maximum, with one sort."""
    timed = _known(values)
    ordered = np.sort(timed)
    return {
        **{name: _percentile(timed, ordered, q) for name, q in PERCENTILES.items()},
        "mean": mean(timed),
        "max": maximum(timed),
    }


def mean(values: npt.ArrayLike) -> Estimate:
    """Student's interval on the batches' means; on the values themselves where there are too few for batches."""
    timed = _known(values)
    n = timed.size
    if n == 0:
        return _nothing()
    value = float(timed.mean())
    if n == 1:
        return Estimate(value, n=1, reason="no interval from one value")
    spread = float(timed.std(ddof=1)) / math.sqrt(n)
    t = float(special.stdtrit(n - 1, 1 - ALPHA / 2))
    half = t * spread
    if n >= 2 * BATCHES:
        half = max(half, _T * float(batch_means(timed).std(ddof=1)) / math.sqrt(BATCHES))
    return Estimate(value, (value - half, value + half), n)


def maximum(values: npt.ArrayLike) -> Estimate:
    """The largest value seen: a fact of this stage, with no interval."""
    timed = _known(values)
    return Estimate(float(timed.max()), n=timed.size) if timed.size else _nothing()


def share(k: int, n: int) -> Estimate:
    """k of n independent trials, with Wilson's interval."""
    return Estimate(k / n, _wilson(k / n, n), n) if n else _nothing()


def timed_share(hits: Hits) -> Estimate:
    """The share of true ones in time order: Wilson's interval for as many trials as these are worth."""
    if hits.size == 0:
        return _nothing()
    p = float(hits.mean())
    return Estimate(p, _wilson(p, hits.size / _inflation(hits)), hits.size)


def rate(times_ns: npt.NDArray[np.int64], window: tuple[int, int]) -> Estimate:
    """Events per second of the window [start, end) in nanoseconds; events outside do not count.

    The interval is Student's on the counts of 20 time bins, or Poisson's own where events are few.
    """
    start_ns, end_ns = window
    length_s = (end_ns - start_ns) / 1e9
    if length_s <= 0:
        return Estimate(None, n=0, reason="the window is empty")
    inside = times_ns[(times_ns >= start_ns) & (times_ns < end_ns)]
    n = inside.size
    if n < _FEW_EVENTS:
        low = float(special.gammaincinv(n, ALPHA / 2)) if n else 0.0
        high = float(special.gammaincinv(n + 1, 1 - ALPHA / 2))
        return Estimate(n / length_s, (low / length_s, high / length_s), n)
    bins = (inside - start_ns) * BATCHES // (end_ns - start_ns)
    counts = np.bincount(bins, minlength=BATCHES)
    half = _T * float(counts.std(ddof=1)) * math.sqrt(BATCHES) / length_s
    value = n / length_s
    return Estimate(value, (max(0.0, value - half), value + half), n)


def rate_of_amounts(amounts: Values, length_s: float) -> Estimate:
    """What came a second, from the amounts of equal parts of the time; the interval is Student's on them."""
    if length_s <= 0:
        return Estimate(None, n=0, reason="the window is empty")
    total = float(amounts.sum())
    t = float(special.stdtrit(amounts.size - 1, 1 - ALPHA / 2))
    half = t * float(amounts.std(ddof=1)) * math.sqrt(amounts.size)
    return Estimate(total / length_s, (max(0.0, total - half) / length_s, (total + half) / length_s), round(total))


def batch_means(timed: Values | Hits) -> Values:
    """Means of 20 equal batches; the few first values that do not fit are left out."""
    size = timed.size // BATCHES
    means: Values = timed[timed.size - size * BATCHES :].reshape(BATCHES, size).mean(axis=1)
    return means


def _percentile(timed: Values, ordered: Values, q: float) -> Estimate:
    n, needed = ordered.size, needed_samples(q)
    if n < needed:
        return Estimate(None, n=n, reason=f"needs {needed:,}, has {n:,}")
    value = float(ordered[math.ceil(n * q - 1e-9) - 1])
    lower, upper = _ranks(n, q, math.sqrt(_inflation(timed <= value)))
    if upper > n:
        return Estimate(value, n=n, reason="no interval: it would reach past the largest value")
    return Estimate(value, (float(ordered[lower - 1]), float(ordered[upper - 1])), n)


def _ranks(n: int, q: float, widening: float) -> tuple[int, int]:
    """The interval's order statistics, from 1: the binomial's, moved away from n q by `widening`."""
    lower = _binomial_quantile(ALPHA / 2, n, q)
    upper = _binomial_quantile(1 - ALPHA / 2, n, q) + 1
    centre = n * q
    return (
        max(1, math.floor(centre - (centre - lower) * widening)),
        math.ceil(centre + (upper - centre) * widening - 1e-9),
    )


def _binomial_quantile(p: float, n: int, q: float) -> int:
    """The smallest k with P(Binomial(n, q) <= k) >= p."""
    k = max(0, math.ceil(float(special.bdtrik(p, n, q)) - 1e-9))
    return k if float(special.bdtr(k, n, q)) >= p else k + 1


def _wilson(p: float, n: float) -> tuple[float, float]:
    z2 = _Z**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return (max(0.0, centre - half) if p > 0 else 0.0, min(1.0, centre + half) if p < 1 else 1.0)


def _inflation(hits: Hits) -> float:
    """How much larger than for independent values the variance of the share of hits is; at least 1.

    20 batches know that variance roughly, which Student's factor allows for.
    """
    p = float(hits.mean())
    if hits.size < 2 * BATCHES or p in (0.0, 1.0):
        return 1.0
    batch_size = hits.size // BATCHES
    observed = float(batch_means(hits).var(ddof=1)) * batch_size / (p * (1 - p))
    return max(1.0, observed * (_T / _Z) ** 2) if observed > 1 else 1.0


def _known(values: npt.ArrayLike) -> Values:
    timed = np.asarray(values, dtype=np.float64)
    missing = np.isnan(timed)
    return timed[~missing] if missing.any() else timed


def _nothing() -> Estimate:
    return Estimate(None, n=0, reason="no values")
