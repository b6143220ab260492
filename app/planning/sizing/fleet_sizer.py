"""Capacity per instance of each offer within a fleet: by formula for all offers, by simulation for
the best offers.

Offers whose replicas have the same speed and uncertainty share one simulation, regardless of their
price. The module also simulates the latency curve of a fleet.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from app.planning.hardware.capacity import Capacity
from app.planning.service_models.evidence import Evidence, collect_evidence
from app.planning.service_models.service_times import speed_up
from app.planning.sizing.fleet_rate import (
    NO_EVIDENCE,
    FleetShape,
    ReplicaRate,
    choose_request_count,
    count_simulated_replicas,
    estimate_rate,
    get_latency_s,
    simulate_median_rate,
    simulate_rate,
    simulate_traffic,
)
from app.planning.sizing.formulas import depends_on_replicas
from app.planning.sizing.instances import Demand, compute_sustained_peak_per_s, count_instances
from app.planning.sizing.latency_curve import LatencyCurve
from app.planning.sizing.slo_objectives import (
    DEFAULT_LATENCY_METRIC,
    CancelledError,
    LatencyObjective,
    ShouldContinue,
    always_continue,
)
from app.records.plan import SizingMethod
from app.records.planning_inputs import MeasuredTarget
from app.records.result import Objective
from app.records.service import ServiceFit

_LOADS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.93, 1.0)
_REQUESTS = (6_000, 300)


def simulate_fleet_curve(
    fit: ServiceFit, shape: FleetShape, replicas: int, speed: float, highest_per_s: float
) -> LatencyCurve:
    """Simulate the latency curve of a fleet over the rate of one replica, up to `highest_per_s`.

    The metric is that of the first latency objective; p95 latency if there is no latency objective.
    Decreases due to simulation noise are removed.
    """
    if highest_per_s <= 0:
        return LatencyCurve((), (), 0.0)
    objective = (
        shape.objectives.latency_objectives[0]
        if shape.objectives.latency_objectives
        else LatencyObjective("", DEFAULT_LATENCY_METRIC, "latency", 0.95, math.inf)
    )
    service = speed_up(fit.services[0].service, speed)
    rates_per_s = [load * highest_per_s for load in _LOADS]
    requests = choose_request_count(replicas, *_REQUESTS)
    latencies_ms = [
        1000 * get_latency_s(simulate_traffic(service, shape, replicas, rate * replicas, requests), objective)
        for rate in rates_per_s
    ]
    nondecreasing_latencies_ms = [max(latencies_ms[: index + 1]) for index in range(len(latencies_ms))]
    return LatencyCurve(
        tuple(rates_per_s), tuple(math.log(latency_ms) for latency_ms in nondecreasing_latencies_ms), highest_per_s
    )


_SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
"""Simulated fleet sizes in replicas. A size in between is rounded down, which underestimates the
benefit of pooling."""
_SIZE_INDEX_STEP = 3
"""Number of steps in `_SIZES` by which the search advances after a size that misses the SLO even at
the lowest load."""


_MAX_EXACT_STEPS = 10
_CACHE_SIZE = 1024
_cached_estimate_rate = lru_cache(_CACHE_SIZE)(estimate_rate)
_cached_simulate_rate = lru_cache(_CACHE_SIZE)(simulate_rate)
_cached_simulate_median_rate = lru_cache(_CACHE_SIZE)(simulate_median_rate)
_cached_simulate_fleet_curve = lru_cache(_CACHE_SIZE)(simulate_fleet_curve)
"""Cached functions whose results depend only on the service model, the fleet shape and the fleet
size.

