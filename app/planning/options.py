"""Every offer with what one instance carries: by formula for all, by simulation for those that lead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from app.planning.candidates import Candidate, RefusedOffer, consider
from app.planning.capacity import Capacity, carry_over
from app.planning.goals import Goals, Wanted, always, goals_of
from app.planning.latency_curve import LatencyCurve, latency_curve
from app.planning.rates import Refusal
from app.planning.risk import Risk
from app.planning.sizing import Demand
from app.planning.supposed import supposed_capacity, supposed_target
from app.records.metrics import format_metric
from app.records.offers import CapacityCurve, Offer
from app.records.plan_question import MeasuredTarget, PlanQuestion
from app.records.result import Hardware
from app.records.service import TokenService

if TYPE_CHECKING:
    from app.planning.settling import Settling

_SETTLED = 5
_MOST_SETTLED = 12
"""Kinds of replica that are simulated at least, and at most while an unsettled one still leads."""


_NOTHING = MeasuredTarget("nothing", Hardware("nothing"), CapacityCurve((), "latency_ms.p95", 0.0, None, None))


class Option(msgspec.Struct, frozen=True):
    """One offer with the measurement it rests on, and the latencies that go with its capacity."""

    looked_at: Candidate | RefusedOffer
    target: MeasuredTarget
    latencies: LatencyCurve
    carried: Capacity | None

    @property
    def is_feasible(self) -> bool:
        return isinstance(self.looked_at, Candidate) and self.looked_at.refused is None


def options_of(
    question: PlanQuestion, demand: Demand, goals: Goals, *, preview: bool, wanted: Wanted = always
) -> list[Option]:
    """In the catalogue's order."""
    settling = _settling(question, demand, goals, wanted)
    supposed = _supposed(question, goals)
    options = [_option(offer, question, demand, settling, supposed) for offer in question.catalogue.offers]
    return options if settling is None or preview else _settled(options, question, demand, settling)


def candidate_of(option: Option) -> Candidate:
    assert isinstance(option.looked_at, Candidate)
    return option.looked_at


def _settling(question: PlanQuestion, demand: Demand, goals: Goals, wanted: Wanted) -> Settling | None:
    """None where no target has a service model: then its max rate is all there is."""
    if question.supposed is None and all(target.fit is None for target in question.measured):
        return None
    from app.planning.fleet_rate import shape_of  # the simulation takes a second to import
    from app.planning.settling import Settling

    shape = shape_of(question.traffic, goals, question.limits.router, demand.peak_per_s)
    return Settling(shape, demand, wanted, question.slo)


def _supposed(question: PlanQuestion, goals: Goals) -> dict[str, MeasuredTarget | Refusal]:
    """By card, where a model is planned by arithmetic."""
    if question.supposed is None:
        return {}
    cards = {offer.accelerator for offer in question.catalogue.offers if offer.accelerator is not None}
    return {key: supposed_target(question.catalogue.accelerators[key], question, goals) for key in sorted(cards)}


def _option(
    offer: Offer,
    question: PlanQuestion,
    demand: Demand,
    settling: Settling | None,
    supposed: dict[str, MeasuredTarget | Refusal],
) -> Option:
    """By the target that says most of this offer: the least risk, then the narrowest interval, then the fastest."""
    carried = [(target, _carried(target, offer, question)) for target in question.measured]
    known = [(target, capacity) for target, capacity in carried if isinstance(capacity, Capacity)]
    refusals = [capacity for _, capacity in carried if isinstance(capacity, Refusal)]
    if not known and question.supposed is not None:
        found = supposed.get(
            offer.accelerator or "", Refusal("no_accelerator", "a language model is planned on accelerators alone")
        )
        capacity = found if isinstance(found, Refusal) else supposed_capacity(found, offer, question.supposed)
        if isinstance(found, MeasuredTarget) and isinstance(capacity, Capacity):
            known = [(found, capacity)]
        elif isinstance(capacity, Refusal):
            refusals = [capacity]
    if not known:
        looked_at = consider(offer, refusals[0], demand, question.limits, question.today)
        return Option(
            looked_at, question.measured[0] if question.measured else _NOTHING, LatencyCurve((), (), 0.0), None
        )
    sized = [(target, one if settling is None else settling.preview(target, one)) for target, one in known]
    target, capacity = min(sized, key=lambda pair: (_risk(pair[1]), round(pair[1].sigma, 1), -pair[1].per_s))
    looked_at = _considered(offer, target, capacity, demand, question)
    return Option(looked_at, target, latency_curve(target.curve), capacity)


