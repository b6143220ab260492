"""The arrivals of a day and the normals of their service, a minute at a time, all from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from app.planning.simulation.arrivals import poisson_arrivals
from app.planning.simulation.compiled import Floats

MINUTE_S = 60.0


def minutes_of_arrivals(
    rates_per_s: Floats,
    bin_s: float,
    start_s: float,
    seed: int,
    shape: float | None = None,
    modulated_s: float = 30.0,
) -> Iterator[tuple[float, Floats, Floats]]:
    """The end of each minute, its arrivals, ascending, and a standard normal for each. The last minute may be cut
    short. `shape` and `modulated_s` are of the rates' own variation, as in `poisson_arrivals`."""
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
        yield start_s + end_s, start_s + ahead_s[:stop], generator.standard_normal(stop)
        ahead_s = ahead_s[stop:]
