"""What one instance of each offer carries in a fleet: by formula for all of them, by simulation for those that lead.

Offers whose replicas are of one speed and one doubt share one play, whatever they cost.
"""

from __future__ import annotations

import msgspec

from app.planning.capacity import Capacity
from app.planning.fleet_curve import fleet_curve
from app.planning.fleet_rate import FleetShape, ReplicaRate, formula_rate, simulated_rate
from app.planning.latency_curve import LatencyCurve
from app.planning.sizing import Demand, instances_needed
from app.records.plan import Settled
from app.records.plan_question import MeasuredTarget

_ROUNDS = 3
_CLOSE = 1.1
"""A rate played for so near a number of replicas stands for it."""


class Kind(msgspec.Struct, frozen=True):
    """What tells one replica's rate from another's."""

    target: str
    speed: float
    speed_sigma: float


class Played(msgspec.Struct, frozen=True):
    replicas: int
    rate: ReplicaRate
    latencies: LatencyCurve


class Settling:
    """Remembers what was played. Not for several threads."""

    def __init__(self, shape: FleetShape, demand: Demand) -> None:
        self._shape, self._demand = shape, demand
        self._played: dict[Kind, Played] = {}

    def preview(self, target: MeasuredTarget, capacity: Capacity) -> Capacity:
        """By formula; the measured max rate itself where no service model could be fitted."""
        fit = target.fit
        if fit is None:
            return capacity
        sized = capacity
        for _ in range(_ROUNDS):
            rate = formula_rate(fit, self._shape, self._replicas(sized), capacity.speed, capacity.speed_sigma)
            sized = _with(capacity, rate, "formula")
            if rate.per_s <= 0:
                break
        return sized

    def settle(self, target: MeasuredTarget, previewed: Capacity) -> tuple[Capacity, LatencyCurve] | None:
        """By simulation, at the number of replicas that comes out; None where no service model could be fitted."""
        fit = target.fit
        if fit is None:
            return None
        kind = Kind(target.name, round(previewed.speed, 9), round(previewed.speed_sigma, 9))
        sized, rounds = previewed, _ROUNDS
        while True:
            replicas, rounds = self._replicas(sized), rounds - 1
            played = self._played.get(kind)
            if played is None or not _is_close(replicas, played.replicas):
                rate = simulated_rate(fit, self._shape, replicas, previewed.speed, previewed.speed_sigma)
                latencies = fleet_curve(fit, self._shape, replicas, previewed.speed, rate.per_s)
                played = self._played[kind] = Played(replicas, rate, latencies)
            sized = _with(previewed, played.rate, "simulated")
            if not rounds or played.rate.per_s <= 0 or _is_close(self._replicas(sized), played.replicas):
                return sized, played.latencies

    def _replicas(self, capacity: Capacity) -> int:
        """Those that carry the load, at the assurance asked for."""
        if capacity.per_s <= 0:
            return 1
        return instances_needed(self._demand, capacity, self._demand.z) * capacity.replicas


def _is_close(replicas: int, played: int) -> bool:
    return 1 / _CLOSE <= replicas / played <= _CLOSE


def _with(capacity: Capacity, rate: ReplicaRate, settled: Settled) -> Capacity:
    return msgspec.structs.replace(capacity, per_s=rate.per_s * capacity.replicas, sigma=rate.sigma, settled=settled)
