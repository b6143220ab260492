"""Service model of one replica from its load points in an open loop, with Poisson arrivals at given rates.

Uses the method of simulated moments (`moments`): a model is simulated at the rates, and for as many requests, as were
measured, starting empty as a stage does, and its percentiles are compared with the measured ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np

from app.planning.service_models.families import (
    ServiceFamily,
    add_slow_phase,
    list_candidate_families,
    share_cores,
    vary_slots,
)
from app.planning.service_models.moments import (
    ASSUMED_REQUESTS,
    MIN_LOAD_POINTS,
    MIN_REQUESTS,
    CannotFitError,
    Fitted,
    ObservedLoad,
    ObservedStage,
    build_service_fit,
    find_best_fits,
    pick_evenly,
)
from app.planning.service_models.stage_simulation import StageSimulation
from app.records.planning_inputs import GapDistribution, MeasuredLoadPoint
from app.records.service import RequestService, ServiceFit

AGGREGATES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
_SAME_RATE_FACTOR = 1.004
"""Factor within which rates count as equal: a search ends with many stages that differ by a hundredth."""
_SCREENED_RATES = 8
_SCREENING = (10, 60_000, 2_000)
_REFINING = (32, 200_000, 8_000)
"""Most simulations of each stage, about how many requests they may have over all stages, and requests in steady state.

The third is the number of requests per simulation where neither a duration nor a number of requests is known: such
percentiles were entered as long-run values. They are weighted as those of `ASSUMED_REQUESTS` requests.
"""
_MIN_PLAYS = 8
_MAX_REQUESTS = 20_000
"""Maximum number of requests of one simulation; the scatter of a longer stage is assumed to fall with its length."""
_LEAD_IN_SHARE = 0.25
"""Requests that fill the queue before those of long-run values are counted, as a share of the latter."""
_REFINED = 3
_MAX_SHARED_COST_BEHIND = 15.0
"""Cost of a screening by which cores shared by all requests can look better with fewer slots."""
_MAX_COST_BEHIND = 10.0
"""Maximum cost behind the best screening at which a model is still fitted.

