"""A fleet under given arrivals, from the first to the last: a recorded trace, or bursts drawn beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from app.planning.service_models.service_times import fleet_normals
from app.planning.simulation.compiled import Floats, Ints
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.serving import serve, settle
from app.planning.simulation.state import FAILED, LATE, Fleet, new_fleet
from app.planning.simulation.steady import SteadyOutcome, outcome_of, side_by_side
from app.records.service import RequestService

BLOCKS = 20
"""Parts of equal length whose late requests are counted apart, to know how much a few bursts decide."""


_NONE: Floats = np.empty(0)


class Arrivals(msgspec.Struct, frozen=True, eq=False):
    """`at_s` ascends within `window_s`; `rows` are places among the design's lengths, empty where they are drawn.

    `normals` give the service time of a replica of slots, empty where they are drawn.
    """

    at_s: Floats
    rows: Ints
    window_s: float
    normals: Floats = _NONE

    def compressed(self, factor: float) -> Arrivals:
        """The same requests in a `factor`-th of the time: as a replica that much slower, with limits as much longer."""
        return Arrivals(self.at_s / factor, self.rows, self.window_s / factor, self.normals)


class Replayed(msgspec.Struct, frozen=True):
    outcome: SteadyOutcome
    late_per_block: tuple[int, ...]
    """Requests that were late, dropped or timed out, of all seeds together."""


def replay(
    design: FleetDesign,
    rate_per_s: float,
    arrivals: Sequence[Arrivals],
    percentiles: Sequence[float],
    replicas: int,
    workers: int = 2,
) -> Replayed:
    """Every request counts, from an empty fleet until all are answered. `arrivals` are of one seed each.

    `design` is what is simulated, and `replicas` and `rate_per_s` are of the fleet that it stands for.
    """
    varies = any(service.cv > 0 for service in design.services)
    has_slots = isinstance(design.services[0], RequestService)

    def play(seed: int) -> tuple[Fleet, float, Ints]:
        played = arrivals[seed]
        fleet = new_fleet(design, np.random.SeedSequence((seed, 7)))
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, 8))))
        normals = rng.standard_normal(played.at_s.size) if varies else _NONE
        if varies and played.normals.size and has_slots:
            normals = played.normals
        normals = fleet_normals(normals, design.services[0])
        late, first = [0], 0
        for block in range(1, BLOCKS + 1):
            end_s = played.window_s * block / BLOCKS
            stop = played.at_s.size if block == BLOCKS else int(np.searchsorted(played.at_s, end_s))
            span = slice(first, stop)
            serve(fleet, played.at_s[span], normals[span], played.rows[span])
            settle(fleet, end_s if block < BLOCKS else np.inf)
            late.append(int(fleet.tallies[:, LATE : FAILED + 1].sum()))
            first = stop
        return fleet, 0.0, np.diff(late)

    played = side_by_side(play, len(arrivals), workers)
    outcome = outcome_of(design, [fleet for fleet, _, _ in played], percentiles, rate_per_s, replicas, 0.0)
    return Replayed(outcome, tuple(np.sum([late for _, _, late in played], axis=0).tolist()))
