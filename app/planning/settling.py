"""What one instance of each offer carries in a fleet: by formula for all of them, by simulation for those that lead.

Offers whose replicas are of one speed and one doubt share one play, whatever they cost.

Latency of a fleet over its load, played.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from app.planning.capacity import Capacity
from app.planning.fleet_rate import (
    NO_EVIDENCE,
    FleetShape,
    ReplicaRate,
    formula_rate,
    middle_rate,
    play_traffic,
    requests_for,
    simulated_rate,
    time_of,
)
from app.planning.formulae import by_replicas
from app.planning.goals import DEFAULT_LATENCY_METRIC, Goal, NoLongerWantedError, Wanted, always
from app.planning.latency_curve import LatencyCurve
from app.planning.service_models.evidence import Evidence, evidence_of
from app.planning.service_models.service_times import faster
from app.planning.sizing import Demand, instances_needed, peak_carried_per_s
from app.records.plan import Settled
from app.records.plan_question import MeasuredTarget
from app.records.result import Objective
from app.records.service import ServiceFit

_LOADS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.93, 1.0)
_REQUESTS = (6_000, 300)


def fleet_curve(fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, highest_per_s: float) -> LatencyCurve:
    """The first goal's time, or p95 of the latency, against the rate of one replica up to its highest."""
    if highest_per_s <= 0:
        return LatencyCurve((), (), 0.0)
    goal = shape.goals.times[0] if shape.goals.times else Goal("", DEFAULT_LATENCY_METRIC, "latency", 0.95, math.inf)
    service = faster(fit.laws[0].service, speed)
    rates = [load * highest_per_s for load in _LOADS]
    enough = requests_for(replicas, *_REQUESTS)
    times_ms = [1000 * time_of(play_traffic(service, shape, replicas, rate * replicas, enough), goal) for rate in rates]
    rising = [max(times_ms[: place + 1]) for place in range(len(times_ms))]
    return LatencyCurve(tuple(rates), tuple(math.log(time) for time in rising), highest_per_s)


_SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
"""Fleets are played at these numbers of replicas; one between two is taken as the smaller, which pools less."""
_NEXT_SIZE = 3
"""Steps to the next size that is tried after one that misses the SLO at any load."""


_MOST_EXACT = 10
_KEPT = 1024
_formula_rate = lru_cache(_KEPT)(formula_rate)
_simulated_rate = lru_cache(_KEPT)(simulated_rate)
_middle_rate = lru_cache(_KEPT)(middle_rate)
_fleet_curve = lru_cache(_KEPT)(fleet_curve)
"""Of one law, one shape and one size there is one answer, whatever the peak, the prices and the limits: plans that are
asked for again with those otherwise, as in the window, need not play it again."""


class Kind(msgspec.Struct, frozen=True):
    """What tells one replica's rate from another's."""

    target: str
    speed: float
    speed_sigma: float


class Played(msgspec.Struct, frozen=True):
    rate: ReplicaRate
    latencies: LatencyCurve


