"""The service model of one replica, from its load points in an open loop: requests at rates, as Poisson's come.

By the method of simulated moments (`moments`): a law is played at the rates, and for as many requests, as were
measured, starting empty as a stage does, and its percentiles are held against the measured ones.
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
_ALIKE = 1.004
"""Rates within this factor are one: a search ends with many holds that differ by a hundredth."""
_SCREENED_RATES = 8
_SCREENING = (10, 60_000, 2_000)
_REFINING = (32, 200_000, 8_000)
"""The most plays of each stage, about how many requests they may come to over all stages, and the requests of one play
where neither a duration nor a number of requests is known: such percentiles are typed as long-run values. They are
trusted as those of `SUPPOSED_REQUESTS` requests."""
_FEWEST_PLAYS = 8
_MOST_REQUESTS = 20_000
"""Of one play: of a longer stage the scatter is taken to fall as its length grows."""
_LEAD_IN_SHARE = 0.25
"""Requests that fill the queue before those of long-run values are counted, as a share of those."""
_REFINED = 3
_SHARED_BEHIND = 15.0
"""Of a screening's cost: cores that all requests share look like fewer slots, by so much at most."""
_MOST_BEHIND = 10.0
"""Of 17 random truths the law that fitted the stages best was at most 4 behind the best of the screening."""


def fit_service(rungs: Sequence[Rung], *, seed: int = 20_26) -> ServiceFit:
    """Raises CannotFitError where fewer than three rates were measured, or no latencies."""
    observed = observe(rungs)
    if len(observed) < FEWEST_RUNGS:
        needs = f"a service model needs percentiles at {FEWEST_RUNGS} rates"
        strange = any(rung.gaps == "other" for rung in rungs)
        of = " with random or even gaps between requests" if strange else ""
        raise CannotFitError(f"{needs}{of}, and there are {len(observed)}")
    highest_per_s = max(rung.achieved_per_s for rung in rungs)
    laws = candidate_laws(_unloaded_s(observed), highest_per_s)
    screening = _stages(spread_out(observed, _SCREENED_RATES), *_SCREENING, seed)
    stages = _stages(observed, *_REFINING, seed + 1)
    fits = best_fits(
        laws, screening, stages, most=_REFINED,
        further=shared_cores, richer=two_phase_law, nearby=nearby_slots, most_behind=_MOST_BEHIND, holds_out=True,
    )  # fmt: skip
    return judged(fits, stages, highest_per_s)


def shared_cores(screened: Sequence[Fitted]) -> list[ServiceFamily]:
    """Processor sharing on as many cores as the best of the laws has slots, and on the most that are about as good."""
    queued = [fitted for fitted in screened if isinstance(fitted.law.service, RequestService)]
    alike = [fitted.law for fitted in queued if fitted.cost <= queued[0].cost + _SHARED_BEHIND]
    widest = max(alike, key=lambda law: law.service.slots if isinstance(law.service, RequestService) else 0)
    return [shared_law(law) for law in (alike[:1] if widest is alike[0] else [alike[0], widest])]


def observe(rungs: Sequence[Rung]) -> list[Observed]:
    """The rungs of an open loop that tell percentiles, those of one rate together, by rising rate."""
    by_rate: dict[tuple[Gaps, float], list[Rung]] = defaultdict(list)
    for rung in rungs:
        known = rung.latencies_s.get("latency", {})
        is_told = bool(rung.offered_per_s) and any(known.get(name) for name in AGGREGATES)
        if is_told and rung.gaps != "other" and requests_of(rung) >= FEWEST_REQUESTS:
            by_rate[rung.gaps, rung.offered_per_s or 0.0].append(rung)
    groups: list[list[tuple[Gaps, float]]] = []
    for gaps, rate in sorted(by_rate):
        if groups and groups[-1][0][0] == gaps and rate <= groups[-1][0][1] * _ALIKE:
            groups[-1].append((gaps, rate))
        else:
            groups.append([(gaps, rate)])
    observed = [_together([rung for load in loads for rung in by_rate[load]]) for loads in groups]
    return sorted(observed, key=lambda one: one.offered_per_s)


def requests_of(rung: Rung) -> int:
    """Where the counts are not known: as many as the rate brings in the time, or a thousand of a steady state."""
    if rung.completed is not None:
        return rung.completed + (rung.failed or 0)
    rate = rung.achieved_per_s if rung.offered_per_s is None else rung.offered_per_s
    return SUPPOSED_REQUESTS if rung.duration_s is None else round(rate * rung.duration_s)


def _together(rungs: Sequence[Rung]) -> Observed:
    rate = float(np.mean([rung.offered_per_s or 0.0 for rung in rungs]))
    known = [rung.latencies_s["latency"] for rung in rungs]
    names = tuple(name for name in AGGREGATES if all(one.get(name) for one in known))
    logs = tuple(float(np.mean([math.log(one[name]) for one in known])) for name in names)
    requests = round(float(np.mean([requests_of(rung) for rung in rungs])))
    is_steady = all(rung.completed is None and rung.duration_s is None for rung in rungs)
    return Observed(rate, requests, len(rungs), names, logs, rungs[0].gaps, is_steady)


def _unloaded_s(observed: Sequence[Observed]) -> float:
    return math.exp(min(one.logs[0] for one in observed if one.logs))


def _stages(observed: Sequence[Observed], most: int, budget: int, steady: int, seed: int) -> list[ObservedStage]:
    requests = [steady if one.is_steady else min(one.requests, _MOST_REQUESTS) for one in observed]
    times = max(_FEWEST_PLAYS, min(most, budget // max(1, sum(requests))))
    seeds = np.random.SeedSequence(seed).spawn(len(observed))
    stages = []
    for one, many, of in zip(observed, requests, seeds, strict=True):
        lead_in = round(_LEAD_IN_SHARE * many) if one.is_steady else 0
        play = StagePlay.drawn(one.offered_per_s, many, times, of, one.gaps, lead_in)
        stages.append(_stage(one, play, many))
    return stages


def _stage(one: Observed, play: StagePlay, requests: int) -> ObservedStage:
    """Of several points, and of longer stages, a mean scatters less."""
    quantiles = np.array([AGGREGATES[name] for name in one.names])
    share = requests / one.requests / one.points
    return ObservedStage(one, partial(play.played, quantiles=quantiles), share)
