"""What the length of a measured stage does to the highest rate at which it meets an SLO.

A stage begins with an empty server. Near saturation queues take many service times to grow, so that a short stage meets
an SLO at rates that a server under steady load misses; and by chance one stage meets it where the next one misses. Both
follow from the service model: the stage is played several times over, as long as it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.crossing import crossing
from app.planning.evidence import StageEffect
from app.planning.goals import Goal, Goals
from app.planning.stage_play import StagePlay
from app.planning.token_play import TokenLoad, TokenPlay
from app.records.metrics import PERCENTILES
from app.records.service import ServiceModel, TokenService

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
