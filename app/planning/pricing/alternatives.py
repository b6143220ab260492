"""Alternatives to the recommended fleet: reserved instances, and a mix of two instance types.

The module computes how many instances to reserve for a year, how many to run on spot, and how many
on demand. A reserved instance is paid for in every hour. The k-th reserved instance is used in
every hour that needs at least k instances. It pays off if renting an instance in these hours would
cost more. Each additional reserved instance is used less, so the best number is the number of
reserved instances that pay off. Compared with on-demand instances only, a reserved instance pays
off if it is used in more than the share p_reserved / p_on_demand of the hours. The best number is
then the (1 − p_reserved / p_on_demand) quantile of the demand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from app.planning.formatting import format_number, format_usd
from app.planning.offers.candidates import Candidate
from app.planning.offers.options import Option, get_candidate
from app.planning.pricing.costs import HOURS_PER_YEAR, compute_effective_spot_usd_per_hour
from app.planning.pricing.mixes import MixLimits, MixOffer, solve_mix
from app.planning.pricing.year import count_hourly_replicas
from app.planning.sizing.demand import compute_year_rates_per_s
from app.planning.sizing.instances import HOURS_PER_MONTH, Demand, compute_sustained_peak_per_s
from app.records.plan import Commitment, Mix, MixPart
from app.records.planning_inputs import PlanningInputs

Ints = npt.NDArray[np.int64]
MAX_REPLICAS = 10_000_000


class HourlyPrices(msgspec.Struct, frozen=True):
    """Prices of one instance in USD per hour, by kind of price; `None` if a kind of price is not
    available."""

    on_demand: float | None
    reserved_1y: float | None = None
    spot: float | None = None


class SpotTerms(msgspec.Struct, frozen=True):
    """Conditions for the use of spot instances.

    At most `max_share` of the replicas in any hour may run on spot, since instances of the same
    spot market are interrupted together. For each spot instance in use, 1 + `buffer` spot instances
    are rented, so that a replacement is ready after an interruption.
    """

    max_share: float
    interruptions_per_hour: float = 0.05
    cold_start_s: float = 300.0
    buffer: float = 0.0

    def compute_usd_per_hour(self, spot_usd_per_hour: float) -> float:
        usd_per_hour = compute_effective_spot_usd_per_hour(
            spot_usd_per_hour, self.interruptions_per_hour, self.cold_start_s
        )
        return usd_per_hour * (1 + self.buffer)


class CommitmentSplit(msgspec.Struct, frozen=True):
    """Cheapest split between reserved, on-demand and spot instances: the number of reserved
    instances, and the cost of all in USD per year."""

    reserved: int
    usd_per_year: float


def split_commitments(
    hourly_replicas: npt.ArrayLike, prices: HourlyPrices, *, min_reserved: int = 0, spot: SpotTerms | None = None
) -> CommitmentSplit | None:
    """Compute the cheapest split of the hourly demand between reserved, on-demand and spot
    instances, scaled to a year.

    Fractions of a replica are rounded up. Either no instance is reserved, or at least
    `min_reserved` instances are. Return `None` if the available prices cannot cover the demand.
    Raises ValueError if the demand is empty, negative or not finite.
    """
    hourly_demand = _round_up_replicas(hourly_replicas)
    spot_usd_per_hour = None if spot is None or prices.spot is None else spot.compute_usd_per_hour(prices.spot)
    max_spot_replicas = _compute_max_spot(hourly_demand, spot, spot_usd_per_hour, prices.on_demand)
    reserved_candidates = _list_candidate_reservations(
        hourly_demand, max_spot_replicas, spot_usd_per_hour, prices, min_reserved
    )
    costs_usd = [
        (_compute_cost(hourly_demand, max_spot_replicas, spot_usd_per_hour, prices, reserved), reserved)
        for reserved in reserved_candidates
    ]
    cost_usd, reserved = min(costs_usd, default=(math.inf, 0))
    return None if math.isinf(cost_usd) else CommitmentSplit(reserved, cost_usd * (HOURS_PER_YEAR / hourly_demand.size))


def _round_up_replicas(hourly_replicas: npt.ArrayLike) -> Ints:
    hourly_demand = np.asarray(hourly_replicas, dtype=float).ravel()
    if (
        hourly_demand.size == 0
        or not np.isfinite(hourly_demand).all()
        or (hourly_demand < 0).any()
        or (hourly_demand > MAX_REPLICAS).any()
    ):
        raise ValueError(f"the hourly demand must consist of numbers from 0 to {MAX_REPLICAS:,}")
    rounded_replicas: Ints = np.ceil(hourly_demand - 1e-9).astype(np.int64)
    return rounded_replicas


def _compute_max_spot(
    hourly_demand: Ints, spot: SpotTerms | None, spot_usd_per_hour: float | None, on_demand_usd_per_hour: float | None
) -> Ints:
    """Return the highest number of spot instances in each hour: `max_share` of the demand, or 0 if spot has no price
    or is not cheaper than on-demand."""
    if (
        spot is None
        or spot_usd_per_hour is None
        or (on_demand_usd_per_hour is not None and spot_usd_per_hour >= on_demand_usd_per_hour)
    ):
        return np.zeros_like(hourly_demand)
    max_count: Ints = np.floor(hourly_demand * spot.max_share + 1e-9).astype(np.int64)
    return max_count


def _list_candidate_reservations(
    hourly_demand: Ints,
    max_spot_replicas: Ints,
    spot_usd_per_hour: float | None,
    prices: HourlyPrices,
    min_reserved: int,
) -> tuple[int, ...]:
    """Return one or two candidates for the number of reserved instances; the cheapest number is
    among them."""
    if prices.reserved_1y is None:
        return (0,)
    required_count = int((hourly_demand - max_spot_replicas).max()) if prices.on_demand is None else 0
    best_count = required_count + _count_profitable_reservations(
        hourly_demand, max_spot_replicas, spot_usd_per_hour, prices, required_count
    )
    return (best_count,) if best_count >= min_reserved else tuple({0, min_reserved})


def _count_profitable_reservations(
    hourly_demand: Ints,
    max_spot_replicas: Ints,
    spot_usd_per_hour: float | None,
    prices: HourlyPrices,
    required_count: int,
) -> int:
    """Return how many more reserved instances than `required_count` save more than they cost.

    A reserved instance first replaces on-demand instances, then spot instances.
    """
    assert prices.reserved_1y is not None
    hours_by_replicas = _count_hours_by_replicas(hourly_demand)
    hours_beyond_spot = _count_hours_by_replicas(hourly_demand - max_spot_replicas)
    hours_beyond_spot = np.pad(hours_beyond_spot, (0, hours_by_replicas.size - hours_beyond_spot.size))
    savings_usd = (hours_by_replicas - hours_beyond_spot) * (spot_usd_per_hour or 0.0) + hours_beyond_spot * (
        prices.on_demand or 0.0
    )
    return int((savings_usd[required_count:] > prices.reserved_1y * hourly_demand.size).sum())


def _count_hours_by_replicas(hourly_demand: Ints) -> Ints:
    """Return an array whose element k − 1 is the number of hours that need at least k replicas."""
    hours: Ints = np.bincount(hourly_demand)[::-1].cumsum()[::-1]
    return hours[1:]


def _compute_cost(
    hourly_demand: Ints, max_spot_replicas: Ints, spot_usd_per_hour: float | None, prices: HourlyPrices, reserved: int
) -> float:
    """Return the cost in USD over all hours of `hourly_demand`; infinity if a part of
    `hourly_demand` cannot be served."""
    spot_hours, on_demand_hours = _compute_unreserved_hours(hourly_demand, max_spot_replicas, reserved)
    total_usd = reserved * hourly_demand.size * (prices.reserved_1y or 0.0) + spot_hours * (spot_usd_per_hour or 0.0)
    if on_demand_hours and prices.on_demand is None:
        return math.inf
    return total_usd + on_demand_hours * (prices.on_demand or 0.0)


def _compute_unreserved_hours(hourly_demand: Ints, max_spot_replicas: Ints, reserved: int) -> tuple[int, int]:
    """Return the number of replica-hours on spot and on demand, beyond the reserved instances."""
    unreserved_replicas = np.maximum(hourly_demand - reserved, 0)
    spot_replicas = np.minimum(unreserved_replicas, max_spot_replicas)
    return int(spot_replicas.sum()), int((unreserved_replicas - spot_replicas).sum())


_MONTHS_PER_YEAR = 12
_MAX_COST_SHARE = 0.99
_MAX_OFFERS = 40
"""Maximum number of offers considered for a mix. The offers with the lowest cost per rate are used,
since others hardly improve the mix."""


def plan_commitment(best_candidate: Candidate, demand: Demand, plan_inputs: PlanningInputs) -> Commitment | None:
    """Compute the monthly cost of hourly autoscaling, with the best number of reserved instances.

    Return `None` for owned hardware, and if the saving compared with a fixed fleet is less than
    1 %.
    """
    offer = best_candidate.offer
    if offer.on_demand_usd_per_hour is None or best_candidate.price_kind == "owned":
        return None
    rates_per_s = compute_year_rates_per_s(plan_inputs.traffic, plan_inputs.today)
    needed_instances = count_hourly_replicas(
        rates_per_s, np.array([compute_sustained_peak_per_s(1, best_candidate.capacity, demand)])
    )[0]
    hourly_instances = needed_instances + demand.count_spares_of_each(needed_instances.astype(float))
    split = split_commitments(
        hourly_instances, HourlyPrices(offer.on_demand_usd_per_hour, offer.reserved_1y_usd_per_hour)
    )
    if split is None:
        return None
    fixed_usd = HOURS_PER_MONTH * best_candidate.instances * offer.on_demand_usd_per_hour
    cost_usd = split.usd_per_year / _MONTHS_PER_YEAR
    if cost_usd > _MAX_COST_SHARE * fixed_usd:
        return None
    reserved_text = f"{split.reserved} reserved for a year, the rest on-demand" if split.reserved else "all on-demand"
    price_note = "" if offer.reserved_1y_usd_per_hour is not None else "; no reserved price is known"
    sentence = (
        f"Autoscaling hourly ({reserved_text}{price_note}) would cost {format_usd(cost_usd)}/month instead "
        f"of {format_usd(fixed_usd)}/month, without scaling delay."
    )
    return Commitment(split.reserved, cost_usd, fixed_usd, sentence)


def plan_mix(options: Sequence[Option], demand: Demand, plan_inputs: PlanningInputs) -> Mix | None:
    """Return the cheapest mix of two instance types. Return `None` if the mix is not at least 1 %
    cheaper than a single type, or if the fleet has several zones."""
    feasible_candidates = sorted(
        (get_candidate(option) for option in options if option.is_feasible), key=_compute_usd_per_rate
    )[:_MAX_OFFERS]
    if len(feasible_candidates) < 2 or demand.zones > 1:
        return None
    single_type_usd = min(candidate.usd_per_month for candidate in feasible_candidates)
    offers = [
        MixOffer(
            candidate.offer.key,
            candidate.usd_per_hour,
            {"all": compute_sustained_peak_per_s(1, candidate.capacity, demand)},
            _get_owned_units(candidate),
        )
        for candidate in feasible_candidates
    ]
    if _compute_min_mix_cost(offers, demand) > _MAX_COST_SHARE * single_type_usd:
        return None
    limits = MixLimits(2, demand.spares, plan_inputs.limits.budget_usd_per_month, slices=16, time_limit_s=1.0)
    mixed_fleet = solve_mix({"all": demand.peak_per_s}, offers, limits)
    if (
        mixed_fleet is None
        or len(mixed_fleet.count_by_offer) < 2
        or mixed_fleet.usd_per_month > _MAX_COST_SHARE * single_type_usd
    ):
        return None
    parts = tuple(MixPart(key, count) for key, count in sorted(mixed_fleet.count_by_offer.items()))
    parts_text = " and ".join(f"{part.instances} × {part.offer}" for part in parts)
    saving_text = (
        f"{format_usd(single_type_usd - mixed_fleet.usd_per_month)}/month less "
        f"({format_number(100 * (1 - mixed_fleet.usd_per_month / single_type_usd))} %) than the cheapest single type"
    )
    return Mix(
        parts, mixed_fleet.usd_per_month, f"{parts_text} together cost {saving_text}. {mixed_fleet.note or ''}".strip()
    )


def _compute_min_mix_cost(offers: Sequence[MixOffer], demand: Demand) -> float:
    """Return a lower bound of the monthly cost in USD of two instance types: each instance is fully
    utilized, and the spares of both types have the lowest prices."""
    usd_per_rate = min(offer.usd_per_hour / offer.rate_per_s_by_bucket["all"] for offer in offers)
    spare_prices_usd = sorted(offer.usd_per_hour for offer in offers)[:2]
    return HOURS_PER_MONTH * (demand.peak_per_s * usd_per_rate + demand.spares * sum(spare_prices_usd))


def _get_owned_units(candidate: Candidate) -> int | None:
    return candidate.offer.owned.units if candidate.offer.owned is not None else None


def _compute_usd_per_rate(candidate: Candidate) -> float:
    return candidate.usd_per_hour / candidate.capacity.rate_per_s if candidate.capacity.rate_per_s > 0 else math.inf
