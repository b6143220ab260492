"""What else could be rented: reserved instances, and two types of instance together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from app.planning.candidates import Candidate
from app.planning.commitments import HourlyPrices, split_commitments
from app.planning.demand import year_rates_per_s
from app.planning.mixes import MixLimits, MixOffer, mix
from app.planning.options import Option, candidate_of
from app.planning.sizing import HOURS_A_MONTH, Demand, peak_carried_per_s
from app.planning.wording import amount, usd
from app.planning.year import replicas_by_hour
from app.records.plan import Commitment, Mix, MixPart
from app.records.plan_question import PlanQuestion

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
