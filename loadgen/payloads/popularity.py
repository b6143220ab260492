"""Which of the prepared requests each arrival sends, so that caches behave as in life."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadgen.workloads import Popularity

DRAWS = 65_536
"""Arrivals beyond them draw the same again."""


def picks(popularity: Popularity, count: int, seed: int) -> Sequence[int] | None:
    """The request of each arrival, of `count` requests; None when they take turns."""
    if popularity.kind == "in-turn" or count < 2:
        return None
    rng = np.random.default_rng([seed, count])
    if popularity.kind == "uniform":
        return [int(pick) for pick in rng.integers(0, count, DRAWS)]
    weights = np.arange(1, count + 1, dtype=np.float64) ** -popularity.exponent
    by_rank = rng.permutation(count)
    return [int(pick) for pick in by_rank[rng.choice(count, DRAWS, p=weights / weights.sum())]]