def _considered(
    offer: Offer, target: MeasuredTarget, capacity: Capacity, demand: Demand, question: PlanQuestion
) -> Candidate | RefusedOffer:
    """Against the limits that take the accelerator's data sheet too."""
    limits, card = question.limits, question.catalogue.accelerators.get(offer.accelerator or "")
    looked_at = consider(offer, capacity, demand, limits, question.today)
    unknown = _time_not_known(target, question)
    if unknown is not None and (isinstance(looked_at, Candidate) or looked_at.by == "slo"):
        by, sentence = (looked_at.refused_by, looked_at.refused) if isinstance(looked_at, Candidate) else (None, None)
        return RefusedOffer(offer, sentence or unknown, by or "slo", None if sentence else "token_times_unknown")
    if not isinstance(looked_at, Candidate) or looked_at.refused is not None:
        return looked_at
    if limits.vendors and card is not None and card.vendor not in limits.vendors:
        foreign = f"{card.vendor} is not in plan.vendors"
        return msgspec.structs.replace(looked_at, refused=foreign, refused_by="vendor")
    if limits.max_power_w is None or card is None:
        return looked_at
    if card.tdp_w is None:
        unstated = f"the power of {card.name} is not known"
        return msgspec.structs.replace(looked_at, refused=unstated, refused_by="power")
    power_w = card.tdp_w * offer.accelerator_count * looked_at.instances
    if power_w > limits.max_power_w:
        over = (
            f"{looked_at.instances} instances draw {power_w:,.0f} W, over plan.max_power of {limits.max_power_w:,.0f} W"
        )
        return msgspec.structs.replace(looked_at, refused=over, refused_by="power")
    return looked_at


def _time_not_known(target: MeasuredTarget, question: PlanQuestion) -> str | None:
    """Why an SLO on a token's time cannot be judged by this target; None where it can."""
    if target.fit is None or isinstance(target.fit.laws[0].service, TokenService):
        return None
    goal = next((one for one in goals_of(question.slo).times if one.time != "latency"), None)
    if goal is None:
        return None
    return (
        f"the SLO limits {format_metric(goal.metric)}, and {target.name} has no times of tokens: measure it as a "
        "stream of tokens, or set the SLO on latency_ms"
    )


def _carried(target: MeasuredTarget, offer: Offer, question: PlanQuestion) -> Capacity | Refusal:
    accelerators, other_cards = question.catalogue.accelerators, question.limits.other_cards
    capacity = carry_over(target.curve, target.hardware, offer, accelerators, other_cards)
    if isinstance(capacity, Refusal) or not (target.is_assumed or target.is_hardware_said):
        return capacity
    risk = Risk(3, f"{target.name} is assumed, not measured")
    if not target.is_assumed:
        risk = Risk(2, f"that {target.name} ran on {target.hardware.description} was said, not measured")
    return msgspec.structs.replace(capacity, basis="assumed", risks=(risk, *capacity.risks))


def _risk(capacity: Capacity) -> int:
    return max((risk.level for risk in capacity.risks), default=0)


def _settled(options: list[Option], question: PlanQuestion, demand: Demand, settling: Settling) -> list[Option]:
    """Simulates the kinds of replica of the cheapest offers, until none that leads is left to its formula.

    What misses the SLO by formula is simulated after them: formulae know less of pooled queues than the simulation.
    """
    settled: dict[tuple[str, float, float], int] = {}
    options = list(options)
    for _ in range(_MOST_SETTLED * 2):
        order = sorted(
            (place for place, option in enumerate(options) if option.is_feasible),
            key=lambda place: candidate_of(options[place]).usd_per_month,
        )
        missing = [place for place, option in enumerate(options) if _misses_by_formula(option)]
        missing.sort(key=lambda place: options[place].looked_at.offer.on_demand_usd_per_hour or math.inf)
        waiting = [
            place for place in (*order, *missing) if _kind(options[place]) not in settled and options[place].target.fit
        ]
        leads = bool(waiting) and waiting[0] == (order or missing)[0]
        if not waiting or len(settled) >= _MOST_SETTLED or (len(settled) >= _SETTLED and not leads):
            break
        kind = _kind(options[waiting[0]])
        settled[kind] = len(settled)
        options = [
            _settle(option, question, demand, settling) if option.carried and _kind(option) == kind else option
            for option in options
        ]
    return options


def _misses_by_formula(option: Option) -> bool:
    return isinstance(option.looked_at, RefusedOffer) and option.carried is not None and option.carried.per_s <= 0


def _kind(option: Option) -> tuple[str, float, float]:
    assert option.carried is not None
    return option.target.name, round(option.carried.speed, 9), round(option.carried.speed_sigma, 9)


def _settle(option: Option, question: PlanQuestion, demand: Demand, settling: Settling) -> Option:
    assert option.carried is not None
    if not (isinstance(option.looked_at, Candidate) or _misses_by_formula(option)):
        return option
    found = settling.settle(option.target, option.carried)
    if found is None:
        return option
    capacity, latencies = found
    again = _considered(option.looked_at.offer, option.target, capacity, demand, question)
    return msgspec.structs.replace(option, looked_at=again, latencies=latencies, carried=capacity)
