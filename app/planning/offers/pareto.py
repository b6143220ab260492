"""Pareto front of fleets by cost and latency, and the probability of each fleet to be on the
front."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.hardware.risk import compute_price_sigma
from app.planning.offers.options import Option, get_candidate
from app.planning.sizing.instances import Demand
from app.records.result import Fleet


def find_pareto_front(fleets: Iterable[Fleet]) -> tuple[Fleet, ...]:
    """Return the non-dominated fleets by cost and latency, cheapest first.

    Of fleets with equal cost and latency, only one is returned. Fleets without a known cost or
    latency are ignored.
    """
    comparable_rows = [
        (fleet.usd_per_month.value, fleet.latency_at_peak.value, fleet)
        for fleet in fleets
        if fleet.usd_per_month.value is not None and fleet.latency_at_peak.value is not None
    ]
    front: list[Fleet] = []
    fastest_ms = float("inf")
    for _, latency_ms, fleet in sorted(comparable_rows, key=lambda row: row[:2]):
        if latency_ms < fastest_ms:
            front.append(fleet)
            fastest_ms = latency_ms
    return tuple(front)


_DRAW_COUNT = 200
_MAX_RIVALS = 60
"""Maximum number of other fleets whose costs and latencies are drawn together with those of the
front. The fleets closest in cost are used, since others hardly ever reach the front."""
_SEED = 20_26


def add_front_probabilities(
    front: tuple[Fleet, ...], option_fleets: Sequence[tuple[Option, Fleet]], demand: Demand, today: datetime.date
) -> tuple[Fleet, ...]:
    """Return the front with each fleet's probability of being on the front, estimated by drawing
    uncertain costs and latencies.

    Offers that are extrapolated from the same measurement by the same ratio have the same speed
    error in each draw; price errors are independent.
    """
    if not front:
        return front
    rivals = [
        (option, fleet)
        for option, fleet in option_fleets
        if fleet not in front and fleet.latency_at_peak.value is not None
    ]
    rivals.sort(key=lambda pair: min(_compute_cost_distance(pair[1], front_fleet) for front_fleet in front))
    options = {(fleet.offer, fleet.instances): option for option, fleet in option_fleets}
    compared_fleets = [
        (options[front_fleet.offer, front_fleet.instances], front_fleet) for front_fleet in front
    ] + rivals[:_MAX_RIVALS]
    costs_usd, latencies_ms = _draw_costs_and_latencies(compared_fleets, demand, today)
    is_dominated = np.zeros((_DRAW_COUNT, len(front)), dtype=bool)
    for index in range(len(front)):
        is_cheaper = costs_usd <= costs_usd[:, [index]]
        is_faster = latencies_ms <= latencies_ms[:, [index]]
        is_better = (costs_usd < costs_usd[:, [index]]) | (latencies_ms < latencies_ms[:, [index]])
        is_dominated[:, index] = (is_cheaper & is_faster & is_better).any(axis=1) | np.isinf(latencies_ms[:, index])
    probabilities = 1 - is_dominated.mean(axis=0)
    return tuple(
        msgspec.structs.replace(front_fleet, frontier_probability=float(probability))
        for front_fleet, probability in zip(front, probabilities, strict=True)
    )


def _compute_cost_distance(fleet: Fleet, other_fleet: Fleet) -> float:
    return abs(math.log((fleet.usd_per_month.value or 1.0) / (other_fleet.usd_per_month.value or 1.0)))


def _draw_costs_and_latencies(
    compared_fleets: Sequence[tuple[Option, Fleet]], demand: Demand, today: datetime.date
) -> tuple[Floats, Floats]:
    """Draw costs in USD and latencies in ms; both arrays have the shape draws × fleets.

    A fleet beyond its max rate in a draw has infinite latency there.
    """
    rng = np.random.default_rng(_SEED)
    speed_keys = sorted({_get_speed_key(option) for option, _ in compared_fleets})
    speed_normals = dict(zip(speed_keys, rng.standard_normal((len(speed_keys), _DRAW_COUNT)), strict=True))
    peaks_per_s = demand.peak_per_s * np.exp(demand.peak_sigma * rng.standard_normal(_DRAW_COUNT))
    costs_usd, latencies_ms = (
        np.empty((_DRAW_COUNT, len(compared_fleets))),
        np.empty((_DRAW_COUNT, len(compared_fleets))),
    )
    for index, (option, fleet) in enumerate(compared_fleets):
        candidate = get_candidate(option)
        price_sigma = compute_price_sigma(candidate.offer, today)
        costs_usd[:, index] = (fleet.usd_per_month.value or 0.0) * np.exp(
            price_sigma * rng.standard_normal(_DRAW_COUNT)
        )
        speed_factors = np.exp(candidate.capacity.sigma * speed_normals[_get_speed_key(option)])
        utilizations = peaks_per_s / ((fleet.instances or 1) * candidate.capacity.rate_per_s * speed_factors)
        curve = option.latency_curve
        latencies_ms[:, index] = curve.interpolate_each_ms(utilizations * curve.max_rate_per_s) / speed_factors
    return costs_usd, latencies_ms


def _get_speed_key(option: Option) -> tuple[str, float, float]:
    capacity = get_candidate(option).capacity
    return option.target.name, round(capacity.speed, 9), round(capacity.speed_sigma, 9)
