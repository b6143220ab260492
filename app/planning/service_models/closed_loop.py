"""Service model of one replica from its load points in a closed loop: clients that each send again after a response.

Uses the method of simulated moments, as `service_fit` does for an open loop. The simulations are compared with the
measured latencies and the time between responses, which for many clients is that of a fully loaded replica: identical
slots return at most min(clients / (outside + mean), slots / mean) responses per second.
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
    MIN_REQUESTS,
    CannotFitError,
    ObservedLoad,
    ObservedStage,
    SimulatedTimes,
    build_service_fit,
    find_best_fits,
    pick_evenly,
)
from app.planning.service_models.service_fit import AGGREGATES, add_shared_cores, count_requests
from app.planning.simulation.closed_loop import simulate_closed_batches, simulate_closed_requests
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import BatchService, RequestService, ServiceFit, ServiceModel

RESPONSE_GAP = "between answers"
_MEAN = "mean"
_SCREENED_LOADS = 8
_SCREENING, _REFINING = (8, 40_000), (16, 100_000)
"""Maximum number of simulations of each stage, and about how many requests they may have over all stages."""
_MIN_PLAYS = 8
_MAX_REQUESTS = 5_000
_REFINED = 3


class ClosedLoopSimulation(msgspec.Struct, frozen=True):
    """Random numbers of a stage in a closed loop, drawn once: simulations × requests."""

    clients: int
    normals: Floats
    names: tuple[str, ...]

    def simulate(self, service: ServiceModel) -> SimulatedTimes:
        runs = [self._simulate_once(normals, service) for normals in self.normals]
        latencies = np.array([latencies_s for latencies_s, _ in runs])
        requests = latencies.shape[1]
        ranks = {name: math.ceil(AGGREGATES[name] * requests) - 1 for name in self.names if name in AGGREGATES}
        means = latencies.mean(axis=1)
        if ranks:
            latencies.sort(axis=1)  # four times as fast as a partition at several places
        ended_s = np.array([end_s for _, end_s in runs])
        columns = {RESPONSE_GAP: ended_s / requests, _MEAN: means}
        columns |= {name: latencies[:, rank] for name, rank in ranks.items()}
        return SimulatedTimes(np.log(np.column_stack([columns[name] for name in self.names])))

    def _simulate_once(self, normals: Floats, service: ServiceModel) -> tuple[Floats, float]:
        match service:
            case RequestService():
                arrivals_s, ends_s = simulate_closed_requests(self.clients, normals, service)
            case BatchService():
                arrivals_s, ends_s = simulate_closed_batches(self.clients, normals, service)
            case _:
                raise TypeError("stages of a language model are simulated by tokens")
        return ends_s - arrivals_s + service.outside_s, float(ends_s.max()) + service.outside_s


class _Point(msgspec.Struct, frozen=True):
    """All load points with the same number of clients; the rate of `observed` is that of the responses."""

    clients: int
    observed: ObservedLoad
    latency_s: float


def fit_closed(load_points: Sequence[MeasuredLoadPoint], *, seed: int = 20_26) -> ServiceFit:
    """Fit a service model. Raises CannotFitError where fewer than three numbers of clients were measured."""
    points = _points(load_points)
    if len(points) < MIN_LOAD_POINTS:
        requirement = f"a service model needs throughput at {MIN_LOAD_POINTS} levels of concurrency"
        raise CannotFitError(f"{requirement}, but there are {len(points)}")
    highest_per_s = max(rung.achieved_per_s for rung in load_points)
    families = list_candidate_families(min(point.latency_s for point in points), highest_per_s)
    screening = _stages(pick_evenly(points, _SCREENED_LOADS), *_SCREENING, seed)
    stages = _stages(points, *_REFINING, seed + 1)
    fits = find_best_fits(
        families, screening, stages, max_fits=_REFINED,
        further=add_shared_cores, richer=add_slow_phase, nearby=vary_slots, use_held_out=True,
    )  # fmt: skip
    return build_service_fit(fits, stages, highest_per_s)


def _points(rungs: Sequence[MeasuredLoadPoint]) -> list[_Point]:
    """Return the load points by rising number of clients."""
    by_clients: dict[int, list[MeasuredLoadPoint]] = defaultdict(list)
    for rung in rungs:
        if rung.clients and rung.achieved_per_s > 0 and count_requests(rung) >= MIN_REQUESTS:
            by_clients[max(1, round(rung.clients))].append(rung)
    return [_point(clients, by_clients[clients]) for clients in sorted(by_clients)]


def _point(clients: int, rungs: Sequence[MeasuredLoadPoint]) -> _Point:
    """Return the load point of several rungs.

    Where the median is unknown, the mean is used instead, and without it Little's law.
    """
    latencies = [rung.latencies_s.get("latency", {}) for rung in rungs]
    names = [name for name in AGGREGATES if all(times.get(name) for times in latencies)]
    if "p50" not in names and all(times.get(_MEAN) for times in latencies):
        names.append(_MEAN)
    logs = [fmean(math.log(times[name]) for times in latencies) for name in names]
    gap = fmean(-math.log(rung.achieved_per_s) for rung in rungs)
    rate = fmean(rung.achieved_per_s for rung in rungs)
    requests = round(fmean(count_requests(rung) for rung in rungs))
    observed = ObservedLoad(rate, requests, len(rungs), (*names, RESPONSE_GAP), (*logs, gap))
    return _Point(clients, observed, math.exp(logs[0]) if logs else clients / rate)


def _stages(points: Sequence[_Point], max_plays: int, budget: int, seed: int) -> list[ObservedStage]:
    requests = [min(point.observed.requests, _MAX_REQUESTS) for point in points]
    play_count = max(_MIN_PLAYS, min(max_plays, budget // max(1, sum(requests))))
    seeds = np.random.SeedSequence(seed).spawn(len(points))
    stages = []
    for point, request_count, seed_of_point in zip(points, requests, seeds, strict=True):
        observed = point.observed
        simulation = ClosedLoopSimulation(
            point.clients,
            np.random.default_rng(seed_of_point).standard_normal((play_count, request_count)),
            observed.names,
        )
        stages.append(
            ObservedStage(observed, simulation.simulate, min(1.0, _MAX_REQUESTS / observed.requests) / observed.points)
        )
    return stages
