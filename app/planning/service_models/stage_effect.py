"""Effect of the length of a measured stage on the highest rate at which it meets an SLO.

A stage begins with an empty server. Near saturation queues take many service times to grow, so that a short stage meets
an SLO at rates that a server under steady load misses; and by chance one stage meets it where the next one misses. Both
follow from the service model: the stage is simulated several times at its measured length. Also finds the rate at which
a simulated time just reaches its limit.
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
from app.planning.service_models.stage_simulation import StageSimulation, TokenLoad, TokenSimulation
from app.records.metrics import PERCENTILES
from app.records.service import ServiceModel, TokenService

_MAX_CROSSING_PLAYS = 14


def find_crossing(
    missed_by: Callable[[float], float], rates: tuple[float, float, float], precision: float
) -> tuple[float, float]:
    """Return the highest rate at which `missed_by` is at most 0, and the sigma of its logarithm that the search leaves.

    `rates` are the lowest, the starting and the highest rate; `precision` is that of the rate's logarithm. The search
    brackets in log rate, then uses regula falsi with halving (Illinois). 0 where even the lowest rate misses.
    """
    min_rate, rate, max_rate = rates
    low, high, at_low, at_high = None, None, 0.0, 0.0
    step, plays = 1.06, 0
    while low is None or high is None:  # terminates: the step is squared until it reaches either end
        excess = missed_by(rate)
        plays += 1
        if excess <= 0:
            low, at_low = rate, excess
            if rate >= max_rate:
                return max_rate, 0.0
            rate = min(max_rate, rate * step) if high is None else rate
        else:
            high, at_high = rate, excess
            if rate <= min_rate:
                return 0.0, 0.0
            rate = max(min_rate, rate / step) if low is None else rate
        step *= step
    side = 0
    while math.log(high / low) > precision and plays < _MAX_CROSSING_PLAYS:
        weight = min(max(-at_low / (at_high - at_low), 0.1), 0.9)
        rate = low * (high / low) ** weight
        excess = missed_by(rate)
        plays += 1
        if excess <= 0:
            at_high = at_high / 2 if side < 0 else at_high
            low, at_low, side = rate, excess, -1
        else:
            at_low = at_low / 2 if side > 0 else at_low
            high, at_high, side = rate, excess, 1
    return low, math.log(high / low) / 2


_SEED = 20_26
_REQUESTS, _TOKEN_REQUESTS = 60_000, 16_000
_MIN_PLAYS, _MAX_PLAYS = 8, 32
_MAX_STAGE_REQUESTS = 20_000
"""Maximum number of requests of a stage; the effect of longer stages is too small to measure."""
_MAX_RATE_FACTOR = 1.6
"""Factor around the steady rate within which the stage's rate is searched."""
_PRECISION = 0.005
_SLOPE_STEP = 0.02
_LOGISTIC_SCALE = math.sqrt(3) / math.pi
"""Scale of a logistic distribution over its standard deviation."""
_NAMES = {"latency": "latency", "first_token": "ttft", "per_token": "tpot"}
_AGGREGATES = {quantile: name for name, quantile in PERCENTILES.items()}


@lru_cache(64)
def compute_stage_effect(
    service: ServiceModel, goals: Goals, lengths: tuple[tuple[int, int], ...], requests: int, steady_per_s: float
) -> StageEffect | None:
    """Compute the effect of short stages, with `requests` requests each.

    The server meets the SLO up to `steady_per_s` in the long run. `None` where the SLO has no percentiles, or where the
    stage's rate is not near the steady one.
    """
    if not goals.time_goals or goals.share is not None or any(goal.quantile is None for goal in goals.time_goals):
        return None
    missed_by = _simulated_stages(service, goals.time_goals, lengths, min(requests, _MAX_STAGE_REQUESTS))

    def median_excess(per_s: float) -> float:
        return float(np.median(missed_by(per_s)))

    ends = (steady_per_s / _MAX_RATE_FACTOR, steady_per_s, steady_per_s * _MAX_RATE_FACTOR)
    stage_per_s, _ = find_crossing(median_excess, ends, _PRECISION)
    if not ends[0] < stage_per_s < ends[2]:
        return None
    slope = (median_excess(stage_per_s * (1 + _SLOPE_STEP)) - median_excess(stage_per_s / (1 + _SLOPE_STEP))) / (
        2 * math.log1p(_SLOPE_STEP)
    )
    scatter = float(np.std(missed_by(stage_per_s), ddof=1))
    return StageEffect(stage_per_s, _LOGISTIC_SCALE * scatter / slope if slope > 0 else math.inf)


def _simulated_stages(
    service: ServiceModel, goals: tuple[Goal, ...], lengths: tuple[tuple[int, int], ...], requests: int
) -> Callable[[float], Floats]:
    """Return a function of the rate: for each simulation, the logarithm of the worst time over its limit."""
    limits = np.log([goal.limit_s for goal in goals])
    seed = np.random.SeedSequence(_SEED)
    budget = _TOKEN_REQUESTS if isinstance(service, TokenService) else _REQUESTS
    plays = max(_MIN_PLAYS, min(_MAX_PLAYS, budget // requests))
    if isinstance(service, TokenService):
        names = [f"{_NAMES[goal.time]} {_AGGREGATES[goal.quantile or 0.5]}" for goal in goals]
        token_play = TokenSimulation.draw(TokenLoad(1.0, None, np.array(lengths)), requests, plays, seed)

        def simulate_logs(per_s: float) -> Floats:
            scaled = msgspec.structs.replace(token_play, arrivals_s=token_play.arrivals_s / per_s)
            return scaled.simulate(service, names).logs

    else:
        quantiles = np.array([goal.quantile for goal in goals])
        stage_play = StageSimulation.draw(1.0, requests, plays, seed)

        def simulate_logs(per_s: float) -> Floats:
            return StageSimulation(stage_play.arrivals_s / per_s, stage_play.normals).simulate(service, quantiles).logs

    return lambda per_s: np.asarray((simulate_logs(per_s) - limits).max(axis=1))
