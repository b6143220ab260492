"""Fleets of several types of instances, each for the requests it is best at, by a mixed-integer programme.

The traffic is cut into buckets by size; an instance of a type carries so many requests a second of each bucket alone,
and a mix of them in proportion: its load is the sum over buckets of rate / capacity. Each bucket is dealt out in equal
slices, at the least cost. It holds only behind a router that knows a request's size and sends it where it was planned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from app.planning.sizing import HOURS_A_MONTH

ROUTER_NOTE = "A mix needs a router that reads a request's size and sends it to the type planned for it, by weight."
_SLACK = 1e-9


class MixOffer(msgspec.Struct, frozen=True):
    """`per_s` is what one instance carries of each bucket alone inside the SLO; a bucket it cannot carry is not in it.
    `most` is how many can be had; None is no limit."""

    key: str
    usd_per_hour: float
    per_s: Mapping[str, float]
    most: int | None = None


class MixLimits(msgspec.Struct, frozen=True):
    """`spares` are kept of every type in use. `slices` is into how many parts a bucket can be dealt out, and
    `most_load` how full an instance may be."""

    most_types: int = 2
    spares: int = 0
    budget_usd_per_month: float | None = None
    slices: int = 8
    most_load: float = 1.0
    within_s: float = 5.0


class MixedFleet(msgspec.Struct, frozen=True):
    """`counts` are instances by offer, spares among them; `shares` are of each bucket's requests, by bucket and offer.

    `is_best` is False where the search was cut at its time and a cheaper mix may exist.
    """

    counts: dict[str, int]
    spares: dict[str, int]
    shares: dict[str, dict[str, float]]
    usd_per_hour: float
    usd_per_month: float
    is_best: bool
    note: str | None
    """What a mix of several types needs; None for one."""


def mix(
    demand_per_s: Mapping[str, float], offers: Sequence[MixOffer], limits: MixLimits | None = None
) -> MixedFleet | None:
    """The cheapest fleet for so many requests a second by bucket; None where none fits."""
    limits = limits or MixLimits()
    demand = {bucket: per_s for bucket, per_s in demand_per_s.items() if per_s > 0}
    if not demand:
        return MixedFleet({}, {}, {}, 0.0, 0.0, True, None)
    able = _worth_trying(
        [offer for offer in offers if any(offer.per_s.get(bucket, 0) > 0 for bucket in demand)], demand
    )
    single = min(
        (one for offer in able if (one := _of_one_type(offer, demand, limits)) is not None),
        key=lambda one: one.usd_per_hour,
        default=None,
    )
    if limits.most_types < 2 or len(able) < 2:
        return single
    mixed = _solve(able, demand, limits)
    if mixed is None or (single is not None and single.usd_per_hour <= mixed.usd_per_hour + _SLACK):
        return single  # as cheap without a clever router
    return mixed


def _worth_trying(offers: Sequence[MixOffer], demand: Mapping[str, float]) -> list[MixOffer]:
    """Without those that another, to be had without limit, replaces at no more cost in every bucket."""

    def replaces(one: MixOffer, other: MixOffer) -> bool:
        return (
            one.most is None
            and one.usd_per_hour <= other.usd_per_hour
            and all(one.per_s.get(bucket, 0) >= other.per_s.get(bucket, 0) for bucket in demand)
        )

    kept: list[MixOffer] = []
    for offer in sorted(offers, key=lambda one: (one.usd_per_hour, -sum(one.per_s.values()), one.key)):
        if not any(replaces(one, offer) for one in kept):
            kept.append(offer)
    return kept


def _of_one_type(offer: MixOffer, demand: Mapping[str, float], limits: MixLimits) -> MixedFleet | None:
    if any(offer.per_s.get(bucket, 0) <= 0 for bucket in demand):
        return None
    load = sum(per_s / offer.per_s[bucket] for bucket, per_s in demand.items())
    needed = max(1, math.ceil(load / limits.most_load - _SLACK))
    if offer.most is not None and needed + limits.spares > offer.most:
        return None
    shares = {bucket: {offer.key: 1.0} for bucket in demand}
    return _within_budget([(offer, needed)], shares, limits, is_best=True)


def _within_budget(
    used: Sequence[tuple[MixOffer, int]], shares: dict[str, dict[str, float]], limits: MixLimits, is_best: bool
) -> MixedFleet | None:
    counts = {offer.key: needed + limits.spares for offer, needed in used}
    hour = sum(offer.usd_per_hour * counts[offer.key] for offer, _ in used)
    budget = limits.budget_usd_per_month
    if budget is not None and hour * HOURS_A_MONTH > budget * (1 + _SLACK):
        return None
    spares = dict.fromkeys(counts, limits.spares)
    note = ROUTER_NOTE if len(counts) > 1 else None
    return MixedFleet(counts, spares, shares, hour, hour * HOURS_A_MONTH, is_best, note)


def _solve(offers: Sequence[MixOffer], demand: Mapping[str, float], limits: MixLimits) -> MixedFleet | None:
    """Unknowns: slices by bucket and offer (bucket by bucket), instances by offer, and whether it is used at all."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # not paid for by plans without mixes

    loads = _load_of_a_slice(offers, demand, limits)
    many, each = len(demand), len(offers)
    prices = np.array([offer.usd_per_hour for offer in offers])
    most = np.array([_most_useful(offer, loads[:, at], limits) for at, offer in enumerate(offers)])
    cost = np.concatenate([np.zeros(many * each), prices, prices * limits.spares])
    slices_most = np.where(np.isfinite(loads), float(limits.slices), 0.0).ravel()
    upper = np.concatenate([slices_most, most, np.ones(each)])
    budget = limits.budget_usd_per_month
    constraints = [
        LinearConstraint(_dealt_out(many, each), limits.slices, limits.slices),
        LinearConstraint(_carried(loads, limits.most_load), -np.inf, 0),
        LinearConstraint(_only_if_used(many, each, most), -np.inf, 0),
        LinearConstraint(np.concatenate([np.zeros(many * each + each), np.ones(each)])[None], 0, limits.most_types),
    ]
    if budget is not None:
        constraints.append(LinearConstraint(cost[None], 0, budget / HOURS_A_MONTH))
    found = milp(
        cost,
        constraints=constraints,
        integrality=np.ones(cost.size, dtype=np.int64),
        bounds=Bounds(np.zeros(cost.size), upper),
        options={"time_limit": limits.within_s, "mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    return _read(np.rint(found.x), offers, loads, demand, limits, is_best=found.status == 0)


def _load_of_a_slice(
    offers: Sequence[MixOffer], demand: Mapping[str, float], limits: MixLimits
) -> npt.NDArray[np.float64]:
    """By bucket and offer: the instances that one slice fills; infinite where the offer cannot carry the bucket."""
    return np.array(
        [
            [
                per_s / limits.slices / offer.per_s[bucket] if offer.per_s.get(bucket, 0) > 0 else np.inf
                for offer in offers
            ]
            for bucket, per_s in demand.items()
        ]
    )


def _most_useful(offer: MixOffer, loads: npt.NDArray[np.float64], limits: MixLimits) -> float:
    """No more instances than would carry everything the offer can, or than there are."""
    enough = math.ceil(loads[np.isfinite(loads)].sum() * limits.slices / limits.most_load - _SLACK)
    return float(max(0, min(enough, math.inf if offer.most is None else offer.most - limits.spares)))


def _dealt_out(many: int, each: int) -> npt.NDArray[np.float64]:
    rows = np.zeros((many, many * each + 2 * each))
    for at in range(many):
        rows[at, at * each : (at + 1) * each] = 1
    return rows


def _carried(loads: npt.NDArray[np.float64], most_load: float) -> npt.NDArray[np.float64]:
    many, each = loads.shape
    rows = np.zeros((each, many * each + 2 * each))
    for at in range(each):
        rows[at, at : many * each : each] = np.where(np.isfinite(loads[:, at]), loads[:, at], 0.0)
        rows[at, many * each + at] = -most_load
    return rows


def _only_if_used(many: int, each: int, most: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    instances, used = np.eye(each), np.diag(-most)
    return np.hstack([np.zeros((each, many * each)), instances, used])


def _read(
    solution: npt.NDArray[np.float64],
    offers: Sequence[MixOffer],
    loads: npt.NDArray[np.float64],
    demand: Mapping[str, float],
    limits: MixLimits,
    is_best: bool,
) -> MixedFleet | None:
    """The counts are made of the slices again, so that a solver's tolerance leaves no instance overfull."""
    many, each = len(demand), len(offers)
    dealt = solution[: many * each].reshape(many, each)
    filled = (dealt * np.where(np.isfinite(loads), loads, 0.0)).sum(axis=0)
    used = [
        (offer, max(1, math.ceil(filled[at] / limits.most_load - _SLACK)))
        for at, offer in enumerate(offers)
        if filled[at] > 0
    ]
    shares = {
        bucket: {offers[at].key: float(dealt[row, at] / limits.slices) for at in range(each) if dealt[row, at]}
        for row, bucket in enumerate(demand)
    }
    return _within_budget(used, shares, limits, is_best)
