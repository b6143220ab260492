"""Effect of the length of a measured stage on the highest rate at which the stage meets an SLO.

A stage begins with an empty server. Near saturation, queues take many service times to build up, so
a short stage meets an SLO at rates that the server misses in steady state. Chance also matters: of
two equal stages, one may meet the SLO and the other miss it. Both effects are predicted by repeated
simulation of the stage with the service model. The module also finds the rate at which a simulated
latency reaches its limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.service_models.evidence import StageEffect
from app.planning.service_models.stage_simulation import StageSimulation, TokenLoad, TokenSimulation
from app.planning.sizing.slo_objectives import LatencyObjective, SloObjectives
from app.records.metrics import PERCENTILES
from app.records.service import ServiceModel, TokenService

_MAX_CROSSING_EVALUATIONS = 14


def find_crossing(
    compute_excess: Callable[[float], float], rates: tuple[float, float, float], precision: float
) -> tuple[float, float]:
    """Find the highest rate at which `compute_excess` is at most 0; return the rate and the sigma
    of its logarithm.

    `rates` are the lowest, the initial and the highest rate to try. The search first brackets the
    crossing in log rate, then uses regula falsi with halving (Illinois algorithm) until the rate's
    logarithm is known to `precision`. The rate is 0 if `compute_excess` is positive even at the
    lowest rate. The sigma is half the width of the final bracket in log rate.
    """
    min_rate, rate, max_rate = rates
    low, high, low_excess, high_excess = None, None, 0.0, 0.0
    step, evaluations = 1.06, 0
    while low is None or high is None:  # terminates: the step is squared until it reaches either end
        excess = compute_excess(rate)
        evaluations += 1
        if excess <= 0:
            low, low_excess = rate, excess
            if rate >= max_rate:
                return max_rate, 0.0
            rate = min(max_rate, rate * step) if high is None else rate
        else:
            high, high_excess = rate, excess
            if rate <= min_rate:
                return 0.0, 0.0
            rate = max(min_rate, rate / step) if low is None else rate
        step *= step
    last_side = 0
    while math.log(high / low) > precision and evaluations < _MAX_CROSSING_EVALUATIONS:
        weight = min(max(-low_excess / (high_excess - low_excess), 0.1), 0.9)
        rate = low * (high / low) ** weight
        excess = compute_excess(rate)
        evaluations += 1
        if excess <= 0:
            high_excess = high_excess / 2 if last_side < 0 else high_excess
            low, low_excess, last_side = rate, excess, -1
        else:
            low_excess = low_excess / 2 if last_side > 0 else low_excess
            high, high_excess, last_side = rate, excess, 1
    return low, math.log(high / low) / 2


_SEED = 20_26
_REQUEST_BUDGET, _TOKEN_REQUEST_BUDGET = 60_000, 16_000
_MIN_SIMULATIONS, _MAX_SIMULATIONS = 8, 32
_MAX_STAGE_REQUESTS = 20_000
"""Maximum number of simulated requests of a stage. In longer stages, the effect of the length is
too small to measure.
"""
_MAX_RATE_FACTOR = 1.6
"""Maximum ratio between the rate that a stage sustains and the steady-state rate, in either
direction."""
_PRECISION = 0.005
_SLOPE_STEP = 0.02
_LOGISTIC_SCALE = math.sqrt(3) / math.pi
"""Ratio of the scale of a logistic distribution to its standard deviation."""
_METRIC_BY_KIND = {"latency": "latency", "first_token": "ttft", "per_token": "tpot"}
_AGGREGATE_BY_QUANTILE = {quantile: name for name, quantile in PERCENTILES.items()}


@lru_cache(64)
def compute_stage_effect(
    service: ServiceModel,
    objectives: SloObjectives,
    lengths: tuple[tuple[int, int], ...],
    requests: int,
    steady_rate_per_s: float,
) -> StageEffect | None:
    """Compute the effect of the length of stages with `requests` requests each.

    `steady_rate_per_s` is the max rate in steady state. Return `None` if the SLO limits no
    latency, or a mean or a share of requests, or if the rate that a stage sustains differs from the
    steady-state rate by more than a factor of 1.6.
    """
    if (
        not objectives.latency_objectives
        or objectives.share is not None
        or any(objective.quantile is None for objective in objectives.latency_objectives)
    ):
        return None
    simulate_excesses = _build_stage_simulator(
        service, objectives.latency_objectives, lengths, min(requests, _MAX_STAGE_REQUESTS)
    )

    def compute_median_excess(rate_per_s: float) -> float:
        return float(np.median(simulate_excesses(rate_per_s)))

    rate_range_per_s = (steady_rate_per_s / _MAX_RATE_FACTOR, steady_rate_per_s, steady_rate_per_s * _MAX_RATE_FACTOR)
    stage_rate_per_s, _ = find_crossing(compute_median_excess, rate_range_per_s, _PRECISION)
    if not rate_range_per_s[0] < stage_rate_per_s < rate_range_per_s[2]:
        return None
    slope = (
        compute_median_excess(stage_rate_per_s * (1 + _SLOPE_STEP))
        - compute_median_excess(stage_rate_per_s / (1 + _SLOPE_STEP))
    ) / (2 * math.log1p(_SLOPE_STEP))
    scatter = float(np.std(simulate_excesses(stage_rate_per_s), ddof=1))
    return StageEffect(stage_rate_per_s, _LOGISTIC_SCALE * scatter / slope if slope > 0 else math.inf)


def _build_stage_simulator(
    service: ServiceModel, objectives: tuple[LatencyObjective, ...], lengths: tuple[tuple[int, int], ...], requests: int
) -> Callable[[float], Floats]:
    """Return a function that simulates stages at a rate. For each simulation, the function returns
    the largest log ratio of a latency to its limit.
    """
    log_limits = np.log([objective.limit_s for objective in objectives])
    seed = np.random.SeedSequence(_SEED)
    budget = _TOKEN_REQUEST_BUDGET if isinstance(service, TokenService) else _REQUEST_BUDGET
    simulation_count = max(_MIN_SIMULATIONS, min(_MAX_SIMULATIONS, budget // requests))
    if isinstance(service, TokenService):
        names = [
            f"{_METRIC_BY_KIND[objective.kind]} {_AGGREGATE_BY_QUANTILE[objective.quantile or 0.5]}"
            for objective in objectives
        ]
        token_simulation = TokenSimulation.draw(
            TokenLoad(1.0, None, np.array(lengths)), requests, simulation_count, seed
        )

        def simulate_logs(rate_per_s: float) -> Floats:
            scaled_simulation = msgspec.structs.replace(
                token_simulation, arrivals_s=token_simulation.arrivals_s / rate_per_s
            )
            return scaled_simulation.simulate(service, names).logs

    else:
        quantiles = np.array([objective.quantile for objective in objectives])
        stage_simulation = StageSimulation.draw(1.0, requests, simulation_count, seed)

        def simulate_logs(rate_per_s: float) -> Floats:
            return (
                StageSimulation(stage_simulation.arrivals_s / rate_per_s, stage_simulation.normals)
                .simulate(service, quantiles)
                .logs
            )

    return lambda rate_per_s: np.asarray((simulate_logs(rate_per_s) - log_limits).max(axis=1))
