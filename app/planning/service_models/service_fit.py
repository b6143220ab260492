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

from app.planning.service_models.moments import (
    FEWEST_REQUESTS,
    FEWEST_RUNGS,
    SUPPOSED_REQUESTS,
    CannotFitError,
    Fitted,
    Observed,
    ObservedStage,
    best_fits,
    judged,
    spread_out,
)
from app.planning.service_models.service_laws import (
    ServiceFamily,
    candidate_laws,
    nearby_slots,
    shared_law,
    two_phase_law,
)
from app.planning.service_models.stage_play import StagePlay
from app.records.plan_question import Gaps, Rung
from app.records.service import RequestService, ServiceFit

AGGREGATES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
_SAME_RATE_FACTOR = 1.004
"""Factor within which rates count as equal: a search ends with many stages that differ by a hundredth."""
_SCREENED_RATES = 8
_SCREENING = (10, 60_000, 2_000)
_REFINING = (32, 200_000, 8_000)
"""Most simulations of each stage, about how many requests they may have over all stages, and requests in steady state.

The third is the number of requests per simulation where neither a duration nor a number of requests is known: such
percentiles were entered as long-run values. They are weighted as those of `SUPPOSED_REQUESTS` requests.
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


def fit_service(rungs: Sequence[Rung], *, seed: int = 20_26) -> ServiceFit:
    """Fit a service model. Raises CannotFitError where fewer than three rates were measured, or no latencies."""
    observed = observe(rungs)
    if len(observed) < FEWEST_RUNGS:
        requirement = f"a service model needs percentiles at {FEWEST_RUNGS} rates"
        has_other_gaps = any(rung.gaps == "other" for rung in rungs)
        gaps_text = " with random or even gaps between requests" if has_other_gaps else ""
        raise CannotFitError(f"{requirement}{gaps_text}, and there are {len(observed)}")
    highest_per_s = max(rung.achieved_per_s for rung in rungs)
    families = candidate_laws(_unloaded_s(observed), highest_per_s)
    screening = _stages(spread_out(observed, _SCREENED_RATES), *_SCREENING, seed)
    stages = _stages(observed, *_REFINING, seed + 1)
    fits = best_fits(
        families, screening, stages, most=_REFINED,
        further=shared_cores, richer=two_phase_law, nearby=nearby_slots, most_behind=_MAX_COST_BEHIND, holds_out=True,
    )  # fmt: skip
    return judged(fits, stages, highest_per_s)


def shared_cores(screened: Sequence[Fitted]) -> list[ServiceFamily]:
    """Return models with shared cores.

    There are as many cores as the best model has slots, and as many as the widest of about equal models has.
    """
    queued = [fitted for fitted in screened if isinstance(fitted.law.service, RequestService)]
    equal_families = [fitted.law for fitted in queued if fitted.cost <= queued[0].cost + _MAX_SHARED_COST_BEHIND]
    widest = max(
        equal_families, key=lambda family: family.service.slots if isinstance(family.service, RequestService) else 0
    )
    return [
        shared_law(family)
        for family in (equal_families[:1] if widest is equal_families[0] else [equal_families[0], widest])
    ]


def observe(rungs: Sequence[Rung]) -> list[Observed]:
    """Return the open-loop load points that have percentiles, those of one rate combined, by rising rate."""
    by_rate: dict[tuple[Gaps, float], list[Rung]] = defaultdict(list)
    for rung in rungs:
        latencies = rung.latencies_s.get("latency", {})
        has_percentiles = bool(rung.offered_per_s) and any(latencies.get(name) for name in AGGREGATES)
        if has_percentiles and rung.gaps != "other" and requests_of(rung) >= FEWEST_REQUESTS:
            by_rate[rung.gaps, rung.offered_per_s or 0.0].append(rung)
    groups: list[list[tuple[Gaps, float]]] = []
    for gaps, rate in sorted(by_rate):
        if groups and groups[-1][0][0] == gaps and rate <= groups[-1][0][1] * _SAME_RATE_FACTOR:
            groups[-1].append((gaps, rate))
        else:
            groups.append([(gaps, rate)])
    observed = [_combine([rung for load in loads for rung in by_rate[load]]) for loads in groups]
    return sorted(observed, key=lambda load: load.offered_per_s)


def requests_of(rung: Rung) -> int:
    """Return the number of requests.

    Where counts are unknown, it is the rate times the duration, or `SUPPOSED_REQUESTS` for a steady state.
    """
    if rung.completed is not None:
        return rung.completed + (rung.failed or 0)
    rate = rung.achieved_per_s if rung.offered_per_s is None else rung.offered_per_s
    return SUPPOSED_REQUESTS if rung.duration_s is None else round(rate * rung.duration_s)


def _combine(rungs: Sequence[Rung]) -> Observed:
    rate = float(np.mean([rung.offered_per_s or 0.0 for rung in rungs]))
    latencies = [rung.latencies_s["latency"] for rung in rungs]
    names = tuple(name for name in AGGREGATES if all(times.get(name) for times in latencies))
    logs = tuple(float(np.mean([math.log(times[name]) for times in latencies])) for name in names)
    requests = round(float(np.mean([requests_of(rung) for rung in rungs])))
    is_steady = all(rung.completed is None and rung.duration_s is None for rung in rungs)
    return Observed(rate, requests, len(rungs), names, logs, rungs[0].gaps, is_steady)


def _unloaded_s(observed: Sequence[Observed]) -> float:
    return math.exp(min(load.logs[0] for load in observed if load.logs))


def _stages(
    observed: Sequence[Observed], max_plays: int, budget: int, steady_requests: int, seed: int
) -> list[ObservedStage]:
    requests = [steady_requests if load.is_steady else min(load.requests, _MAX_REQUESTS) for load in observed]
    play_count = max(_MIN_PLAYS, min(max_plays, budget // max(1, sum(requests))))
    seeds = np.random.SeedSequence(seed).spawn(len(observed))
    stages = []
    for load, request_count, seed_of_load in zip(observed, requests, seeds, strict=True):
        lead_in = round(_LEAD_IN_SHARE * request_count) if load.is_steady else 0
        simulation = StagePlay.drawn(load.offered_per_s, request_count, play_count, seed_of_load, load.gaps, lead_in)
        stages.append(_stage(load, simulation, request_count))
    return stages


def _stage(load: Observed, simulation: StagePlay, requests: int) -> ObservedStage:
    """Return the stage; the mean of several points, or of longer stages, scatters less."""
    quantiles = np.array([AGGREGATES[name] for name in load.names])
    share = requests / load.requests / load.points
    return ObservedStage(load, partial(simulation.played, quantiles=quantiles), share)
