"""What the length of a measured stage does to the highest rate at which it meets an SLO.

A stage begins with an empty server. Near saturation queues take many service times to grow, so that
a short stage meets an SLO at rates that a server under steady load misses; and by chance one stage
meets it where the next one misses. Both follow from the service model: the stage is played several
times over, as long as it was measured.

The rate at which a simulated time just reaches its limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.goals import Goal, Goals
from app.planning.service_models.evidence import StageEffect
from app.planning.service_models.stage_play import StagePlay, TokenLoad, TokenPlay
from app.records.metrics import PERCENTILES
from app.records.service import ServiceModel, TokenService

_MAX_CROSSING_PLAYS = 14


def crossing(
    missed_by: Callable[[float], float], rates: tuple[float, float, float], precision: float
) -> tuple[float, float]:
    """The highest rate at which `missed_by` is at most 0, and the sigma of its logarithm that the search leaves.

    `rates` are the lowest, the one where the search begins, and the highest; `precision` is of the rate's logarithm.
    By bracketing in log rate, then regula falsi with halving (Illinois). 0 where even the lowest rate misses.
    """
    least, rate, most = rates
    low, high, at_low, at_high = None, None, 0.0, 0.0
    step, plays = 1.06, 0
    while low is None or high is None:  # ends: the step squares up until it reaches either end
        over = missed_by(rate)
        plays += 1
        if over <= 0:
            low, at_low = rate, over
            if rate >= most:
                return most, 0.0
            rate = min(most, rate * step) if high is None else rate
        else:
            high, at_high = rate, over
            if rate <= least:
                return 0.0, 0.0
            rate = max(least, rate / step) if low is None else rate
        step *= step
    side = 0
    while math.log(high / low) > precision and plays < _MAX_CROSSING_PLAYS:
        weight = min(max(-at_low / (at_high - at_low), 0.1), 0.9)
        rate = low * (high / low) ** weight
        over = missed_by(rate)
        plays += 1
        if over <= 0:
            at_high = at_high / 2 if side < 0 else at_high
            low, at_low, side = rate, over, -1
        else:
            at_low = at_low / 2 if side > 0 else at_low
            high, at_high, side = rate, over, 1
    return low, math.log(high / low) / 2


_SEED = 20_26
_REQUESTS, _TOKEN_REQUESTS = 60_000, 16_000
_FEWEST_PLAYS, _MOST_PLAYS = 8, 32
_MOST_STAGE = 20_000
"""Requests; the effect of longer stages is too small to tell."""
_FARTHEST = 1.6
"""The stage's rate is looked for within this factor of the steady one."""
_PRECISION = 0.005
_SLOPE_STEP = 0.02
_LOGISTIC_SCALE = math.sqrt(3) / math.pi
"""Of a logistic distribution, beside its standard deviation."""
_NAMES = {"latency": "latency", "first_token": "ttft", "per_token": "tpot"}
_AGGREGATES = {quantile: name for name, quantile in PERCENTILES.items()}


@lru_cache(64)
def stage_effect(
    service: ServiceModel, goals: Goals, lengths: tuple[tuple[int, int], ...], requests: int, steady_per_s: float
) -> StageEffect | None:
    """Of stages of so many requests, on a server that meets the SLO up to `steady_per_s` when it runs for long.

    None where the SLO is no percentile, or where no rate near the steady one is the stage's.
    """
    if not goals.times or goals.share is not None or any(goal.quantile is None for goal in goals.times):
        return None
    missed_by = _stages(service, goals.times, lengths, min(requests, _MOST_STAGE))

    def middle(per_s: float) -> float:
        return float(np.median(missed_by(per_s)))

    ends = (steady_per_s / _FARTHEST, steady_per_s, steady_per_s * _FARTHEST)
    found, _ = crossing(middle, ends, _PRECISION)
    if not ends[0] < found < ends[2]:
        return None
    slope = (middle(found * (1 + _SLOPE_STEP)) - middle(found / (1 + _SLOPE_STEP))) / (2 * math.log1p(_SLOPE_STEP))
    scatter = float(np.std(missed_by(found), ddof=1))
    return StageEffect(found, _LOGISTIC_SCALE * scatter / slope if slope > 0 else math.inf)


def _stages(
    service: ServiceModel, goals: tuple[Goal, ...], lengths: tuple[tuple[int, int], ...], requests: int
) -> Callable[[float], Floats]:
    """For a rate: of each play, the logarithm of the worst time over its limit."""
    limits = np.log([goal.limit_s for goal in goals])
    seed = np.random.SeedSequence(_SEED)
    budget = _TOKEN_REQUESTS if isinstance(service, TokenService) else _REQUESTS
    plays = max(_FEWEST_PLAYS, min(_MOST_PLAYS, budget // requests))
    if isinstance(service, TokenService):
        names = [f"{_NAMES[goal.time]} {_AGGREGATES[goal.quantile or 0.5]}" for goal in goals]
        drawn = TokenPlay.drawn(TokenLoad(1.0, None, np.array(lengths)), requests, plays, seed)

        def played(per_s: float) -> Floats:
            one = msgspec.structs.replace(drawn, arrivals_s=drawn.arrivals_s / per_s)
            return one.played(service, names).logs

    else:
        quantiles = np.array([goal.quantile for goal in goals])
        stage = StagePlay.drawn(1.0, requests, plays, seed)

        def played(per_s: float) -> Floats:
            return StagePlay(stage.arrivals_s / per_s, stage.normals).played(service, quantiles).logs

    return lambda per_s: np.asarray((played(per_s) - limits).max(axis=1))
