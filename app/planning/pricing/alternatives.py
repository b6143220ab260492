"""What else could be rented: reserved instances, and two types of instance together.

How many instances to reserve for a year, how many to run on spot, and the rest on demand.

A reserved instance is paid for every hour. The k-th one replaces what else would have been rented
in every hour that needs at least k, so it pays while those hours' cost is above its own: with
on-demand alone beside it, while it is used in more than p_r/p_od of the hours, which is the (1 −
p_r/p_od) quantile of the demand. Each further one saves less, so counting those that pay finds the
optimum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from app.planning.candidates import Candidate
from app.planning.demand import year_rates_per_s
from app.planning.options import Option, candidate_of
from app.planning.pricing.costs import HOURS_A_YEAR, effective_spot_usd_per_hour
from app.planning.pricing.mixes import MixLimits, MixOffer, mix
from app.planning.pricing.year import replicas_by_hour
from app.planning.sizing import HOURS_A_MONTH, Demand, peak_carried_per_s
from app.planning.wording import amount, usd
from app.records.plan import Commitment, Mix, MixPart
from app.records.plan_question import PlanQuestion

Hours = npt.NDArray[np.int64]
MOST_REPLICAS = 10_000_000


class HourlyPrices(msgspec.Struct, frozen=True):
    """USD per hour of one instance; None where it cannot be had so."""

    on_demand: float | None
    reserved_1y: float | None = None
    spot: float | None = None


class SpotTerms(msgspec.Struct, frozen=True):
    """At most `most_share` of any hour's replicas may be on spot, since those of one market go together; for each in
    use there are 1 + `buffer` rented, which are there when it goes."""

    most_share: float
    interruptions_per_hour: float = 0.05
    cold_start_s: float = 300.0
    buffer: float = 0.0

    def usd_per_hour(self, spot_usd_per_hour: float) -> float:
        each = effective_spot_usd_per_hour(spot_usd_per_hour, self.interruptions_per_hour, self.cold_start_s)
        return each * (1 + self.buffer)


class Split(msgspec.Struct, frozen=True):
    """The cheapest way. Hours are replica-hours a year: reserved ones used or not, spot ones without the buffer."""

    reserved: int
    reserved_hours: float
    on_demand_hours: float
    spot_hours: float
    used_share_of_reserved: float | None
    usd_per_year: float
    all_on_demand_usd_per_year: float | None
    saving_usd_per_year: float | None


def split_commitments(
    hourly_replicas: npt.ArrayLike, prices: HourlyPrices, *, least_reserved: int = 0, spot: SpotTerms | None = None
) -> Split | None:
    """The cheapest split of the hours' replicas, scaled to a year where they are not one; a part of one counts whole.

    One reserves nothing, or at least `least_reserved`. None where the prices that there are cannot carry the demand.
    Raises ValueError where the demand is empty, negative or not finite.
    """
    demand = _whole(hourly_replicas)
    spot_price = None if spot is None or prices.spot is None else spot.usd_per_hour(prices.spot)
    on_spot = _most_on_spot(demand, spot, spot_price, prices.on_demand)
    candidates = _reservations(demand, on_spot, spot_price, prices, least_reserved)
    costs = [(_cost(demand, on_spot, spot_price, prices, reserved), reserved) for reserved in candidates]
    cost, reserved = min(costs, default=(math.inf, 0))
    return None if math.isinf(cost) else _split(demand, on_spot, prices, reserved, cost)


def _whole(hourly_replicas: npt.ArrayLike) -> Hours:
    demand = np.asarray(hourly_replicas, dtype=float).ravel()
    if demand.size == 0 or not np.isfinite(demand).all() or (demand < 0).any() or (demand > MOST_REPLICAS).any():
        raise ValueError(f"the hourly demand must be numbers from 0 to {MOST_REPLICAS:,}")
    whole: Hours = np.ceil(demand - 1e-9).astype(np.int64)
    return whole


def _most_on_spot(demand: Hours, spot: SpotTerms | None, price: float | None, on_demand: float | None) -> Hours:
    if spot is None or price is None or (on_demand is not None and price >= on_demand):
        return np.zeros_like(demand)
    most: Hours = np.floor(demand * spot.most_share + 1e-9).astype(np.int64)
    return most


def _reservations(
    demand: Hours, on_spot: Hours, spot_price: float | None, prices: HourlyPrices, least_reserved: int
) -> tuple[int, ...]:
    """Numbers of reserved instances among which the best is."""
    if prices.reserved_1y is None:
        return (0,)
    forced = int((demand - on_spot).max()) if prices.on_demand is None else 0
    best = forced + _paying(demand, on_spot, spot_price, prices, forced)
    return (best,) if best >= least_reserved else tuple({0, least_reserved})


def _paying(demand: Hours, on_spot: Hours, spot_price: float | None, prices: HourlyPrices, forced: int) -> int:
    """How many more than `forced` replace more than they cost. On-demand is replaced first, then spot."""
    assert prices.reserved_1y is not None
    needing = _hours_needing(demand)
    beyond_spot = _hours_needing(demand - on_spot)
    beyond_spot = np.pad(beyond_spot, (0, needing.size - beyond_spot.size))
    saved = (needing - beyond_spot) * (spot_price or 0.0) + beyond_spot * (prices.on_demand or 0.0)
    return int((saved[forced:] > prices.reserved_1y * demand.size).sum())


def _hours_needing(demand: Hours) -> Hours:
    """At k − 1, the number of hours that need at least k."""
    at_least: Hours = np.bincount(demand)[::-1].cumsum()[::-1]
    return at_least[1:]


def _cost(demand: Hours, on_spot: Hours, spot_price: float | None, prices: HourlyPrices, reserved: int) -> float:
    """USD over the hours of the demand; infinite where nothing may carry a part of it."""
    spot_hours, on_demand_hours = _beyond(demand, on_spot, reserved)
    usd = reserved * demand.size * (prices.reserved_1y or 0.0) + spot_hours * (spot_price or 0.0)
    if on_demand_hours and prices.on_demand is None:
        return math.inf
    return usd + on_demand_hours * (prices.on_demand or 0.0)


def _beyond(demand: Hours, on_spot: Hours, reserved: int) -> tuple[int, int]:
    """Replica-hours on spot and on demand."""
    rest = np.maximum(demand - reserved, 0)
    spot = np.minimum(rest, on_spot)
    return int(spot.sum()), int((rest - spot).sum())


def _split(demand: Hours, on_spot: Hours, prices: HourlyPrices, reserved: int, usd: float) -> Split:
    a_year = HOURS_A_YEAR / demand.size
    spot_hours, on_demand_hours = _beyond(demand, on_spot, reserved)
    used = int(np.minimum(demand, reserved).sum())
    whole = None if prices.on_demand is None else int(demand.sum()) * prices.on_demand * a_year
    return Split(
        reserved=reserved,
        reserved_hours=reserved * HOURS_A_YEAR,
        on_demand_hours=on_demand_hours * a_year,
        spot_hours=spot_hours * a_year,
        used_share_of_reserved=used / (reserved * demand.size) if reserved else None,
        usd_per_year=usd * a_year,
        all_on_demand_usd_per_year=whole,
        saving_usd_per_year=None if whole is None else whole - usd * a_year,
    )


_MONTHS = 12
_WORTH_TELLING = 0.99
_MIXED = 40
"""Offers that carry most for their price are mixed; others would not be in the cheapest."""


def commitment_of(best: Candidate, demand: Demand, question: PlanQuestion) -> Commitment | None:
    """Instances that follow each hour's need over a year, some of them reserved; None for owned hardware."""
    offer = best.offer
    if offer.on_demand_usd_per_hour is None or best.price_kind == "owned":
        return None
    rates = year_rates_per_s(question.traffic, question.today)
    needed = replicas_by_hour(rates, np.array([peak_carried_per_s(1, best.capacity, demand)]))[0]
    hourly = needed + np.array([demand.spares_of(int(one)) for one in needed])
    split = split_commitments(hourly, HourlyPrices(offer.on_demand_usd_per_hour, offer.reserved_1y_usd_per_hour))
    if split is None:
        return None
    all_time = HOURS_A_MONTH * best.instances * offer.on_demand_usd_per_hour
    followed = split.usd_per_year / _MONTHS
    if followed > _WORTH_TELLING * all_time:
        return None
    reserved = f"{split.reserved} reserved for a year, the rest on demand" if split.reserved else "all on demand"
    why = "" if offer.reserved_1y_usd_per_hour is not None else "; no price of a reservation is known"
    sentence = (
        f"Were instances to follow each hour's need ({reserved}{why}), a month would cost {usd(followed)} instead of "
        f"{usd(all_time)}, before what scaling is late for."
    )
    return Commitment(split.reserved, followed, all_time, sentence)


