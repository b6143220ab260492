"""Sizing of one instance of each offer in a fleet: by formula for all offers, by simulation for the leading ones.

Offers whose replicas have the same speed and uncertainty share one simulation, whatever they cost. Also simulates the
latency of a fleet over its load.
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
    count_requests,
    estimate_rate,
    get_time_s,
    simulate_median_rate,
    simulate_rate,
    simulate_traffic,
)
from app.planning.formulas import depends_on_replicas
from app.planning.goals import DEFAULT_LATENCY_METRIC, CancelledError, Goal, ShouldContinue, always_continue
from app.planning.latency_curve import LatencyCurve
from app.planning.service_models.evidence import Evidence, collect_evidence
from app.planning.service_models.service_times import speed_up
from app.planning.sizing import Demand, count_instances, sustained_peak_per_s
from app.records.plan import SizingMethod
from app.records.planning_inputs import MeasuredTarget
from app.records.result import Objective
from app.records.service import ServiceFit

_LOADS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.93, 1.0)
_REQUESTS = (6_000, 300)


def simulate_fleet_curve(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, highest_per_s: float
) -> LatencyCurve:
    """Return the first goal's time, or p95 latency, over the rate of one replica up to its highest."""
    if highest_per_s <= 0:
        return LatencyCurve((), (), 0.0)
    goal = (
        shape.goals.time_goals[0]
        if shape.goals.time_goals
        else Goal("", DEFAULT_LATENCY_METRIC, "latency", 0.95, math.inf)
    )
    service = speed_up(fit.services[0].service, speed)
    rates = [load * highest_per_s for load in _LOADS]
    requests = count_requests(replicas, *_REQUESTS)
    times_ms = [
        1000 * get_time_s(simulate_traffic(service, shape, replicas, rate * replicas, requests), goal) for rate in rates
    ]
    rising_ms = [max(times_ms[: index + 1]) for index in range(len(times_ms))]
    return LatencyCurve(tuple(rates), tuple(math.log(time) for time in rising_ms), highest_per_s)


_SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
"""Numbers of replicas at which fleets are simulated; one between two counts as the smaller, which pools less."""
_NEXT_SIZE = 3
"""Steps to the next size that is tried after one that misses the SLO at any load."""


_MAX_EXACT_STEPS = 10
_CACHE_SIZE = 1024
_formula_rate = lru_cache(_CACHE_SIZE)(estimate_rate)
_simulated_rate = lru_cache(_CACHE_SIZE)(simulate_rate)
_middle_rate = lru_cache(_CACHE_SIZE)(simulate_median_rate)
_fleet_curve = lru_cache(_CACHE_SIZE)(simulate_fleet_curve)
"""The result depends only on the service model, the shape and the size, not on the peak, the prices or the limits.

Plans that are computed again with other ones of those, as in the desktop app, do not simulate it again.
"""


class ReplicaKind(msgspec.Struct, frozen=True):
    """Kind of replica; replicas with equal kinds have equal rates."""

    target: str
    speed: float
    speed_sigma: float


class SimulatedKind(msgspec.Struct, frozen=True):
    rate: ReplicaRate
    latencies: LatencyCurve


