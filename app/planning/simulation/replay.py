"""Simulation of a fleet under given arrivals, from the first to the last request.

Arrivals are a recorded trace, or bursts that were drawn in advance.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.planning.service_models.service_times import compute_fleet_normals
from app.planning.simulation.arrivals import Arrivals
from app.planning.simulation.compiled import Floats, Ints
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.serving import advance_to, serve
from app.planning.simulation.state import FAILED, LATE, Fleet, create_fleet
from app.planning.simulation.steady import SteadyOutcome, run_parallel, summarize
from app.records.service import RequestService

BLOCK_COUNT = 20
"""Number of time blocks of equal length. Late requests are counted per block, to estimate the
influence of single bursts.
"""


_NO_NORMALS: Floats = np.empty(0)


class ReplayResult(msgspec.Struct, frozen=True):
    """Results of a replay, with the number of late requests in each time block."""

    outcome: SteadyOutcome
    late_requests_per_block: tuple[int, ...]
    """Number of requests per time block that were late, dropped or timed out, summed over all
    seeds."""


def replay(
    design: FleetDesign,
    rate_per_s: float,
    arrivals_per_seed: Sequence[Arrivals],
    percentiles: Sequence[float],
    replicas: int,
    workers: int = 2,
) -> ReplayResult:
    """Simulate every request, from an empty fleet until all requests are finished.

    `arrivals_per_seed` has one entry per seed, starting at 0 s. `design` may be a part of a larger
    fleet. `replicas` and `rate_per_s` describe the larger fleet.
    """
    has_variable_times = any(service.cv > 0 for service in design.services)
    has_slots = isinstance(design.services[0], RequestService)

    def simulate_seed(seed: int) -> tuple[Fleet, float, Ints]:
        seed_arrivals = arrivals_per_seed[seed]
        fleet = create_fleet(design, np.random.SeedSequence((seed, 7)))
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, 8))))
        normals = rng.standard_normal(seed_arrivals.times_s.size) if has_variable_times else _NO_NORMALS
        if has_variable_times and seed_arrivals.normals.size and has_slots:
            normals = seed_arrivals.normals
        normals = compute_fleet_normals(normals, design.services[0])
        late_counts, start = [0], 0
        for block in range(1, BLOCK_COUNT + 1):
            end_s = seed_arrivals.end_s * block / BLOCK_COUNT
            stop = (
                seed_arrivals.times_s.size
                if block == BLOCK_COUNT
                else int(np.searchsorted(seed_arrivals.times_s, end_s))
            )
            block_range = slice(start, stop)
            serve(fleet, seed_arrivals.times_s[block_range], normals[block_range], seed_arrivals.rows[block_range])
            advance_to(fleet, end_s if block < BLOCK_COUNT else np.inf)
            late_counts.append(int(fleet.tallies[:, LATE : FAILED + 1].sum()))
            start = stop
        return fleet, 0.0, np.diff(late_counts)

    results = run_parallel(simulate_seed, len(arrivals_per_seed), workers)
    outcome = summarize(design, [fleet for fleet, _, _ in results], percentiles, rate_per_s, replicas, 0.0)
    return ReplayResult(outcome, tuple(np.sum([late_counts for _, _, late_counts in results], axis=0).tolist()))