Plans that differ only in peak, prices or limits share these results, for example while a plan is
edited in the desktop app.
"""


class ReplicaKind(msgspec.Struct, frozen=True):
    """Key of replicas with the same rates: name of the measured target, relative speed, and sigma
    of the speed."""

    target: str
    speed: float
    speed_sigma: float


class SimulatedKind(msgspec.Struct, frozen=True):
    """Simulated rate and latency curve of one replica kind at a given fleet size."""

    rate: ReplicaRate
    latency_curve: LatencyCurve


class FleetSizer:
    """Calculator of the capacity per instance in a fleet, by formula or simulation, with cached
    results.

    The class is not thread-safe.
    """

    def __init__(
        self,
        shape: FleetShape,
        demand: Demand,
        should_continue: ShouldContinue = always_continue,
        slo: Sequence[Objective] = (),
    ) -> None:
        """Create a sizer. Load points are evaluated against `slo`; with an empty `slo`, they are
        not used as evidence."""
        self._shape, self._demand, self._should_continue, self._slo = shape, demand, should_continue, slo
        self._evidence: dict[str, Evidence] = {}
        self._estimated_rates: dict[tuple[ReplicaKind, int], ReplicaRate] = {}
        self._simulated_kinds: dict[tuple[ReplicaKind, int], SimulatedKind] = {}

    def estimate_capacity(self, target: MeasuredTarget, capacity: Capacity) -> Capacity:
        """Estimate the capacity by formula; return `capacity` unchanged if the target has no
        service model."""
        fit = target.fit
        if fit is None:
            return capacity
        return self._find_capacity(
            capacity, "formula", lambda replicas: self._estimate_rate(target, fit, capacity, replicas)
        )

    def simulate_capacity(self, target: MeasuredTarget, capacity: Capacity) -> tuple[Capacity, LatencyCurve] | None:
        """Simulate the capacity and the latency curve at the number of replicas that the demand
        needs.

        Return `None` if the target has no service model. Raises CancelledError if the plan is no
        longer needed.
        """
        fit = target.fit
        if fit is None:
            return None

        def compute_rate(replicas: int) -> ReplicaRate:
            return self._simulate_kind(target, fit, capacity, replicas).rate

        sized_capacity = self._find_capacity(capacity, "simulated", compute_rate)
        if self._shape.bursts is not None and sized_capacity.rate_per_s > 0:
            sized_capacity = self._find_exact_capacity(sized_capacity, compute_rate)
            replicas = self._count_needed_instances(sized_capacity) * capacity.replicas
            return sized_capacity, _cached_simulate_fleet_curve(
                fit, self._shape, replicas, capacity.speed, sized_capacity.rate_per_s / capacity.replicas
            )
        return sized_capacity, self._simulate_kind(
            target, fit, capacity, self._round_replicas(sized_capacity)
        ).latency_curve

    def _find_capacity(
        self, capacity: Capacity, sizing_method: SizingMethod, compute_rate: Callable[[int], ReplicaRate]
    ) -> Capacity:
        """Return the capacity at the smallest sufficient number of replicas, found by a bracketing
        search over `_SIZES`.

        The rate per replica depends on the number of replicas, because of pooling. A size may be
        larger than needed at its own rate, while the next smaller size, with its lower rate per
        replica, is too small. The rate is then lowered until exactly this size is needed. A size
        that misses the SLO even at the lowest load counts as too small, since more replicas may
        meet the SLO by pooling their queues.
        """
        last_index = len(_SIZES) - 1
        insufficient_index, sufficient_index, lowest_per_s, size_index = (
            -1,
            len(_SIZES),
            0.0,
            self._find_size_index(capacity),
        )
        sufficient_capacity = capacity
        while True:
            sized_capacity = _set_rate(compute_rate(_SIZES[size_index]), capacity, sizing_method)
            needed_index = (
                self._find_size_index(sized_capacity)
                if sized_capacity.rate_per_s > 0
                else min(size_index + _SIZE_INDEX_STEP, last_index)
            )
            if needed_index == size_index:
                return sized_capacity
            if needed_index > size_index:
                insufficient_index, lowest_per_s = size_index, sized_capacity.rate_per_s
            else:
                sufficient_index, sufficient_capacity = size_index, sized_capacity
            if sufficient_index - insufficient_index == 1:
                instances = math.ceil(_SIZES[sufficient_index] / capacity.replicas)
                basis_capacity = sized_capacity if sized_capacity.rate_per_s > 0 else sufficient_capacity
                exact_per_s = (
                    basis_capacity.rate_per_s
                    * self._demand.peak_per_s
                    / compute_sustained_peak_per_s(instances, basis_capacity, self._demand)
                )
                return msgspec.structs.replace(basis_capacity, rate_per_s=max(lowest_per_s, exact_per_s))
            size_index = min(max(needed_index, insufficient_index + 1), sufficient_index - 1)

    def _get_evidence(self, target: MeasuredTarget) -> Evidence:
        if target.name not in self._evidence:
            self._evidence[target.name] = collect_evidence(target, self._slo) if self._slo else NO_EVIDENCE
        return self._evidence[target.name]

    def _find_exact_capacity(self, capacity: Capacity, compute_rate: Callable[[int], ReplicaRate]) -> Capacity:
        """Return the capacity at the smallest sufficient number of instances, which may lie between
        `_SIZES`.

        A burst has the same size for all fleets, so the capacity per instance grows with the number
        of instances, and `_SIZES` would be too coarse. The search interpolates between an
        insufficient and a sufficient number of instances.
        """
        insufficient_point, sufficient_point, instances = (0, -math.inf), None, self._count_needed_instances(capacity)
        for _ in range(_MAX_EXACT_STEPS):
            sized_capacity = _set_rate(compute_rate(instances * capacity.replicas), capacity, "simulated")
            if sized_capacity.rate_per_s <= 0:
                break
            log_margin = math.log(
                compute_sustained_peak_per_s(instances, sized_capacity, self._demand) / self._demand.peak_per_s
            )
            if log_margin >= -1e-9:
                sufficient_point, capacity = (instances, log_margin), sized_capacity
            else:
                insufficient_point = (instances, log_margin)
            min_instances = insufficient_point[0]
            if sufficient_point is None:
                instances = max(min_instances + 1, self._count_needed_instances(sized_capacity))
            elif sufficient_point[0] - min_instances <= 1:
                break
            elif min_instances:
                fraction = -insufficient_point[1] / (sufficient_point[1] - insufficient_point[1])
                instances = min(
                    max(round(min_instances + fraction * (sufficient_point[0] - min_instances)), min_instances + 1),
                    sufficient_point[0] - 1,
                )
            else:
                instances = min(max(self._count_needed_instances(sized_capacity), 1), sufficient_point[0] - 1)
        if sufficient_point is None or self._count_needed_instances(capacity) == sufficient_point[0]:
            return capacity
        return msgspec.structs.replace(capacity, rate_per_s=capacity.rate_per_s * math.exp(-sufficient_point[1]))

    def _count_needed_instances(self, capacity: Capacity) -> int:
        return count_instances(self._demand, capacity, self._demand.z)

    def _estimate_rate(self, target: MeasuredTarget, fit: ServiceFit, capacity: Capacity, replicas: int) -> ReplicaRate:
        replicas = replicas if depends_on_replicas(fit.services[0].service) else 1
        key = (_build_kind(target.name, capacity), replicas)
        if key not in self._estimated_rates:
            evidence = self._get_evidence(target)
            self._estimated_rates[key] = _cached_estimate_rate(
                fit, self._shape, replicas, capacity.speed, capacity.speed_sigma, evidence
            )
        return self._estimated_rates[key]

    def _simulate_kind(
        self, target: MeasuredTarget, fit: ServiceFit, capacity: Capacity, replicas: int
    ) -> SimulatedKind:
        """Simulate one kind of replica in a fleet of `replicas` replicas.

        The median rate is simulated for every fleet size. The sigma and the latency curve are
        simulated only for the first fleet size of each kind.
        """
        evidence = self._get_evidence(target)
        steady_replicas = count_simulated_replicas(
            fit.services[0].service, self._shape, _SIZES[bisect.bisect_right(_SIZES, replicas) - 1]
        )
        if self._shape.bursts is None:  # a burst has the same size for all fleets, so its effect depends on their size
            replicas = steady_replicas
        key = (_build_kind(target.name, capacity), replicas)
        if not self._should_continue():
            raise CancelledError
        if key not in self._simulated_kinds:
            similar_kind = next(
                (
                    simulated_kind
                    for (kind, _), simulated_kind in self._simulated_kinds.items()
                    if kind == key[0] and simulated_kind.rate.rate_per_s > 0
                ),
                None,
            )
            if similar_kind is None:
                rate = _cached_simulate_rate(
                    fit, self._shape, steady_replicas, capacity.speed, capacity.speed_sigma, evidence
                )
                latency_curve = _cached_simulate_fleet_curve(
                    fit, self._shape, steady_replicas, capacity.speed, rate.rate_per_s
                )
                self._simulated_kinds[key] = SimulatedKind(rate, latency_curve)
            else:
                rate = _cached_simulate_median_rate(
                    fit,
                    self._shape,
                    replicas,
                    capacity.speed,
                    similar_kind.rate,
                    evidence,
                    capacity.speed_sigma,
                    steady_replicas,
                )
                self._simulated_kinds[key] = SimulatedKind(
                    rate, similar_kind.latency_curve.scale_rates(rate.rate_per_s / similar_kind.rate.rate_per_s)
                )
        return self._simulated_kinds[key]

    def _round_replicas(self, capacity: Capacity) -> int:
        """Return the number of replicas that the demand needs at the plan's confidence, rounded
        down to a size in `_SIZES`.
        """
        return _SIZES[self._find_size_index(capacity)]

    def _find_size_index(self, capacity: Capacity) -> int:
        if capacity.rate_per_s <= 0:
            return 0
        needed_replicas = count_instances(self._demand, capacity, self._demand.z) * capacity.replicas
        return bisect.bisect_right(_SIZES, needed_replicas) - 1


def _set_rate(rate: ReplicaRate, capacity: Capacity, sizing_method: SizingMethod) -> Capacity:
    extrapolated_per_s = None if rate.extrapolated_per_s is None else rate.extrapolated_per_s * capacity.replicas
    return msgspec.structs.replace(
        capacity, rate_per_s=rate.rate_per_s * capacity.replicas, sigma=rate.sigma, sizing_method=sizing_method,
        extrapolated_per_s=extrapolated_per_s,
        max_throughput_per_s=rate.max_throughput_per_s * capacity.replicas,
    )  # fmt: skip


def _build_kind(target_name: str, capacity: Capacity) -> ReplicaKind:
    return ReplicaKind(target_name, round(capacity.speed, 9), round(capacity.speed_sigma, 9))
