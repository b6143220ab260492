"""Fit of the service model of one replica to closed-loop load points, in which each client waits
for its response.

The fit uses the method of simulated moments, as `service_fit` does for an open loop. Simulations
are compared with the measured latencies and the mean time between responses. With many clients, the
replica is saturated: a replica with identical slots returns at most min(clients / (outside + mean),
slots / mean) responses per second.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.service_models.families import add_slow_phase, list_candidate_families, vary_slots
from app.planning.service_models.moments import (
    MIN_LOAD_POINTS,
    CannotFitError,
    ObservedLoad,
    ObservedStage,
    SimulatedStatistics,
    build_service_fit,
    find_best_fits,
    pick_evenly,
)
from app.planning.service_models.service_fit import (
    QUANTILE_BY_AGGREGATE,
    add_shared_cores,
    count_requests,
    has_enough_responses,
)
from app.planning.service_models.service_times import compute_service_factors
from app.planning.service_models.stage_simulation import (
    MAX_CACHED_FACTORS,
    LruCache,
    get_factor_key,
    select_sorted,
)
from app.planning.simulation.closed_loop import simulate_closed_batches, simulate_closed_requests
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import BatchService, RequestService, ServiceFit, ServiceModel, TokenService

RESPONSE_GAP = "between responses"
_MEAN = "mean"
_MAX_SCREENED_LOADS = 8
_SCREENING_BUDGET, _REFINING_BUDGET = (8, 40_000), (16, 100_000)
"""Simulation budgets of screening and of refining: maximum number of simulations per stage, and
approximate total number of requests.
"""
_MIN_SIMULATIONS = 8
_MAX_REQUESTS = 5_000
_MAX_REFINED_FITS = 3


class ClosedLoopSimulation(msgspec.Struct, frozen=True):
    """Repeated simulation of a closed-loop stage with fixed random numbers.

    `normals` are standard normals with shape simulations × requests; `names` are the moments to
    compute. A fit changes one parameter at a time, so the service time factors are cached.
    """

    clients: int
    normals: Floats
    names: tuple[str, ...]
    _factor_cache: LruCache[Floats] = msgspec.field(default_factory=lambda: LruCache(MAX_CACHED_FACTORS))

    def simulate(self, service: ServiceModel) -> SimulatedStatistics:
        if isinstance(service, TokenService):
            raise TypeError("a token service requires TokenSimulation")
        factors = self._factor_cache.get(
            get_factor_key(service), lambda: compute_service_factors(self.normals, service)
        )
        match service:
            case RequestService():
                arrivals_s, ends_s = simulate_closed_requests(self.clients, self.normals, service, factors)
            case BatchService():
                arrivals_s, ends_s = simulate_closed_batches(self.clients, self.normals, service, factors)
        latencies = ends_s - arrivals_s + service.outside_s
        request_count = latencies.shape[1]
        ranks = {
            name: math.ceil(QUANTILE_BY_AGGREGATE[name] * request_count) - 1
            for name in self.names
            if name in QUANTILE_BY_AGGREGATE
        }
        means = latencies.mean(axis=1)
        quantiles_s = select_sorted(latencies, np.array([*ranks.values()], dtype=np.int64)).T
        columns = {RESPONSE_GAP: (ends_s.max(axis=1) + service.outside_s) / request_count, _MEAN: means}
        columns |= dict(zip(ranks, quantiles_s, strict=True))
        return SimulatedStatistics(np.log(np.column_stack([columns[name] for name in self.names])))


class _Point(msgspec.Struct, frozen=True):
    """All load points with the same number of clients, combined into one. The rate of
    `observed_load` is the response rate."""

    clients: int
    observed_load: ObservedLoad
    latency_s: float


def fit_closed_loop(load_points: Sequence[MeasuredLoadPoint], *, seed: int = 20_26) -> ServiceFit:
    """Fit a service model to closed-loop load points.

    Raises CannotFitError if load points at fewer than three levels of concurrency were measured.
    """
    points = _group_by_clients(load_points)
    if len(points) < MIN_LOAD_POINTS:
        requirement_text = f"a service model needs throughput at {MIN_LOAD_POINTS} levels of concurrency"
        raise CannotFitError(f"{requirement_text}, but there are {len(points)}")
    highest_per_s = max(load_point.achieved_per_s for load_point in load_points)
    families = list_candidate_families(min(point.latency_s for point in points), highest_per_s)
    screening_stages = _build_stages(pick_evenly(points, _MAX_SCREENED_LOADS), *_SCREENING_BUDGET, seed)
    stages = _build_stages(points, *_REFINING_BUDGET, seed + 1)
    fits = find_best_fits(
        families, screening_stages, stages, max_fits=_MAX_REFINED_FITS,
        derive_additional=add_shared_cores, derive_richer=add_slow_phase, derive_nearby=vary_slots, use_held_out=True,
    )  # fmt: skip
    return build_service_fit(fits, stages, highest_per_s)


def _group_by_clients(load_points: Sequence[MeasuredLoadPoint]) -> list[_Point]:
    """Return one combined load point per number of clients, in ascending order. Load points without
    enough responses are dropped."""
    load_points_by_clients: dict[int, list[MeasuredLoadPoint]] = defaultdict(list)
    for load_point in load_points:
        if load_point.clients and has_enough_responses(load_point):
            load_points_by_clients[max(1, round(load_point.clients))].append(load_point)
    return [
        _combine_load_points(clients, load_points_by_clients[clients]) for clients in sorted(load_points_by_clients)
    ]


def _combine_load_points(clients: int, load_points: Sequence[MeasuredLoadPoint]) -> _Point:
    """Combine load points with the same number of clients.

    `latency_s` of the result is the first reported of p50, p90, p95, p99 and mean, or else an
    estimate by Little's law.
    """
    latencies = [load_point.latencies_s.get("latency", {}) for load_point in load_points]
    names = [name for name in QUANTILE_BY_AGGREGATE if all(latencies_s.get(name) for latencies_s in latencies)]
    if "p50" not in names and all(latencies_s.get(_MEAN) for latencies_s in latencies):
        names.append(_MEAN)
    log_latencies = [fmean(math.log(latencies_s[name]) for latencies_s in latencies) for name in names]
    log_gap = fmean(-math.log(load_point.achieved_per_s) for load_point in load_points)
    rate_per_s = fmean(load_point.achieved_per_s for load_point in load_points)
    requests = round(fmean(count_requests(load_point) for load_point in load_points))
    observed_load = ObservedLoad(
        rate_per_s, requests, len(load_points), (*names, RESPONSE_GAP), (*log_latencies, log_gap)
    )
    return _Point(clients, observed_load, math.exp(log_latencies[0]) if log_latencies else clients / rate_per_s)


def _build_stages(
    points: Sequence[_Point], max_simulations: int, request_budget: int, seed: int
) -> list[ObservedStage]:
    request_counts = [min(point.observed_load.requests, _MAX_REQUESTS) for point in points]
    simulation_count = max(_MIN_SIMULATIONS, min(max_simulations, request_budget // max(1, sum(request_counts))))
    seeds = np.random.SeedSequence(seed).spawn(len(points))
    stages = []
    for point, request_count, point_seed in zip(points, request_counts, seeds, strict=True):
        observed_load = point.observed_load
        simulation = ClosedLoopSimulation(
            point.clients,
            np.random.default_rng(point_seed).standard_normal((simulation_count, request_count)),
            observed_load.names,
        )
        stages.append(
            ObservedStage(
                observed_load,
                simulation.simulate,
                min(1.0, _MAX_REQUESTS / observed_load.requests) / observed_load.point_count,
            )
        )
    return stages
