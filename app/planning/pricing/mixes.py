"""Fleets of several instance types, each for the requests that it serves at the lowest cost, by
mixed-integer programming.

The traffic is divided into buckets by request size. An instance type has a request rate for each
bucket if it serves only that bucket. If it serves several buckets, its load is the sum over buckets
of rate / capacity. Each bucket is divided into equal slices, which are assigned to instance types
at the lowest total cost. The result is valid only with a router that knows the size of a request
and routes it as planned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from app.planning.sizing import HOURS_PER_MONTH

ROUTER_NOTE = (
    "A mix needs a router that reads the size of a request and routes it, by weight, to the planned instance type."
)
_SLACK = 1e-9


class MixOffer(msgspec.Struct, frozen=True):
    """Offer in a mix.

    `per_s` is the rate of one instance within the SLO by bucket, if it serves only that bucket;
    buckets that it cannot serve are missing. `max_instances` is the number of available instances;
    `None` means unlimited.
    """

    key: str
    usd_per_hour: float
    rate_per_s_by_bucket: Mapping[str, float]
    max_instances: int | None = None


class MixLimits(msgspec.Struct, frozen=True):
    """Limits of a mix.

    `spares` instances are added for every type in use. `slices` is the number of slices per bucket,
    `max_load` the maximum load of an instance, and `time_limit_s` the time limit of the solver.
    """

    max_types: int = 2
    spares: int = 0
    budget_usd_per_month: float | None = None
    slices: int = 8
    max_load: float = 1.0
    time_limit_s: float = 5.0


class MixedFleet(msgspec.Struct, frozen=True):
    """Fleet of one or several instance types.

    `counts` and `spares` are numbers of instances by offer; `counts` includes spares. `shares` is
    the share of requests by bucket and offer. `is_best` is False if the solver hit its time limit,
    so that a cheaper mix may exist.
    """

    count_by_offer: dict[str, int]
    spares: dict[str, int]
    shares: dict[str, dict[str, float]]
    usd_per_hour: float
    usd_per_month: float
    is_optimal: bool
    note: str | None
    """Requirement of a mix of several types; `None` if the fleet has a single type."""


def solve_mix(
    demand_per_s: Mapping[str, float], offers: Sequence[MixOffer], limits: MixLimits | None = None
) -> MixedFleet | None:
    """Return the cheapest fleet for these request rates by bucket; `None` if no fleet meets the
    limits."""
    limits = limits or MixLimits()
    demand = {bucket: per_s for bucket, per_s in demand_per_s.items() if per_s > 0}
    if not demand:
        return MixedFleet({}, {}, {}, 0.0, 0.0, True, None)
    candidates = _drop_dominated(
        [offer for offer in offers if any(offer.rate_per_s_by_bucket.get(bucket, 0) > 0 for bucket in demand)], demand
    )
    single = min(
        (fleet for offer in candidates if (fleet := _build_single_type_fleet(offer, demand, limits)) is not None),
        key=lambda fleet: fleet.usd_per_hour,
        default=None,
    )
    if limits.max_types < 2 or len(candidates) < 2:
        return single
    mixed = _solve(candidates, demand, limits)
    if mixed is None or (single is not None and single.usd_per_hour <= mixed.usd_per_hour + _SLACK):
        return single  # the mix is not cheaper and needs a router that knows request sizes
    return mixed


def _drop_dominated(offers: Sequence[MixOffer], demand: Mapping[str, float]) -> list[MixOffer]:
    """Drop offers for which another unlimited offer has at least the same rate in every bucket at
    no higher price."""

    def dominates(candidate: MixOffer, other_offer: MixOffer) -> bool:
        return (
            candidate.max_instances is None
            and candidate.usd_per_hour <= other_offer.usd_per_hour
            and all(
                candidate.rate_per_s_by_bucket.get(bucket, 0) >= other_offer.rate_per_s_by_bucket.get(bucket, 0)
                for bucket in demand
            )
        )

    nondominated: list[MixOffer] = []
    for offer in sorted(
        offers,
        key=lambda candidate: (candidate.usd_per_hour, -sum(candidate.rate_per_s_by_bucket.values()), candidate.key),
    ):
        if not any(dominates(candidate, offer) for candidate in nondominated):
            nondominated.append(offer)
    return nondominated


def _build_single_type_fleet(offer: MixOffer, demand: Mapping[str, float], limits: MixLimits) -> MixedFleet | None:
    if any(offer.rate_per_s_by_bucket.get(bucket, 0) <= 0 for bucket in demand):
        return None
    load = sum(per_s / offer.rate_per_s_by_bucket[bucket] for bucket, per_s in demand.items())
    needed = max(1, math.ceil(load / limits.max_load - _SLACK))
    if offer.max_instances is not None and needed + limits.spares > offer.max_instances:
        return None
    shares = {bucket: {offer.key: 1.0} for bucket in demand}
    return _build_fleet_within_budget([(offer, needed)], shares, limits, is_best=True)


def _build_fleet_within_budget(
    needed_by_offer: Sequence[tuple[MixOffer, int]],
    shares: dict[str, dict[str, float]],
    limits: MixLimits,
    is_best: bool,
) -> MixedFleet | None:
    counts = {offer.key: needed + limits.spares for offer, needed in needed_by_offer}
    usd_per_hour = sum(offer.usd_per_hour * counts[offer.key] for offer, _ in needed_by_offer)
    budget = limits.budget_usd_per_month
    if budget is not None and usd_per_hour * HOURS_PER_MONTH > budget * (1 + _SLACK):
        return None
    spares = dict.fromkeys(counts, limits.spares)
    note = ROUTER_NOTE if len(counts) > 1 else None
    return MixedFleet(counts, spares, shares, usd_per_hour, usd_per_hour * HOURS_PER_MONTH, is_best, note)


def _solve(offers: Sequence[MixOffer], demand: Mapping[str, float], limits: MixLimits) -> MixedFleet | None:
    """Solve the mixed-integer program.

    The variables are, in this order: slices by bucket and offer, instances by offer, and whether
    each offer is used (0 or 1).
    """
    # deferred, so that plans without mixes do not pay for the import
    from scipy.optimize import Bounds, LinearConstraint, milp

    loads = _compute_slice_loads(offers, demand, limits)
    bucket_count, offer_count = len(demand), len(offers)
    prices = np.array([offer.usd_per_hour for offer in offers])
    max_counts = np.array([_count_max_useful(offer, loads[:, index], limits) for index, offer in enumerate(offers)])
    cost = np.concatenate([np.zeros(bucket_count * offer_count), prices, prices * limits.spares])
    max_slices = np.where(np.isfinite(loads), float(limits.slices), 0.0).ravel()
    upper = np.concatenate([max_slices, max_counts, np.ones(offer_count)])
    budget = limits.budget_usd_per_month
    constraints = [
        LinearConstraint(_build_assignment_rows(bucket_count, offer_count), limits.slices, limits.slices),
        LinearConstraint(_build_capacity_rows(loads, limits.max_load), -np.inf, 0),
        LinearConstraint(_build_usage_rows(bucket_count, offer_count, max_counts), -np.inf, 0),
        LinearConstraint(
            np.concatenate([np.zeros(bucket_count * offer_count + offer_count), np.ones(offer_count)])[None],
            0,
            limits.max_types,
        ),
    ]
    if budget is not None:
        constraints.append(LinearConstraint(cost[None], 0, budget / HOURS_PER_MONTH))
    result = milp(
        cost,
        constraints=constraints,
        integrality=np.ones(cost.size, dtype=np.int64),
        bounds=Bounds(np.zeros(cost.size), upper),
        options={"time_limit": limits.time_limit_s, "mip_rel_gap": 0.0},
    )
    if result.x is None:
        return None
    return _read_solution(np.rint(result.x), offers, loads, demand, limits, is_best=result.status == 0)


def _compute_slice_loads(
    offers: Sequence[MixOffer], demand: Mapping[str, float], limits: MixLimits
) -> npt.NDArray[np.float64]:
    """Return the number of instances that one slice utilizes, with shape buckets × offers; infinity
    if not servable."""
    return np.array(
        [
            [
                per_s / limits.slices / offer.rate_per_s_by_bucket[bucket]
                if offer.rate_per_s_by_bucket.get(bucket, 0) > 0
                else np.inf
                for offer in offers
            ]
            for bucket, per_s in demand.items()
        ]
    )


def _count_max_useful(offer: MixOffer, loads: npt.NDArray[np.float64], limits: MixLimits) -> float:
    """Return the maximum useful number of instances of an offer.

    It is the number that serves all buckets that the offer can serve, limited by availability.
    """
    sufficient = math.ceil(loads[np.isfinite(loads)].sum() * limits.slices / limits.max_load - _SLACK)
    return float(
        max(0, min(sufficient, math.inf if offer.max_instances is None else offer.max_instances - limits.spares))
    )


def _build_assignment_rows(bucket_count: int, offer_count: int) -> npt.NDArray[np.float64]:
    rows = np.zeros((bucket_count, bucket_count * offer_count + 2 * offer_count))
    for bucket in range(bucket_count):
        rows[bucket, bucket * offer_count : (bucket + 1) * offer_count] = 1
    return rows


def _build_capacity_rows(loads: npt.NDArray[np.float64], max_load: float) -> npt.NDArray[np.float64]:
    bucket_count, offer_count = loads.shape
    rows = np.zeros((offer_count, bucket_count * offer_count + 2 * offer_count))
    for offer in range(offer_count):
        rows[offer, offer : bucket_count * offer_count : offer_count] = np.where(
            np.isfinite(loads[:, offer]), loads[:, offer], 0.0
        )
        rows[offer, bucket_count * offer_count + offer] = -max_load
    return rows


def _build_usage_rows(
    bucket_count: int, offer_count: int, max_counts: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    instances, used = np.eye(offer_count), np.diag(-max_counts)
    return np.hstack([np.zeros((offer_count, bucket_count * offer_count)), instances, used])


def _read_solution(
    solution: npt.NDArray[np.float64],
    offers: Sequence[MixOffer],
    loads: npt.NDArray[np.float64],
    demand: Mapping[str, float],
    limits: MixLimits,
    is_best: bool,
) -> MixedFleet | None:
    """Build the fleet from the solution.

    Instances are recounted from the slices, so that the solver's tolerance cannot overload an
    instance.
    """
    bucket_count, offer_count = len(demand), len(offers)
    slices = solution[: bucket_count * offer_count].reshape(bucket_count, offer_count)
    filled = (slices * np.where(np.isfinite(loads), loads, 0.0)).sum(axis=0)
    used = [
        (offer, max(1, math.ceil(filled[index] / limits.max_load - _SLACK)))
        for index, offer in enumerate(offers)
        if filled[index] > 0
    ]
    shares = {
        bucket: {
            offers[index].key: float(slices[bucket_index, index] / limits.slices)
            for index in range(offer_count)
            if slices[bucket_index, index]
        }
        for bucket_index, bucket in enumerate(demand)
    }
    return _build_fleet_within_budget(used, shares, limits, is_best)
