"""Fleets of several instance types, found by mixed-integer programming: each instance type serves
the request sizes for which it is cheapest.

The traffic is divided into buckets by request size. For each bucket, an instance type has a
capacity: the max rate if only this bucket is served. The load of an instance that serves several
buckets is the sum of rate / capacity over the buckets. Each bucket is divided into equal slices,
which are assigned to instance types at the lowest total cost. The result is valid only with a
router that knows the size of a request and routes it as planned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from app.planning.sizing.instances import HOURS_PER_MONTH

ROUTER_NOTE = (
    "A mix needs a router that reads the size of a request and routes it, by weight, to the planned instance type."
)
_TOLERANCE = 1e-9


class MixOffer(msgspec.Struct, frozen=True):
    """Offer that may be part of a mix of instance types.

    `rate_per_s_by_bucket` is, for each bucket, the rate of one instance within the SLO if the
    instance serves only this bucket. Buckets that the instance cannot serve are missing.
    `max_instances` is the number of available instances; `None` means unlimited.
    """

    key: str
    usd_per_hour: float
    rate_per_s_by_bucket: Mapping[str, float]
    max_instances: int | None = None


class MixLimits(msgspec.Struct, frozen=True):
    """Limits of a mix of instance types, and limits of the solver.

    For every instance type in use, `spares` instances are added. `slices` is the number of slices
    per bucket, `max_load` the maximum load of an instance, and `time_limit_s` the time limit of the
    solver.
    """

    max_types: int = 2
    spares: int = 0
    budget_usd_per_month: float | None = None
    slices: int = 8
    max_load: float = 1.0
    time_limit_s: float = 5.0


class MixedFleet(msgspec.Struct, frozen=True):
    """Fleet of one or several instance types.

    `count_by_offer` is the number of instances by offer, including spares; `spares` is the number
    of spares by offer. `shares` is the share of requests by bucket and offer. A cheaper mix
    may exist if the solver reached its time limit.
    """

    count_by_offer: dict[str, int]
    spares: dict[str, int]
    shares: dict[str, dict[str, float]]
    usd_per_hour: float
    usd_per_month: float
    note: str | None
    """What a mix of several instance types requires, as a sentence; `None` if the fleet has a
    single type."""


def solve_mix(
    demand_per_s: Mapping[str, float], offers: Sequence[MixOffer], limits: MixLimits | None = None
) -> MixedFleet | None:
    """Return the cheapest fleet for the request rates by bucket in `demand_per_s`; `None` if no
    fleet meets the limits."""
    limits = limits or MixLimits()
    demand_per_s = {bucket: rate_per_s for bucket, rate_per_s in demand_per_s.items() if rate_per_s > 0}
    if not demand_per_s:
        return MixedFleet({}, {}, {}, 0.0, 0.0, None)
    candidates = _drop_dominated(
        [offer for offer in offers if any(offer.rate_per_s_by_bucket.get(bucket, 0) > 0 for bucket in demand_per_s)],
        demand_per_s,
    )
    single_type_fleet = min(
        (fleet for offer in candidates if (fleet := _build_single_type_fleet(offer, demand_per_s, limits)) is not None),
        key=lambda fleet: fleet.usd_per_hour,
        default=None,
    )
    if limits.max_types < 2 or len(candidates) < 2:
        return single_type_fleet
    mixed_fleet = _solve_program(candidates, demand_per_s, limits)
    if mixed_fleet is None or (
        single_type_fleet is not None and single_type_fleet.usd_per_hour <= mixed_fleet.usd_per_hour + _TOLERANCE
    ):
        return single_type_fleet  # the mix is not cheaper and needs a router that knows request sizes
    return mixed_fleet


def _drop_dominated(offers: Sequence[MixOffer], demand_per_s: Mapping[str, float]) -> list[MixOffer]:
    """Drop dominated offers. An offer is dominated if another offer with unlimited instances has at
    least the same rate in every bucket at no higher price."""

    def dominates(candidate: MixOffer, other_offer: MixOffer) -> bool:
        return (
            candidate.max_instances is None
            and candidate.usd_per_hour <= other_offer.usd_per_hour
            and all(
                candidate.rate_per_s_by_bucket.get(bucket, 0) >= other_offer.rate_per_s_by_bucket.get(bucket, 0)
                for bucket in demand_per_s
            )
        )

    nondominated_offers: list[MixOffer] = []
    for offer in sorted(
        offers,
        key=lambda candidate: (candidate.usd_per_hour, -sum(candidate.rate_per_s_by_bucket.values()), candidate.key),
    ):
        if not any(dominates(candidate, offer) for candidate in nondominated_offers):
            nondominated_offers.append(offer)
    return nondominated_offers


def _build_single_type_fleet(
    offer: MixOffer, demand_per_s: Mapping[str, float], limits: MixLimits
) -> MixedFleet | None:
    """Return the fleet of one offer that sustains the demand, with spares; None if the offer cannot serve a bucket,
    or has too few instances, or exceeds the budget."""
    if any(offer.rate_per_s_by_bucket.get(bucket, 0) <= 0 for bucket in demand_per_s):
        return None
    load = sum(rate_per_s / offer.rate_per_s_by_bucket[bucket] for bucket, rate_per_s in demand_per_s.items())
    needed_instances = max(1, math.ceil(load / limits.max_load - _TOLERANCE))
    if offer.max_instances is not None and needed_instances + limits.spares > offer.max_instances:
        return None
    shares = {bucket: {offer.key: 1.0} for bucket in demand_per_s}
    return _build_fleet_within_budget([(offer, needed_instances)], shares, limits)


def _build_fleet_within_budget(
    offers_and_counts: Sequence[tuple[MixOffer, int]],
    shares: dict[str, dict[str, float]],
    limits: MixLimits,
) -> MixedFleet | None:
    """Return the fleet with its spares for each type and its cost; None if the cost exceeds the monthly budget."""
    counts = {offer.key: needed_instances + limits.spares for offer, needed_instances in offers_and_counts}
    usd_per_hour = sum(offer.usd_per_hour * counts[offer.key] for offer, _ in offers_and_counts)
    budget = limits.budget_usd_per_month
    if budget is not None and usd_per_hour * HOURS_PER_MONTH > budget * (1 + _TOLERANCE):
        return None
    spares = dict.fromkeys(counts, limits.spares)
    note = ROUTER_NOTE if len(counts) > 1 else None
    return MixedFleet(counts, spares, shares, usd_per_hour, usd_per_hour * HOURS_PER_MONTH, note)


def _solve_program(
    offers: Sequence[MixOffer], demand_per_s: Mapping[str, float], limits: MixLimits
) -> MixedFleet | None:
    """Return the cheapest mix of the offers, found by mixed-integer programming.

    The variables are, in this order: slices by bucket and offer, instances by offer, and whether
    each offer is used (0 or 1).
    """
    # deferred, so that plans without mixes do not pay for the import
    from scipy.optimize import Bounds, LinearConstraint, milp

    loads = _compute_slice_loads(offers, demand_per_s, limits)
    bucket_count, offer_count = len(demand_per_s), len(offers)
    prices = np.array([offer.usd_per_hour for offer in offers])
    max_counts = np.array([_count_max_useful(offer, loads[:, index], limits) for index, offer in enumerate(offers)])
    hourly_costs = np.concatenate([np.zeros(bucket_count * offer_count), prices, prices * limits.spares])
    max_slices = np.where(np.isfinite(loads), float(limits.slices), 0.0).ravel()
    upper_bounds = np.concatenate([max_slices, max_counts, np.ones(offer_count)])
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
        constraints.append(LinearConstraint(hourly_costs[None], 0, budget / HOURS_PER_MONTH))
    result = milp(
        hourly_costs,
        constraints=constraints,
        integrality=np.ones(hourly_costs.size, dtype=np.int64),
        bounds=Bounds(np.zeros(hourly_costs.size), upper_bounds),
        options={"time_limit": limits.time_limit_s, "mip_rel_gap": 0.0},
    )
    if result.x is None:
        return None
    return _read_solution(np.rint(result.x), offers, loads, demand_per_s, limits)


def _compute_slice_loads(
    offers: Sequence[MixOffer], demand_per_s: Mapping[str, float], limits: MixLimits
) -> npt.NDArray[np.float64]:
    """Return the load of one slice, as a number of fully utilized instances, with shape buckets ×
    offers. The load is infinite if the offer cannot serve the bucket."""
    return np.array(
        [
            [
                rate_per_s / limits.slices / offer.rate_per_s_by_bucket[bucket]
                if offer.rate_per_s_by_bucket.get(bucket, 0) > 0
                else np.inf
                for offer in offers
            ]
            for bucket, rate_per_s in demand_per_s.items()
        ]
    )


def _count_max_useful(offer: MixOffer, loads: npt.NDArray[np.float64], limits: MixLimits) -> float:
    """Return the maximum useful number of instances of an offer: enough for all buckets that the
    offer can serve, limited by availability.
    """
    sufficient_count = math.ceil(loads[np.isfinite(loads)].sum() * limits.slices / limits.max_load - _TOLERANCE)
    return float(
        max(0, min(sufficient_count, math.inf if offer.max_instances is None else offer.max_instances - limits.spares))
    )


def _build_assignment_rows(bucket_count: int, offer_count: int) -> npt.NDArray[np.float64]:
    """Return the constraint rows of the sum of the slices of each bucket. Columns are the slices by bucket and offer,
    then the instances by offer, then whether each offer is used."""
    rows = np.zeros((bucket_count, bucket_count * offer_count + 2 * offer_count))
    for bucket_index in range(bucket_count):
        rows[bucket_index, bucket_index * offer_count : (bucket_index + 1) * offer_count] = 1
    return rows


def _build_capacity_rows(loads: npt.NDArray[np.float64], max_load: float) -> npt.NDArray[np.float64]:
    """Return the constraint rows that limit the load of each offer to `max_load` of its instances. The columns are
    those of `_build_assignment_rows`."""
    bucket_count, offer_count = loads.shape
    rows = np.zeros((offer_count, bucket_count * offer_count + 2 * offer_count))
    for offer_index in range(offer_count):
        rows[offer_index, offer_index : bucket_count * offer_count : offer_count] = np.where(
            np.isfinite(loads[:, offer_index]), loads[:, offer_index], 0.0
        )
        rows[offer_index, bucket_count * offer_count + offer_index] = -max_load
    return rows


def _build_usage_rows(
    bucket_count: int, offer_count: int, max_counts: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the constraint rows that allow instances only of used offers. The columns are those of
    `_build_assignment_rows`."""
    instance_coefficients, usage_coefficients = np.eye(offer_count), np.diag(-max_counts)
    return np.hstack([np.zeros((offer_count, bucket_count * offer_count)), instance_coefficients, usage_coefficients])


def _read_solution(
    solution: npt.NDArray[np.float64],
    offers: Sequence[MixOffer],
    loads: npt.NDArray[np.float64],
    demand_per_s: Mapping[str, float],
    limits: MixLimits,
) -> MixedFleet | None:
    """Build the fleet from the solution of the mixed-integer program.

    The number of instances is recomputed from the slices. Otherwise, the solver's tolerance could
    overload an instance.
    """
    bucket_count, offer_count = len(demand_per_s), len(offers)
    slices = solution[: bucket_count * offer_count].reshape(bucket_count, offer_count)
    offer_loads = (slices * np.where(np.isfinite(loads), loads, 0.0)).sum(axis=0)
    offers_and_counts = [
        (offer, max(1, math.ceil(offer_loads[index] / limits.max_load - _TOLERANCE)))
        for index, offer in enumerate(offers)
        if offer_loads[index] > 0
    ]
    shares = {
        bucket: {
            offers[index].key: float(slices[bucket_index, index] / limits.slices)
            for index in range(offer_count)
            if slices[bucket_index, index]
        }
        for bucket_index, bucket in enumerate(demand_per_s)
    }
    return _build_fleet_within_budget(offers_and_counts, shares, limits)
