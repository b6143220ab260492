"""The recommendation in words, every one of them made from the plan's numbers.

Where owning beats renting, and one's own fleet an API's price, as sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from app.planning.candidates import Candidate
from app.planning.options import Option, candidate_of
from app.planning.pricing.ownership import break_even_owned, break_even_volume
from app.planning.sizing import (
    HOURS_A_MONTH,
    Demand,
    assurance_reached,
    instances_needed,
    monthly_cost,
    peak_carried_per_s,
)
from app.planning.wording import amount, share, usd
from app.records.checks import Check
from app.records.offers import ApiPrice, CapacityCurve, PlanLimits
from app.records.plan import CapacityKnowledge
from app.records.plan_question import PlanQuestion
from app.records.result import Fleet, Objective, Recommendation

_MOST_STEPS = 2000


class Selection(msgspec.Struct, frozen=True):
    """What was chosen, and what it was chosen over."""

    best: Candidate
    fleet: Fleet
    runner_up: Candidate | None
    cheapest_rejected: Fleet | None


def recommend(
    choice: Selection,
    demand: Demand,
    limits: PlanLimits,
    curve: CapacityCurve,
    slo: Sequence[Objective],
    knowledge: CapacityKnowledge | None = None,
    checks: Sequence[Check] = (),
) -> Recommendation:
    return Recommendation(
        fleet=choice.fleet,
        sentence=_sentence(choice.best, choice.fleet, checks),
        binding_constraint=_binding_constraint(choice.best, demand, limits, curve, slo),
        why=tuple(_why(choice, demand, limits, knowledge)),
        would_change_it=tuple(_would_change_it(choice.best, choice.runner_up, demand, limits)),
    )


def _named(candidate: Candidate) -> str:
    offer = candidate.offer
    return f"{candidate.instances} × {offer.provider}/{offer.instance_type} in {offer.region}"


def _sentence(best: Candidate, fleet: Fleet, checks: Sequence[Check]) -> str:
    spares = f", {best.spares} spare" if best.spares else ", no spare"
    per_1k = fleet.usd_per_1k_inferences.value
    each = "" if per_1k is None else f", {usd(per_1k)} per 1k inferences"
    old = "" if not checks else f". WARN: the price is {fleet.price_age_days} days old"
    return f"{_named(best)} ({best.needed} for the load{spares}): {usd(best.usd_per_month)} a month{each}{old}"


def _binding_constraint(
    best: Candidate, demand: Demand, limits: PlanLimits, curve: CapacityCurve, slo: Sequence[Objective]
) -> str:
    limits_latency = [one for one in slo if one.name == curve.latency_metric]
    limiting = " and ".join(one.text for one in limits_latency[:1] or slo)
    carried = f"one instance is sized at {amount(peak_carried_per_s(1, best.capacity, demand))}/s inside {limiting}"
    peak = f"the peak of {amount(demand.peak_per_s)}/s"
    if best.needed == 1 and best.spares:
        words = f"redundancy: {carried} and would do for {peak}; n+{best.spares} makes it {best.instances}"
    elif best.needed == 1:
        words = f"the size of an instance: {carried}, and {peak} does not fill it"
    else:
        words = f"the peak: {carried} at {share(limits.assurance)} assurance, so {peak} needs {best.needed}"
        words += f", and n+{best.spares} makes it {best.instances}" if best.spares else ""
    budget = limits.budget_usd_per_month
    if budget is not None and monthly_cost(best.instances + 1, best.usd_per_hour) > budget:
        words += f"; the budget of {usd(budget)} a month has no room for another"
    return words


def _why(choice: Selection, demand: Demand, limits: PlanLimits, knowledge: CapacityKnowledge | None) -> list[str]:
    best, runner_up, rejected = choice.best, choice.runner_up, choice.cheapest_rejected
    reached = share(assurance_reached(best.needed, best.capacity, demand))
    subject = "One instance carries" if best.needed == 1 else f"{best.needed} instances carry"
    words = [f"{subject} the peak with a probability of {reached}; {share(limits.assurance)} was asked."]
    if knowledge is not None and knowledge.state != "known":
        words = [knowledge.headline, knowledge.next_step, *words]
    if knowledge is not None and knowledge.reason == "contradictory load points":
        words[-1] = "No probability is stated: the load points contradict each other."
    if runner_up is None:
        words.append("No other offer fits.")
    else:
        more = runner_up.usd_per_month - best.usd_per_month
        way = "more" if more >= 0 else "less"
        cost = f"costs {usd(abs(more))} a month {way} ({abs(more) / best.usd_per_month:.0%})"
        if more == 0:
            cost = "costs the same"
        why = "" if more >= 0 else f", at a less certain price of {runner_up.offer.as_of}"
        words.append(f"The runner-up, {_named(runner_up)}, {cost}{why}.")
    if rejected is not None:
        price = "" if rejected.usd_per_hour_each is None else f", at {usd(rejected.usd_per_hour_each)} an hour each"
        words.append(f"The cheapest refused offer is {rejected.offer}{price}: {rejected.rejected}.")
    return words


def _would_change_it(best: Candidate, runner_up: Candidate | None, demand: Demand, limits: PlanLimits) -> list[str]:
    carried = peak_carried_per_s(best.needed, best.capacity, demand)
    words = [f"A peak above {amount(carried)}/s needs one more instance."]
    if best.needed > 1:
        fewer = peak_carried_per_s(best.needed - 1, best.capacity, demand)
        words.append(f"A peak up to {amount(fewer)}/s needs one less.")
    if limits.budget_usd_per_month is not None:
        words.append(f"A budget under {usd(best.usd_per_month)} a month does not pay for it.")
    if runner_up is not None:
        flip = best.usd_per_month / (HOURS_A_MONTH * runner_up.instances)
        name = f"{runner_up.offer.provider}/{runner_up.offer.instance_type} in {runner_up.offer.region}"
        if flip < runner_up.usd_per_hour:
            words.append(f"{name} would win below {usd(flip)} an hour; it costs {usd(runner_up.usd_per_hour)}.")
        won = [amount(peak) for peak in _peaks_won_by(runner_up, best, demand) if peak is not None]
        if won:
            words.append(f"{name} would win at a peak of {'/s or of '.join(dict.fromkeys(won))}/s.")
    return words


def _peaks_won_by(other: Candidate, best: Candidate, demand: Demand) -> tuple[float | None, float | None]:
    """The nearest peaks below and above the planned one at which the other fleet is the cheaper one.

    Costs are steps, and a fleet is at its cheapest just as it is full: those peaks are looked at.
    """

    def wins(instances: int) -> bool:
        there = msgspec.structs.replace(demand, peak_per_s=peak_carried_per_s(instances, other.capacity, demand))
        needed = instances_needed(there, best.capacity, demand.z)
        theirs = instances + demand.spares_of(instances) + other.spot_spares
        ours = needed + demand.spares_of(needed) + best.spot_spares
        return monthly_cost(theirs, other.usd_per_hour) < monthly_cost(ours, best.usd_per_hour)

    below = range(other.needed - 1, max(0, other.needed - _MOST_STEPS), -1)
    above = range(other.needed, other.needed + _MOST_STEPS)
    won = (next((instances for instances in side if wins(instances)), None) for side in (below, above))
    lower, higher = (None if one is None else peak_carried_per_s(one, other.capacity, demand) for one in won)
    return lower, higher


_SECONDS_A_MONTH = HOURS_A_MONTH * 3600


def break_even_of(options: Sequence[Option], demand: Demand, question: PlanQuestion) -> tuple[str, ...]:
    feasible = sorted((candidate_of(one) for one in options if one.is_feasible), key=lambda one: one.usd_per_month)
    return (*_owned(feasible), *_api(feasible[0], demand, question))


def _owned(feasible: Sequence[Candidate]) -> Iterator[str]:
    rented = next((one for one in feasible if one.price_kind != "owned"), None)
    for one in (candidate for candidate in feasible if candidate.offer.owned is not None):
        if rented is None or one.offer.owned is None:
            continue
        months = break_even_owned(one.offer.owned, rented.usd_per_month / one.instances)
        beside = f"{rented.instances} × {rented.offer.key} at {usd(rented.usd_per_month)} a month"
        what = f"{one.instances} × {one.offer.key}, bought,"
        if months is None:
            yield f"{what} never cost less than {beside} within their life."
        else:
            yield f"{what} have paid for themselves against {beside} after {amount(months)} months, interest left out."


def _api(best: Candidate, demand: Demand, question: PlanQuestion) -> Iterator[str]:
    price = question.limits.api
    if price is None:
        return
    units = _units_a_month(price, demand, question)
    if units is None:
        yield "An API's price by tokens is compared where traffic.tokens says how many a request has."
        return
    theirs, ours = price.usd * units, best.usd_per_month
    even = break_even_volume(ours, price.usd)
    assert even is not None
    more = "less" if ours < theirs else "more"
    yield (
        f"The API would cost {usd(theirs)} a month at this traffic, and this fleet costs {usd(ours)}, which is {more}; "
        f"they are even at {amount(even / units)} of the traffic, if the fleet stayed as it is."
    )


def _units_a_month(price: ApiPrice, demand: Demand, question: PlanQuestion) -> float | None:
    """Those of the API: what a cache answers is not asked of either."""
    requests = demand.mean_per_s * _SECONDS_A_MONTH
    if price.per == "1k requests":
        return requests / 1e3
    tokens = question.traffic.tokens
    share = sum(one.share for one in tokens)
    if not share:
        return None
    return requests * sum(one.share * (one.input + one.output) for one in tokens) / share / 1e6