class Settling:
    """Remembers what was played. Not for several threads."""

    def __init__(
        self, shape: FleetShape, demand: Demand, wanted: Wanted = always, slo: Sequence[Objective] = ()
    ) -> None:
        """`slo` is what load points are judged by; without it they are no evidence."""
        self._shape, self._demand, self._wanted, self._slo = shape, demand, wanted, slo
        self._evidence: dict[str, Evidence] = {}
        self._formulae: dict[tuple[Kind, int], ReplicaRate] = {}
        self._played: dict[tuple[Kind, int], Played] = {}

    def preview(self, target: MeasuredTarget, capacity: Capacity) -> Capacity:
        """By formula; the measured max rate itself where no service model could be fitted."""
        fit = target.fit
        if fit is None:
            return capacity
        return self._sized(capacity, "formula", lambda replicas: self._formula(target, fit, capacity, replicas))

    def settle(self, target: MeasuredTarget, capacity: Capacity) -> tuple[Capacity, LatencyCurve] | None:
        """By simulation, at the number of replicas that comes out; None where no service model could be fitted."""
        fit = target.fit
        if fit is None:
            return None

        def rate_at(replicas: int) -> ReplicaRate:
            return self._play(target, fit, capacity, replicas).rate

        sized = self._sized(capacity, "simulated", rate_at)
        if self._shape.bursts is not None and sized.per_s > 0:
            sized = self._sized_exactly(sized, rate_at)
            replicas = self._needed(sized) * capacity.replicas
            return sized, _fleet_curve(fit, self._shape, replicas, capacity.speed, sized.per_s / capacity.replicas)
        return sized, self._play(target, fit, capacity, self._replicas(sized)).latencies

    def _sized(self, capacity: Capacity, settled: Settled, rate_at: Callable[[int], ReplicaRate]) -> Capacity:
        """The rate of the fewest replicas that carry the load at their own rate, which pooling makes higher for more.

        Where a size is enough by its own rate and asks for fewer, which by theirs are not, its rate is lowered to what
        just asks for it. A size that misses the SLO at any load is too few: more replicas may still pool their queues.
        """
        last = len(_SIZES) - 1
        too_few, enough, slow, place = -1, len(_SIZES), 0.0, self._place(capacity)
        at_enough = capacity
        while True:
            sized = _of(rate_at(_SIZES[place]), capacity, settled)
            asked = self._place(sized) if sized.per_s > 0 else min(place + _NEXT_SIZE, last)
            if asked == place:
                return sized
            if asked > place:
                too_few, slow = place, sized.per_s
            else:
                enough, at_enough = place, sized
            if enough - too_few == 1:
                instances = math.ceil(_SIZES[enough] / capacity.replicas)
                known = sized if sized.per_s > 0 else at_enough
                just = known.per_s * self._demand.peak_per_s / peak_carried_per_s(instances, known, self._demand)
                return msgspec.structs.replace(known, per_s=max(slow, just))
            place = min(max(asked, too_few + 1), enough - 1)

    def _evidence_of(self, target: MeasuredTarget) -> Evidence:
        if target.name not in self._evidence:
            self._evidence[target.name] = evidence_of(target, self._slo) if self._slo else NO_EVIDENCE
        return self._evidence[target.name]

    def _sized_exactly(self, capacity: Capacity, rate_at: Callable[[int], ReplicaRate]) -> Capacity:
        """Capacity at the very number of instances that is needed, since a burst is one size for all fleets.

        What one instance carries grows with their number, so that a step between the sizes in `_SIZES` is too coarse.
        The number is found by interpolation between one that is too few and one that is enough.
        """
        too_few, enough, instances = (0, -math.inf), None, self._needed(capacity)
        for _ in range(_MOST_EXACT):
            sized = _of(rate_at(instances * capacity.replicas), capacity, "simulated")
            if sized.per_s <= 0:
                break
            over = math.log(peak_carried_per_s(instances, sized, self._demand) / self._demand.peak_per_s)
            if over >= -1e-9:
                enough, capacity = (instances, over), sized
            else:
                too_few = (instances, over)
            low = too_few[0]
            if enough is None:
                instances = max(low + 1, self._needed(sized))
            elif enough[0] - low <= 1:
                break
            elif low:
                share = -too_few[1] / (enough[1] - too_few[1])
                instances = min(max(round(low + share * (enough[0] - low)), low + 1), enough[0] - 1)
            else:
                instances = min(max(self._needed(sized), 1), enough[0] - 1)
        if enough is None or self._needed(capacity) == enough[0]:
            return capacity
        return msgspec.structs.replace(capacity, per_s=capacity.per_s * math.exp(-enough[1]))

    def _needed(self, capacity: Capacity) -> int:
        return instances_needed(self._demand, capacity, self._demand.z)

    def _formula(self, target: MeasuredTarget, fit: ServiceFit, capacity: Capacity, replicas: int) -> ReplicaRate:
        replicas = replicas if by_replicas(fit.laws[0].service) else 1
        key = (_kind(target.name, capacity), replicas)
        if key not in self._formulae:
            evidence = self._evidence_of(target)
            self._formulae[key] = _formula_rate(
                fit, self._shape, replicas, capacity.speed, capacity.speed_sigma, evidence
            )
        return self._formulae[key]

    def _play(self, target: MeasuredTarget, fit: ServiceFit, capacity: Capacity, replicas: int) -> Played:
        """A kind's doubt and latencies are played once, at the first number of replicas; its middle at each."""
        key, evidence = (_kind(target.name, capacity), replicas), self._evidence_of(target)
        steady = _SIZES[bisect.bisect_right(_SIZES, replicas) - 1]
        if not self._wanted():
            raise NoLongerWantedError
        if key not in self._played:
            alike = next(
                (one for (kind, _), one in self._played.items() if kind == key[0] and one.rate.per_s > 0), None
            )
            if alike is None:
                rate = _simulated_rate(fit, self._shape, steady, capacity.speed, capacity.speed_sigma, evidence)
                latencies = _fleet_curve(fit, self._shape, steady, capacity.speed, rate.per_s)
                self._played[key] = Played(rate, latencies)
            else:
                rate = _middle_rate(
                    fit, self._shape, replicas, capacity.speed, alike.rate, evidence, capacity.speed_sigma, steady
                )
                self._played[key] = Played(rate, alike.latencies.stretched(rate.per_s / alike.rate.per_s))
        return self._played[key]

    def _replicas(self, capacity: Capacity) -> int:
        """Those that carry the load at the assurance asked for, down to a number that is played."""
        return _SIZES[self._place(capacity)]

    def _place(self, capacity: Capacity) -> int:
        if capacity.per_s <= 0:
            return 0
        needed = instances_needed(self._demand, capacity, self._demand.z) * capacity.replicas
        return bisect.bisect_right(_SIZES, needed) - 1


def _of(rate: ReplicaRate, capacity: Capacity, settled: Settled) -> Capacity:
    unseen = None if rate.unseen_per_s is None else rate.unseen_per_s * capacity.replicas
    return msgspec.structs.replace(
        capacity, per_s=rate.per_s * capacity.replicas, sigma=rate.sigma, settled=settled, unseen_per_s=unseen,
        ceiling_per_s=rate.ceiling_per_s * capacity.replicas,
    )  # fmt: skip


def _kind(name: str, capacity: Capacity) -> Kind:
    return Kind(name, round(capacity.speed, 9), round(capacity.speed_sigma, 9))
