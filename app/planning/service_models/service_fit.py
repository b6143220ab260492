"""Fit of the service model of one replica to open-loop load points, with Poisson arrivals at known
rates.

The fit uses the method of simulated moments (`moments`): a model is simulated at the measured rates
and with the measured numbers of requests, starting with an empty server. The simulated percentiles
are compared with the measured percentiles.
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
    FamilyFit,
    ObservedLoad,
    ObservedStage,
    build_service_fit,
    find_best_fits,
    pick_evenly,
)
from app.planning.service_models.stage_simulation import StageSimulation
from app.records.planning_inputs import GapDistribution, MeasuredLoadPoint
from app.records.service import RequestService, ServiceFit

QUANTILE_BY_AGGREGATE = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
_SAME_RATE_FACTOR = 1.004
"""Factor within which rates count as equal. A rate search ends with many stages at almost the same
rate."""
_MAX_SCREENED_RATES = 8
_SCREENING_BUDGET = (10, 60_000, 2_000)
_REFINING_BUDGET = (32, 200_000, 8_000)
"""Simulation budget of refining; `_SCREENING_BUDGET` has the same format: maximum number of
simulations per stage, approximate maximum number of requests in total, and requests per simulation
in steady state.

The last number applies to steady-state values: percentiles without a duration or a number of
requests. Steady-state values are weighted like percentiles of `ASSUMED_REQUESTS` requests.
"""
_MIN_SIMULATIONS = 8
_MAX_REQUESTS = 20_000
"""Maximum number of requests of one simulation. The variance of longer stages is extrapolated from
this number."""
_WARM_UP_SHARE = 0.25
"""Number of warm-up requests relative to the number of counted requests, for simulations of
steady-state values. Warm-up requests fill the queue and are not counted.
"""
_MAX_REFINED_FITS = 3
_MAX_SHARED_EXCESS_COST = 15.0
"""Maximum screening cost above the best request model for models whose numbers of slots are tried
as cores. With processor sharing, the best number of cores may differ from the best number of slots.
"""
_MAX_EXCESS_COST = 10.0
"""Maximum screening cost above the best model at which a model is still fitted to all stages.

