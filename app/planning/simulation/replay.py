"""Simulation of a fleet under given arrivals, from the first to the last.

They are a recorded trace, or bursts drawn in advance.
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
"""Parts of equal length whose late requests are counted separately, to estimate the influence of a few bursts."""


_NO_NORMALS: Floats = np.empty(0)


class ReplayResult(msgspec.Struct, frozen=True):
    outcome: SteadyOutcome
    late_per_block: tuple[int, ...]
    """Requests that were late, dropped or timed out, over all seeds."""


def replay(
    design: FleetDesign,
    rate_per_s: float,
    arrivals: Sequence[Arrivals],
    percentiles: Sequence[float],
    replicas: int,
    workers: int = 2,
) -> ReplayResult:
    """Simulate every request, from an empty fleet until all are finished.

    `arrivals` has one entry per seed, from 0 s on. `design` is the simulated fleet; `replicas` and `rate_per_s` are
    those of the fleet that it represents.
    """
    varies = any(service.cv > 0 for service in design.services)
    has_slots = isinstance(design.services[0], RequestService)

    def play(seed: int) -> tuple[Fleet, float, Ints]:
        arrivals_of_seed = arrivals[seed]
        fleet = create_fleet(design, np.random.SeedSequence((seed, 7)))
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, 8))))
        normals = rng.standard_normal(arrivals_of_seed.at_s.size) if varies else _NO_NORMALS
        if varies and arrivals_of_seed.normals.size and has_slots:
            normals = arrivals_of_seed.normals
        normals = compute_fleet_normals(normals, design.services[0])
        late, first = [0], 0
        for block in range(1, BLOCK_COUNT + 1):
            end_s = arrivals_of_seed.end_s * block / BLOCK_COUNT
            stop = (
                arrivals_of_seed.at_s.size
                if block == BLOCK_COUNT
                else int(np.searchsorted(arrivals_of_seed.at_s, end_s))
            )
            span = slice(first, stop)
            serve(fleet, arrivals_of_seed.at_s[span], normals[span], arrivals_of_seed.rows[span])
            advance_to(fleet, end_s if block < BLOCK_COUNT else np.inf)
            late.append(int(fleet.tallies[:, LATE : FAILED + 1].sum()))
            first = stop
        return fleet, 0.0, np.diff(late)

    results = run_parallel(play, len(arrivals), workers)
    outcome = summarize(design, [fleet for fleet, _, _ in results], percentiles, rate_per_s, replicas, 0.0)
    return ReplayResult(outcome, tuple(np.sum([late for _, _, late in results], axis=0).tolist()))
