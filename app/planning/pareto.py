"""Which fleets are worth looking at: no other is both as cheap and as fast.

How likely each point of the Pareto front is to be on it, given what is not sure of each fleet.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.options import Option, candidate_of
from app.planning.risk import price_sigma
from app.planning.sizing import Demand
from app.records.result import Fleet


def pareto_front(fleets: Iterable[Fleet]) -> tuple[Fleet, ...]:
    """The fleets that none beats, cheapest first; of two alike one stands. Fleets without a latency take no part."""
    known = [
        (fleet.usd_per_month.value, fleet.latency_at_peak.value, fleet)
        for fleet in fleets
        if fleet.usd_per_month.value is not None and fleet.latency_at_peak.value is not None
    ]
    front: list[Fleet] = []
    fastest_ms = float("inf")
    for _, latency_ms, fleet in sorted(known, key=lambda one: one[:2]):
        if latency_ms < fastest_ms:
            front.append(fleet)
            fastest_ms = latency_ms
    return tuple(front)


_DRAWS = 200
_RIVALS = 60
"""The fleets that cost nearest to the front's are drawn beside it: others hardly ever reach it."""
_OVERLOADED_MS = math.inf
_SEED = 20_26


def with_front_chances(
    front: tuple[Fleet, ...], sized: Sequence[tuple[Option, Fleet]], demand: Demand, today: datetime.date
) -> tuple[Fleet, ...]:
    """Speeds of offers that rest on one measurement and the same ratio move together; prices each on their own."""
    if not front:
        return front
    rivals = [
        (option, fleet) for option, fleet in sized if fleet not in front and fleet.latency_at_peak.value is not None
    ]
    rivals.sort(key=lambda pair: min(_distance(pair[1], one) for one in front))
    options = {(fleet.offer, fleet.instances): option for option, fleet in sized}
    drawn = [(options[one.offer, one.instances], one) for one in front] + rivals[:_RIVALS]
    costs, times = _draws(drawn, demand, today)
    beaten = np.zeros((_DRAWS, len(front)), dtype=bool)
    for place in range(len(front)):
        cheaper = costs <= costs[:, [place]]
        faster = times <= times[:, [place]]
        better = (costs < costs[:, [place]]) | (times < times[:, [place]])
        beaten[:, place] = (cheaper & faster & better).any(axis=1) | np.isinf(times[:, place])
    chances = 1 - beaten.mean(axis=0)
    return tuple(
        msgspec.structs.replace(one, front_chance=float(chance)) for one, chance in zip(front, chances, strict=True)
    )


def _distance(fleet: Fleet, other: Fleet) -> float:
    return abs(math.log((fleet.usd_per_month.value or 1.0) / (other.usd_per_month.value or 1.0)))


def _draws(drawn: Sequence[tuple[Option, Fleet]], demand: Demand, today: datetime.date) -> tuple[Floats, Floats]:
    """Costs and latencies: draws × fleets. A fleet that is beyond its max rate in a draw is never on the front."""
    random = np.random.default_rng(_SEED)
    kinds = sorted({_kind(option) for option, _ in drawn})
    speeds = dict(zip(kinds, random.standard_normal((len(kinds), _DRAWS)), strict=True))
    peaks = demand.peak_per_s * np.exp(demand.peak_sigma * random.standard_normal(_DRAWS))
    costs, times = np.empty((_DRAWS, len(drawn))), np.empty((_DRAWS, len(drawn)))
    for place, (option, fleet) in enumerate(drawn):
        candidate = candidate_of(option)
        sigma = price_sigma(candidate.offer, today)
        costs[:, place] = (fleet.usd_per_month.value or 0.0) * np.exp(sigma * random.standard_normal(_DRAWS))
        factors = np.exp(candidate.capacity.sigma * speeds[_kind(option)])
        loads = peaks / ((fleet.instances or 1) * candidate.capacity.per_s * factors)
        found = [option.latencies.at(float(load) * option.latencies.max_rate_per_s) for load in loads]
        times[:, place] = [
            _OVERLOADED_MS if time is None else time / factor for time, factor in zip(found, factors, strict=True)
        ]
    return costs, times


def _kind(option: Option) -> tuple[str, float, float]:
    capacity = candidate_of(option).capacity
    return option.target.name, round(capacity.speed, 9), round(capacity.speed_sigma, 9)