In tests with 17 random models, the model with the best final fit had a screening cost of at most 4
above the lowest.
"""


def fit_service(load_points: Sequence[MeasuredLoadPoint], *, seed: int = 20_26) -> ServiceFit:
    """Fit a service model to open-loop load points.

    Raises CannotFitError if fewer than three rates with latency percentiles were measured.
    """
    observed_loads = group_load_points(load_points)
    if len(observed_loads) < MIN_LOAD_POINTS:
        requirement_text = f"a service model needs percentiles at {MIN_LOAD_POINTS} rates"
        has_other_gaps = any(load_point.gaps == "other" for load_point in load_points)
        gaps_text = " with random or evenly spaced requests" if has_other_gaps else ""
        raise CannotFitError(f"{requirement_text}{gaps_text}, but there are {len(observed_loads)}")
    highest_per_s = max(load_point.achieved_per_s for load_point in load_points)
    families = list_candidate_families(_get_unloaded_latency_s(observed_loads), highest_per_s)
    screening_stages = _build_stages(pick_evenly(observed_loads, _MAX_SCREENED_RATES), *_SCREENING_BUDGET, seed)
    stages = _build_stages(observed_loads, *_REFINING_BUDGET, seed + 1)
    fits = find_best_fits(
        families, screening_stages, stages, max_fits=_MAX_REFINED_FITS, derive_additional=add_shared_cores,
        derive_richer=add_slow_phase, derive_nearby=vary_slots, max_excess_cost=_MAX_EXCESS_COST, use_held_out=True,
    )  # fmt: skip
    return build_service_fit(fits, stages, highest_per_s)


def add_shared_cores(screened_fits: Sequence[FamilyFit]) -> list[ServiceFamily]:
    """Return one or two candidate models with processor sharing.

    The first has as many cores as the best request model has slots. The second has as many cores as
    the largest number of slots among about equally good models.
    """
    request_fits = [fit for fit in screened_fits if isinstance(fit.family.service, RequestService)]
    similar_families = [
        fit.family for fit in request_fits if fit.cost <= request_fits[0].cost + _MAX_SHARED_EXCESS_COST
    ]
    widest_family = max(
        similar_families, key=lambda family: family.service.slots if isinstance(family.service, RequestService) else 0
    )
    return [
        share_cores(family)
        for family in (
            similar_families[:1] if widest_family is similar_families[0] else [similar_families[0], widest_family]
        )
    ]


def group_load_points(load_points: Sequence[MeasuredLoadPoint]) -> list[ObservedLoad]:
    """Combine open-loop load points with percentiles by rate, and return them in ascending order of
    rate."""
    load_points_by_rate: dict[tuple[GapDistribution, float], list[MeasuredLoadPoint]] = defaultdict(list)
    for load_point in load_points:
        latencies = load_point.latencies_s.get("latency", {})
        has_percentiles = bool(load_point.offered_per_s) and any(latencies.get(name) for name in QUANTILE_BY_AGGREGATE)
        if has_percentiles and load_point.gaps != "other" and has_enough_responses(load_point):
            load_points_by_rate[load_point.gaps, load_point.offered_per_s or 0.0].append(load_point)
    key_groups: list[list[tuple[GapDistribution, float]]] = []
    for gaps, rate in sorted(load_points_by_rate):
        if key_groups and key_groups[-1][0][0] == gaps and rate <= key_groups[-1][0][1] * _SAME_RATE_FACTOR:
            key_groups[-1].append((gaps, rate))
        else:
            key_groups.append([(gaps, rate)])
    observed_loads = [
        _combine_load_points([load_point for load_key in load_keys for load_point in load_points_by_rate[load_key]])
        for load_keys in key_groups
    ]
    return sorted(observed_loads, key=lambda observed_load: observed_load.offered_per_s)


def count_requests(load_point: MeasuredLoadPoint) -> int:
    """Return the number of requests of a load point. An unreported number is the rate times the
    duration, or `ASSUMED_REQUESTS` for steady-state values.
    """
    if load_point.completed is not None:
        return load_point.completed + (load_point.failed or 0)
    rate_per_s = load_point.achieved_per_s if load_point.offered_per_s is None else load_point.offered_per_s
    return ASSUMED_REQUESTS if load_point.duration_s is None else round(rate_per_s * load_point.duration_s)


def has_enough_responses(load_point: MeasuredLoadPoint) -> bool:
    """Return whether a load point has at least `MIN_REQUESTS` requests and a throughput above 0.

    If no response ended within a stage, its requests have latencies, but the stage has no
    throughput.
    """
    return load_point.achieved_per_s > 0 and count_requests(load_point) >= MIN_REQUESTS


def _combine_load_points(load_points: Sequence[MeasuredLoadPoint]) -> ObservedLoad:
    rate_per_s = float(np.mean([load_point.offered_per_s or 0.0 for load_point in load_points]))
    latencies = [load_point.latencies_s["latency"] for load_point in load_points]
    names = tuple(name for name in QUANTILE_BY_AGGREGATE if all(latencies_s.get(name) for latencies_s in latencies))
    logs = tuple(float(np.mean([math.log(latencies_s[name]) for latencies_s in latencies])) for name in names)
    requests = round(float(np.mean([count_requests(load_point) for load_point in load_points])))
    is_steady = all(load_point.completed is None and load_point.duration_s is None for load_point in load_points)
    return ObservedLoad(rate_per_s, requests, len(load_points), names, logs, load_points[0].gaps, is_steady)


def _get_unloaded_latency_s(observed_loads: Sequence[ObservedLoad]) -> float:
    return math.exp(min(observed_load.logs[0] for observed_load in observed_loads if observed_load.logs))


def _build_stages(
    observed_loads: Sequence[ObservedLoad], max_simulations: int, request_budget: int, steady_requests: int, seed: int
) -> list[ObservedStage]:
    request_counts = [
        steady_requests if observed_load.is_steady else min(observed_load.requests, _MAX_REQUESTS)
        for observed_load in observed_loads
    ]
    simulation_count = max(_MIN_SIMULATIONS, min(max_simulations, request_budget // max(1, sum(request_counts))))
    seeds = np.random.SeedSequence(seed).spawn(len(observed_loads))
    stages = []
    for observed_load, request_count, stage_seed in zip(observed_loads, request_counts, seeds, strict=True):
        warm_up_requests = round(_WARM_UP_SHARE * request_count) if observed_load.is_steady else 0
        simulation = StageSimulation.draw(
            observed_load.offered_per_s,
            request_count,
            simulation_count,
            stage_seed,
            observed_load.gaps,
            warm_up_requests,
        )
        stages.append(_build_stage(observed_load, simulation, request_count))
    return stages


def _build_stage(observed_load: ObservedLoad, simulation: StageSimulation, requests: int) -> ObservedStage:
    """Build an observed stage with its simulation.

    The variance of the measurement is smaller for a mean of several load points, and for a stage
    longer than its simulation.
    """
    quantiles = np.array([QUANTILE_BY_AGGREGATE[name] for name in observed_load.names])
    variance_share = requests / observed_load.requests / observed_load.point_count
    return ObservedStage(observed_load, partial(simulation.simulate, quantiles=quantiles), variance_share)
