"""Pareto front of fleets by cost and latency.

Includes the probability that each point is on the front, given the uncertainty of each fleet.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.options import Option, get_candidate
from app.planning.risk import compute_price_sigma
from app.planning.sizing import Demand
from app.records.result import Fleet


def find_pareto_front(fleets: Iterable[Fleet]) -> tuple[Fleet, ...]:
    """Return the fleets that no other dominates, cheapest first; one of several equal ones.

    Fleets need a known latency.
    """
    known = [
        (fleet.usd_per_month.value, fleet.latency_at_peak.value, fleet)
        for fleet in fleets
        if fleet.usd_per_month.value is not None and fleet.latency_at_peak.value is not None
    ]
    front: list[Fleet] = []
    fastest_ms = float("inf")
    for _, latency_ms, fleet in sorted(known, key=lambda row: row[:2]):
        if latency_ms < fastest_ms:
            front.append(fleet)
            fastest_ms = latency_ms
    return tuple(front)


_DRAW_COUNT = 200
_MAX_RIVALS = 60
"""Fleets near the front's costs that are drawn together with it; others hardly ever reach the front."""
_OVERLOADED_MS = math.inf
_SEED = 20_26


def add_front_probabilities(
    front: tuple[Fleet, ...], sized: Sequence[tuple[Option, Fleet]], demand: Demand, today: datetime.date
) -> tuple[Fleet, ...]:
    """Return the front with each fleet's probability of being on it.

    Speeds of offers that are based on one measurement and the same ratio vary together; prices vary independently.
    """
    if not front:
        return front
    rivals = [
        (option, fleet) for option, fleet in sized if fleet not in front and fleet.latency_at_peak.value is not None
    ]
    rivals.sort(key=lambda pair: min(_distance(pair[1], fleet_of_front) for fleet_of_front in front))
    options = {(fleet.offer, fleet.instances): option for option, fleet in sized}
    pairs = [
        (options[fleet_of_front.offer, fleet_of_front.instances], fleet_of_front) for fleet_of_front in front
    ] + rivals[:_MAX_RIVALS]
    costs, times = _draw(pairs, demand, today)
    dominated = np.zeros((_DRAW_COUNT, len(front)), dtype=bool)
    for index in range(len(front)):
        cheaper = costs <= costs[:, [index]]
        faster = times <= times[:, [index]]
        better = (costs < costs[:, [index]]) | (times < times[:, [index]])
        dominated[:, index] = (cheaper & faster & better).any(axis=1) | np.isinf(times[:, index])
    probabilities = 1 - dominated.mean(axis=0)
    return tuple(
        msgspec.structs.replace(fleet_of_front, frontier_probability=float(probability))
        for fleet_of_front, probability in zip(front, probabilities, strict=True)
    )


def _distance(fleet: Fleet, other: Fleet) -> float:
    return abs(math.log((fleet.usd_per_month.value or 1.0) / (other.usd_per_month.value or 1.0)))


def _draw(pairs: Sequence[tuple[Option, Fleet]], demand: Demand, today: datetime.date) -> tuple[Floats, Floats]:
    """Draw costs and latencies, both of shape draws × fleets.

    A fleet that is beyond its max rate in a draw is never on the front.
    """
    random = np.random.default_rng(_SEED)
    kinds = sorted({_kind(option) for option, _ in pairs})
    speeds = dict(zip(kinds, random.standard_normal((len(kinds), _DRAW_COUNT)), strict=True))
    peaks = demand.peak_per_s * np.exp(demand.peak_sigma * random.standard_normal(_DRAW_COUNT))
    costs, times = np.empty((_DRAW_COUNT, len(pairs))), np.empty((_DRAW_COUNT, len(pairs)))
    for index, (option, fleet) in enumerate(pairs):
        candidate = get_candidate(option)
        sigma = compute_price_sigma(candidate.offer, today)
        costs[:, index] = (fleet.usd_per_month.value or 0.0) * np.exp(sigma * random.standard_normal(_DRAW_COUNT))
        factors = np.exp(candidate.capacity.sigma * speeds[_kind(option)])
        loads = peaks / ((fleet.instances or 1) * candidate.capacity.per_s * factors)
        times_ms = [option.latencies.at(float(load) * option.latencies.max_rate_per_s) for load in loads]
        times[:, index] = [
            _OVERLOADED_MS if time is None else time / factor for time, factor in zip(times_ms, factors, strict=True)
        ]
    return costs, times


def _kind(option: Option) -> tuple[str, float, float]:
    capacity = get_candidate(option).capacity
    return option.target.name, round(capacity.speed, 9), round(capacity.speed_sigma, 9)
