"""Alternatives to the recommended fleet: reserved instances, and two instance types together.

Finds how many instances to reserve for a year, how many to run on spot, and how many on demand. A reserved instance is
paid for every hour. The k-th one replaces what would otherwise be rented in every hour that needs at least k, so it
pays off while those hours cost more than it does: beside on-demand instances alone, while it is used in more than
p_r/p_od of the hours, which is the (1 − p_r/p_od) quantile of the demand. Each further one saves less, so counting
those that pay off finds the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from app.planning.candidates import Candidate
from app.planning.demand import compute_year_rates_per_s
from app.planning.formatting import format_number, format_usd
from app.planning.options import Option, get_candidate
from app.planning.pricing.costs import HOURS_PER_YEAR, effective_spot_usd_per_hour
from app.planning.pricing.mixes import MixLimits, MixOffer, solve_mix
from app.planning.pricing.year import count_replicas_by_hour
from app.planning.sizing import HOURS_PER_MONTH, Demand, sustained_peak_per_s
from app.records.plan import Commitment, Mix, MixPart
from app.records.planning_inputs import PlanningInputs

Hours = npt.NDArray[np.int64]
MAX_REPLICAS = 10_000_000


class HourlyPrices(msgspec.Struct, frozen=True):
    """Prices of one instance in USD per hour; `None` for a kind that is not available."""

    on_demand: float | None
    reserved_1y: float | None = None
    spot: float | None = None


class SpotTerms(msgspec.Struct, frozen=True):
    """Conditions for spot instances.

    At most `max_share` of any hour's replicas may be on spot, since those of one market are interrupted together. For
    each one in use 1 + `buffer` are rented, so that a replacement is ready when it is interrupted.
    """

    max_share: float
    interruptions_per_hour: float = 0.05
    cold_start_s: float = 300.0
    buffer: float = 0.0

    def usd_per_hour(self, spot_usd_per_hour: float) -> float:
        instance_usd = effective_spot_usd_per_hour(spot_usd_per_hour, self.interruptions_per_hour, self.cold_start_s)
        return instance_usd * (1 + self.buffer)


class CommitmentSplit(msgspec.Struct, frozen=True):
    """Cheapest split. Hours are replica-hours per year: reserved ones used or not, spot ones without the buffer."""

    reserved: int
    reserved_hours: float
    on_demand_hours: float
    spot_hours: float
    reserved_utilization_share: float | None
    usd_per_year: float
    all_on_demand_usd_per_year: float | None
    saving_usd_per_year: float | None


def split_commitments(
    hourly_replicas: npt.ArrayLike, prices: HourlyPrices, *, min_reserved: int = 0, spot: SpotTerms | None = None
) -> CommitmentSplit | None:
    """Return the cheapest split of the hourly replicas, scaled to a year.

    A fraction of a replica counts as a whole one. It reserves nothing, or at least `min_reserved`. `None` where the
    available prices cannot serve the demand. Raises ValueError where the demand is empty, negative or not finite.
    """
    demand = _whole_replicas(hourly_replicas)
    spot_price = None if spot is None or prices.spot is None else spot.usd_per_hour(prices.spot)
    on_spot = _max_on_spot(demand, spot, spot_price, prices.on_demand)
    candidates = _candidate_reservations(demand, on_spot, spot_price, prices, min_reserved)
    costs = [(_cost(demand, on_spot, spot_price, prices, reserved), reserved) for reserved in candidates]
    cost, reserved = min(costs, default=(math.inf, 0))
    return None if math.isinf(cost) else _split(demand, on_spot, prices, reserved, cost)


def _whole_replicas(hourly_replicas: npt.ArrayLike) -> Hours:
    demand = np.asarray(hourly_replicas, dtype=float).ravel()
    if demand.size == 0 or not np.isfinite(demand).all() or (demand < 0).any() or (demand > MAX_REPLICAS).any():
        raise ValueError(f"the hourly demand must be numbers from 0 to {MAX_REPLICAS:,}")
    rounded: Hours = np.ceil(demand - 1e-9).astype(np.int64)
    return rounded


def _max_on_spot(demand: Hours, spot: SpotTerms | None, price: float | None, on_demand: float | None) -> Hours:
    if spot is None or price is None or (on_demand is not None and price >= on_demand):
        return np.zeros_like(demand)
    max_count: Hours = np.floor(demand * spot.max_share + 1e-9).astype(np.int64)
    return max_count


def _candidate_reservations(
    demand: Hours, on_spot: Hours, spot_price: float | None, prices: HourlyPrices, least_reserved: int
) -> tuple[int, ...]:
    """Return the numbers of reserved instances among which the best one is."""
    if prices.reserved_1y is None:
        return (0,)
    forced = int((demand - on_spot).max()) if prices.on_demand is None else 0
    best = forced + _count_paying(demand, on_spot, spot_price, prices, forced)
    return (best,) if best >= least_reserved else tuple({0, least_reserved})


def _count_paying(demand: Hours, on_spot: Hours, spot_price: float | None, prices: HourlyPrices, forced: int) -> int:
    """Return how many more than `forced` reservations save more than they cost.

    On-demand is replaced first, then spot.
    """
    assert prices.reserved_1y is not None
    hours_needing = _hours_needing(demand)
    beyond_spot = _hours_needing(demand - on_spot)
    beyond_spot = np.pad(beyond_spot, (0, hours_needing.size - beyond_spot.size))
    saved = (hours_needing - beyond_spot) * (spot_price or 0.0) + beyond_spot * (prices.on_demand or 0.0)
    return int((saved[forced:] > prices.reserved_1y * demand.size).sum())


def _hours_needing(demand: Hours) -> Hours:
    """Return, at index k − 1, the number of hours that need at least k."""
    at_least: Hours = np.bincount(demand)[::-1].cumsum()[::-1]
    return at_least[1:]


def _cost(demand: Hours, on_spot: Hours, spot_price: float | None, prices: HourlyPrices, reserved: int) -> float:
    """Return the cost in USD over the hours of the demand; infinite where a part of it cannot be served."""
    spot_hours, on_demand_hours = _unreserved_hours(demand, on_spot, reserved)
    usd = reserved * demand.size * (prices.reserved_1y or 0.0) + spot_hours * (spot_price or 0.0)
    if on_demand_hours and prices.on_demand is None:
        return math.inf
    return usd + on_demand_hours * (prices.on_demand or 0.0)


def _unreserved_hours(demand: Hours, on_spot: Hours, reserved: int) -> tuple[int, int]:
    """Return the replica-hours on spot and on demand."""
    rest = np.maximum(demand - reserved, 0)
    spot = np.minimum(rest, on_spot)
    return int(spot.sum()), int((rest - spot).sum())


def _split(demand: Hours, on_spot: Hours, prices: HourlyPrices, reserved: int, usd: float) -> CommitmentSplit:
    per_year = HOURS_PER_YEAR / demand.size
    spot_hours, on_demand_hours = _unreserved_hours(demand, on_spot, reserved)
    used_hours = int(np.minimum(demand, reserved).sum())
    all_on_demand = None if prices.on_demand is None else int(demand.sum()) * prices.on_demand * per_year
    return CommitmentSplit(
        reserved=reserved,
        reserved_hours=reserved * HOURS_PER_YEAR,
        on_demand_hours=on_demand_hours * per_year,
        spot_hours=spot_hours * per_year,
        reserved_utilization_share=used_hours / (reserved * demand.size) if reserved else None,
        usd_per_year=usd * per_year,
        all_on_demand_usd_per_year=all_on_demand,
        saving_usd_per_year=None if all_on_demand is None else all_on_demand - usd * per_year,
    )


_MONTHS = 12
_MAX_COST_SHARE = 0.99
_MAX_OFFERS = 40
"""Number of offers to mix, those with the highest rate per price; others would not be in the cheapest mix."""


def plan_commitment(best: Candidate, demand: Demand, question: PlanningInputs) -> Commitment | None:
    """Return the cost if instances followed each hour's demand over a year, some of them reserved.

    `None` for owned hardware, and where the saving is too small.
    """
    offer = best.offer
    if offer.on_demand_usd_per_hour is None or best.price_kind == "owned":
        return None
    rates = compute_year_rates_per_s(question.traffic, question.today)
    needed = count_replicas_by_hour(rates, np.array([sustained_peak_per_s(1, best.capacity, demand)]))[0]
    hourly = needed + np.array([demand.count_spares(int(count)) for count in needed])
    split = split_commitments(hourly, HourlyPrices(offer.on_demand_usd_per_hour, offer.reserved_1y_usd_per_hour))
    if split is None:
        return None
    fixed_usd = HOURS_PER_MONTH * best.instances * offer.on_demand_usd_per_hour
    cost_usd = split.usd_per_year / _MONTHS
    if cost_usd > _MAX_COST_SHARE * fixed_usd:
        return None
    reserved = f"{split.reserved} reserved for a year, the rest on demand" if split.reserved else "all on demand"
    why = "" if offer.reserved_1y_usd_per_hour is not None else "; no reserved price is known"
    sentence = (
        f"Autoscaling hourly ({reserved}{why}) would cost {format_usd(cost_usd)} instead of "
        f"{format_usd(fixed_usd)}/month (before scaling delay)."
    )
    return Commitment(split.reserved, cost_usd, fixed_usd, sentence)


def plan_mix(options: Sequence[Option], demand: Demand, question: PlanningInputs) -> Mix | None:
    """Return a mix of two instance types where that is cheaper than either alone."""
    feasible = sorted((get_candidate(candidate) for candidate in options if candidate.is_feasible), key=_usd_per_rate)[
        :_MAX_OFFERS
    ]
    if len(feasible) < 2 or demand.zones > 1:
        return None
    usd_one = min(candidate.usd_per_month for candidate in feasible)
    offers = [
        MixOffer(
            candidate.offer.key,
            candidate.usd_per_hour,
            {"all": sustained_peak_per_s(1, candidate.capacity, demand)},
            _owned_units(candidate),
        )
        for candidate in feasible
    ]
    limits = MixLimits(2, demand.spares, question.limits.budget_usd_per_month, slices=16, time_limit_s=1.0)
    mixed = solve_mix({"all": demand.peak_per_s}, offers, limits)
    if mixed is None or len(mixed.counts) < 2 or mixed.usd_per_month > _MAX_COST_SHARE * usd_one:
        return None
    parts = tuple(MixPart(key, count) for key, count in sorted(mixed.counts.items()))
    named = " and ".join(f"{part.instances} × {part.offer}" for part in parts)
    less = (
        f"{format_usd(usd_one - mixed.usd_per_month)}/month less "
        f"({format_number(100 * (1 - mixed.usd_per_month / usd_one))} %)"
    )
    return Mix(parts, mixed.usd_per_month, f"{named} together cost {less}. {mixed.note or ''}".strip())


def _owned_units(candidate: Candidate) -> int | None:
    return candidate.offer.owned.units if candidate.offer.owned is not None else None


def _usd_per_rate(candidate: Candidate) -> float:
    return candidate.usd_per_hour / candidate.capacity.per_s if candidate.capacity.per_s > 0 else math.inf
