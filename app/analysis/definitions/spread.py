"""How tools describe many values: mean and percentiles, by the methods they use."""

from __future__ import annotations

import numpy as np

from app.analysis.columns import Floats
from app.records.definitions import AGGREGATES
from app.records.metrics import PERCENTILES
from app.records.result import Estimate

Spread = dict[str, Estimate]

LINEAR = "percentiles lie on the line between the two values beside them, however few there are"


def linear(values: Floats, aggregates: tuple[str, ...] = AGGREGATES) -> Spread:
    """Percentiles as NumPy has them by default: linear between the values beside rank (n − 1) q. NaN is no value."""
    known = values[~np.isnan(values)]
    if not known.size:
        return lacking("no answer has one", aggregates)
    return {
        name: Estimate(float(known.mean() if name == "mean" else np.quantile(known, PERCENTILES[name])), n=known.size)
        for name in aggregates
    }


def weighted(values: Floats, weights: Floats) -> Spread:
    """The mean by weight; as a percentile, the smallest value at which the summed shares of the weights reach it.

    The shares are summed in floating point, in the order of distinct values, as GuideLLM does it: where a sum should
    meet a percentile exactly, its rounding decides.
    """
    found, places = np.unique(values[weights > 0], return_inverse=True)
    if not found.size:
        return lacking("no answer has one")
    together = np.bincount(places, weights[weights > 0])
    shares = together / together.sum()
    reached = np.cumsum(shares)

    def value(name: str) -> float:
        if name == "mean":
            return float(np.sum(found * shares))
        place = int(np.searchsorted(reached, PERCENTILES[name], side="left"))
        return float(found[min(place, found.size - 1)])

    return {name: Estimate(value(name), n=int(np.count_nonzero(weights > 0))) for name in AGGREGATES}


def lacking(reason: str, aggregates: tuple[str, ...] = AGGREGATES) -> Spread:
    return dict.fromkeys(aggregates, Estimate(None, reason=reason))


def per_second(amount: float, start_ns: int, end_ns: int) -> Spread:
    if end_ns <= start_ns:
        return lacking("no time passed", ("value",))
    return {"value": Estimate(amount / ((end_ns - start_ns) / 1e9))}