def mix_of(options: Sequence[Option], demand: Demand, question: PlanQuestion) -> Mix | None:
    """Two types of instance together, where that is cheaper than any one alone."""
    feasible = sorted((candidate_of(one) for one in options if one.is_feasible), key=_usd_per_rate)[:_MIXED]
    if len(feasible) < 2 or demand.zones > 1:
        return None
    alone = min(one.usd_per_month for one in feasible)
    offers = [
        MixOffer(one.offer.key, one.usd_per_hour, {"all": peak_carried_per_s(1, one.capacity, demand)}, _most(one))
        for one in feasible
    ]
    limits = MixLimits(2, demand.spares, question.limits.budget_usd_per_month, slices=16, within_s=1.0)
    found = mix({"all": demand.peak_per_s}, offers, limits)
    if found is None or len(found.counts) < 2 or found.usd_per_month > _WORTH_TELLING * alone:
        return None
    parts = tuple(MixPart(key, count) for key, count in sorted(found.counts.items()))
    named = " and ".join(f"{part.instances} × {part.offer}" for part in parts)
    less = f"{usd(alone - found.usd_per_month)} a month less ({amount(100 * (1 - found.usd_per_month / alone))} %)"
    return Mix(parts, found.usd_per_month, f"{named} together cost {less}. {found.note or ''}".strip())


def _most(candidate: Candidate) -> int | None:
    return candidate.offer.owned.units if candidate.offer.owned is not None else None


def _usd_per_rate(candidate: Candidate) -> float:
    return candidate.usd_per_hour / candidate.capacity.per_s if candidate.capacity.per_s > 0 else math.inf