For 17 random truths the model that fitted the stages best was at most 4 behind the best of the screening.
"""


def fit_service(load_points: Sequence[MeasuredLoadPoint], *, seed: int = 20_26) -> ServiceFit:
    """Fit a service model. Raises CannotFitError where fewer than three rates were measured, or no latencies."""
    observed = group_load_points(load_points)
    if len(observed) < MIN_LOAD_POINTS:
        requirement = f"a service model needs percentiles at {MIN_LOAD_POINTS} rates"
        has_other_gaps = any(rung.gaps == "other" for rung in load_points)
        gaps_text = " with random or evenly spaced requests" if has_other_gaps else ""
        raise CannotFitError(f"{requirement}{gaps_text}, but there are {len(observed)}")
    highest_per_s = max(rung.achieved_per_s for rung in load_points)
    families = list_candidate_families(_unloaded_s(observed), highest_per_s)
    screening = _stages(pick_evenly(observed, _SCREENED_RATES), *_SCREENING, seed)
    stages = _stages(observed, *_REFINING, seed + 1)
    fits = find_best_fits(
        families, screening, stages, max_fits=_REFINED,
        further=add_shared_cores, richer=add_slow_phase, nearby=vary_slots, max_cost_behind=_MAX_COST_BEHIND,
        use_held_out=True,
    )  # fmt: skip
    return build_service_fit(fits, stages, highest_per_s)


def add_shared_cores(screened: Sequence[Fitted]) -> list[ServiceFamily]:
    """Return models with shared cores.

    There are as many cores as the best model has slots, and as many as the widest of about equal models has.
    """
    queued = [fitted for fitted in screened if isinstance(fitted.family.service, RequestService)]
    equal_families = [fitted.family for fitted in queued if fitted.cost <= queued[0].cost + _MAX_SHARED_COST_BEHIND]
    widest = max(
        equal_families, key=lambda family: family.service.slots if isinstance(family.service, RequestService) else 0
    )
    return [
        share_cores(family)
        for family in (equal_families[:1] if widest is equal_families[0] else [equal_families[0], widest])
    ]


def group_load_points(load_points: Sequence[MeasuredLoadPoint]) -> list[ObservedLoad]:
    """Return the open-loop load points that have percentiles, those of one rate combined, by rising rate."""
    by_rate: dict[tuple[GapDistribution, float], list[MeasuredLoadPoint]] = defaultdict(list)
    for rung in load_points:
        latencies = rung.latencies_s.get("latency", {})
        has_percentiles = bool(rung.offered_per_s) and any(latencies.get(name) for name in AGGREGATES)
        if has_percentiles and rung.gaps != "other" and count_requests(rung) >= MIN_REQUESTS:
            by_rate[rung.gaps, rung.offered_per_s or 0.0].append(rung)
    groups: list[list[tuple[GapDistribution, float]]] = []
    for gaps, rate in sorted(by_rate):
        if groups and groups[-1][0][0] == gaps and rate <= groups[-1][0][1] * _SAME_RATE_FACTOR:
            groups[-1].append((gaps, rate))
        else:
            groups.append([(gaps, rate)])
    observed = [_combine([rung for load in loads for rung in by_rate[load]]) for loads in groups]
    return sorted(observed, key=lambda load: load.offered_per_s)


def count_requests(load_point: MeasuredLoadPoint) -> int:
    """Return the number of requests.

    Where counts are unknown, it is the rate times the duration, or `ASSUMED_REQUESTS` for a steady state.
    """
    if load_point.completed is not None:
        return load_point.completed + (load_point.failed or 0)
    rate = load_point.achieved_per_s if load_point.offered_per_s is None else load_point.offered_per_s
    return ASSUMED_REQUESTS if load_point.duration_s is None else round(rate * load_point.duration_s)


def _combine(rungs: Sequence[MeasuredLoadPoint]) -> ObservedLoad:
    rate = float(np.mean([rung.offered_per_s or 0.0 for rung in rungs]))
    latencies = [rung.latencies_s["latency"] for rung in rungs]
    names = tuple(name for name in AGGREGATES if all(times.get(name) for times in latencies))
    logs = tuple(float(np.mean([math.log(times[name]) for times in latencies])) for name in names)
    requests = round(float(np.mean([count_requests(rung) for rung in rungs])))
    is_steady = all(rung.completed is None and rung.duration_s is None for rung in rungs)
    return ObservedLoad(rate, requests, len(rungs), names, logs, rungs[0].gaps, is_steady)


def _unloaded_s(observed: Sequence[ObservedLoad]) -> float:
    return math.exp(min(load.logs[0] for load in observed if load.logs))


def _stages(
    observed: Sequence[ObservedLoad], max_plays: int, budget: int, steady_requests: int, seed: int
) -> list[ObservedStage]:
    requests = [steady_requests if load.is_steady else min(load.requests, _MAX_REQUESTS) for load in observed]
    play_count = max(_MIN_PLAYS, min(max_plays, budget // max(1, sum(requests))))
    seeds = np.random.SeedSequence(seed).spawn(len(observed))
    stages = []
    for load, request_count, seed_of_load in zip(observed, requests, seeds, strict=True):
        lead_in = round(_LEAD_IN_SHARE * request_count) if load.is_steady else 0
        simulation = StageSimulation.draw(
            load.offered_per_s, request_count, play_count, seed_of_load, load.gaps, lead_in
        )
        stages.append(_stage(load, simulation, request_count))
    return stages


def _stage(load: ObservedLoad, simulation: StageSimulation, requests: int) -> ObservedStage:
    """Return the stage; the mean of several points, or of longer stages, scatters less."""
    quantiles = np.array([AGGREGATES[name] for name in load.names])
    share = requests / load.requests / load.points
    return ObservedStage(load, partial(simulation.simulate, quantiles=quantiles), share)