class FleetSizer:
    """Sizer of fleets that caches its simulations. Not thread-safe."""

    def __init__(
        self,
        shape: FleetShape,
        demand: Demand,
        should_continue: ShouldContinue = always_continue,
        slo: Sequence[Objective] = (),
    ) -> None:
        """Create a sizer. Load points are evaluated against `slo`; without it they are not used as evidence."""
        self._shape, self._demand, self._should_continue, self._slo = shape, demand, should_continue, slo
        self._evidence: dict[str, Evidence] = {}
        self._formulae: dict[tuple[ReplicaKind, int], ReplicaRate] = {}
        self._simulated: dict[tuple[ReplicaKind, int], SimulatedKind] = {}

    def estimate(self, target: MeasuredTarget, capacity: Capacity) -> Capacity:
        """Return the capacity by formula, or the measured max rate where no service model could be fitted."""
        fit = target.fit
        if fit is None:
            return capacity
        return self._size(capacity, "formula", lambda replicas: self._formula(target, fit, capacity, replicas))

    def simulate(self, target: MeasuredTarget, capacity: Capacity) -> tuple[Capacity, LatencyCurve] | None:
        """Return the capacity by simulation at the resulting number of replicas; `None` without a service model."""
        fit = target.fit
        if fit is None:
            return None

        def rate_at(replicas: int) -> ReplicaRate:
            return self._simulate(target, fit, capacity, replicas).rate

        sized = self._size(capacity, "simulated", rate_at)
        if self._shape.bursts is not None and sized.per_s > 0:
            sized = self._size_exactly(sized, rate_at)
            replicas = self._instances_needed(sized) * capacity.replicas
            return sized, _fleet_curve(fit, self._shape, replicas, capacity.speed, sized.per_s / capacity.replicas)
        return sized, self._simulate(target, fit, capacity, self._replicas(sized)).latencies

    def _size(self, capacity: Capacity, method: SizingMethod, rate_at: Callable[[int], ReplicaRate]) -> Capacity:
        """Return the rate at the smallest sufficient number of replicas.

        These serve the load at their own rate, which grows with their number by pooling. Where a size is sufficient by
        its own rate and needs fewer replicas, which by their rate are not sufficient, its rate is lowered to the one
        that just needs this size. A size that misses the SLO at any load is too small: more replicas may still meet it
        by pooling their queues.
        """
        last = len(_SIZES) - 1
        too_few, enough, lowest_per_s, index = -1, len(_SIZES), 0.0, self._size_index(capacity)
        at_enough = capacity
        while True:
            sized = _with_rate(rate_at(_SIZES[index]), capacity, method)
            needed_index = self._size_index(sized) if sized.per_s > 0 else min(index + _NEXT_SIZE, last)
            if needed_index == index:
                return sized
            if needed_index > index:
                too_few, lowest_per_s = index, sized.per_s
            else:
                enough, at_enough = index, sized
            if enough - too_few == 1:
                instances = math.ceil(_SIZES[enough] / capacity.replicas)
                basis_capacity = sized if sized.per_s > 0 else at_enough
                exact_per_s = (
                    basis_capacity.per_s
                    * self._demand.peak_per_s
                    / sustained_peak_per_s(instances, basis_capacity, self._demand)
                )
                return msgspec.structs.replace(basis_capacity, per_s=max(lowest_per_s, exact_per_s))
            index = min(max(needed_index, too_few + 1), enough - 1)

    def _evidence_of(self, target: MeasuredTarget) -> Evidence:
        if target.name not in self._evidence:
            self._evidence[target.name] = collect_evidence(target, self._slo) if self._slo else NO_EVIDENCE
        return self._evidence[target.name]

    def _size_exactly(self, capacity: Capacity, rate_at: Callable[[int], ReplicaRate]) -> Capacity:
        """Return the capacity at the exact number of instances, since a burst has the same size for all fleets.

        The capacity of one instance grows with their number, so a step between the sizes in `_SIZES` is too coarse. The
        number is found by interpolation between one that is too small and one that is sufficient.
        """
        too_few, enough, instances = (0, -math.inf), None, self._instances_needed(capacity)
        for _ in range(_MAX_EXACT_STEPS):
            sized = _with_rate(rate_at(instances * capacity.replicas), capacity, "simulated")
            if sized.per_s <= 0:
                break
            log_margin = math.log(sustained_peak_per_s(instances, sized, self._demand) / self._demand.peak_per_s)
            if log_margin >= -1e-9:
                enough, capacity = (instances, log_margin), sized
            else:
                too_few = (instances, log_margin)
            min_instances = too_few[0]
            if enough is None:
                instances = max(min_instances + 1, self._instances_needed(sized))
            elif enough[0] - min_instances <= 1:
                break
            elif min_instances:
                fraction = -too_few[1] / (enough[1] - too_few[1])
                instances = min(
                    max(round(min_instances + fraction * (enough[0] - min_instances)), min_instances + 1), enough[0] - 1
                )
            else:
                instances = min(max(self._instances_needed(sized), 1), enough[0] - 1)
        if enough is None or self._instances_needed(capacity) == enough[0]:
            return capacity
        return msgspec.structs.replace(capacity, per_s=capacity.per_s * math.exp(-enough[1]))

    def _instances_needed(self, capacity: Capacity) -> int:
        return count_instances(self._demand, capacity, self._demand.z)

    def _formula(self, target: MeasuredTarget, fit: ServiceFit, capacity: Capacity, replicas: int) -> ReplicaRate:
        replicas = replicas if depends_on_replicas(fit.services[0].service) else 1
        key = (_kind(target.name, capacity), replicas)
        if key not in self._formulae:
            evidence = self._evidence_of(target)
            self._formulae[key] = _formula_rate(
                fit, self._shape, replicas, capacity.speed, capacity.speed_sigma, evidence
            )
        return self._formulae[key]

    def _simulate(self, target: MeasuredTarget, fit: ServiceFit, capacity: Capacity, replicas: int) -> SimulatedKind:
        """Simulate a kind of replica.

        The uncertainty and the latencies of a kind are simulated once, at the first number of replicas; the middle at
        each.
        """
        key, evidence = (_kind(target.name, capacity), replicas), self._evidence_of(target)
        steady_replicas = _SIZES[bisect.bisect_right(_SIZES, replicas) - 1]
        if not self._should_continue():
            raise CancelledError
        if key not in self._simulated:
            similar = next(
                (
                    simulated
                    for (kind, _), simulated in self._simulated.items()
                    if kind == key[0] and simulated.rate.per_s > 0
                ),
                None,
            )
            if similar is None:
                rate = _simulated_rate(
                    fit, self._shape, steady_replicas, capacity.speed, capacity.speed_sigma, evidence
                )
                latencies = _fleet_curve(fit, self._shape, steady_replicas, capacity.speed, rate.per_s)
                self._simulated[key] = SimulatedKind(rate, latencies)
            else:
                rate = _middle_rate(
                    fit,
                    self._shape,
                    replicas,
                    capacity.speed,
                    similar.rate,
                    evidence,
                    capacity.speed_sigma,
                    steady_replicas,
                )
                self._simulated[key] = SimulatedKind(
                    rate, similar.latencies.scale_rates(rate.per_s / similar.rate.per_s)
                )
        return self._simulated[key]

    def _replicas(self, capacity: Capacity) -> int:
        """Return the replicas that serve the load at the plan's confidence, rounded down to a simulated number."""
        return _SIZES[self._size_index(capacity)]

    def _size_index(self, capacity: Capacity) -> int:
        if capacity.per_s <= 0:
            return 0
        needed = count_instances(self._demand, capacity, self._demand.z) * capacity.replicas
        return bisect.bisect_right(_SIZES, needed) - 1


def _with_rate(rate: ReplicaRate, capacity: Capacity, method: SizingMethod) -> Capacity:
    extrapolated = None if rate.extrapolated_per_s is None else rate.extrapolated_per_s * capacity.replicas
    return msgspec.structs.replace(
        capacity, per_s=rate.per_s * capacity.replicas, sigma=rate.sigma, sizing_method=method,
        extrapolated_per_s=extrapolated,
        max_throughput_per_s=rate.max_throughput_per_s * capacity.replicas,
    )  # fmt: skip


def _kind(name: str, capacity: Capacity) -> ReplicaKind:
    return ReplicaKind(name, round(capacity.speed, 9), round(capacity.speed_sigma, 9))
