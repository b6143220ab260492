"""Every offer with the capacity of one instance: by formula for all of them, by simulation for the leading ones."""

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

_MIN_SIMULATED = 5
_MAX_SIMULATED = 12
"""Kinds of replica that are simulated at least, and at most while one without a simulation still leads."""


_NO_TARGET = MeasuredTarget("nothing", Hardware("nothing"), CapacityCurve((), "latency_ms.p95", 0.0, None, None))


class Option(msgspec.Struct, frozen=True):
    """One offer with the measurement it is based on, and the latencies that belong to its capacity."""

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
    """Return one option per offer, in the order of the catalog."""
    sizer = _build_sizer(question, demand, goals, wanted)
    assumed_targets = _assumed_targets(question, goals)
    options = [_option(offer, question, demand, sizer, assumed_targets) for offer in question.catalogue.offers]
    return options if sizer is None or preview else _simulate_leading(options, question, demand, sizer)


def candidate_of(option: Option) -> Candidate:
    assert isinstance(option.looked_at, Candidate)
    return option.looked_at


def _build_sizer(question: PlanQuestion, demand: Demand, goals: Goals, should_continue: Wanted) -> Settling | None:
    """Return the fleet sizer; `None` where no target has a service model, so that only its max rate is known."""
    if question.supposed is None and all(target.fit is None for target in question.measured):
        return None
    from app.planning.fleet_rate import shape_of  # imported here because the simulation takes a second to import
    from app.planning.settling import Settling

    shape = shape_of(question.traffic, goals, question.limits.router, demand.peak_per_s)
    return Settling(shape, demand, should_continue, question.slo)


def _assumed_targets(question: PlanQuestion, goals: Goals) -> dict[str, MeasuredTarget | Refusal]:
    """Return the assumed target of each card, where a model is planned by arithmetic."""
    if question.supposed is None:
        return {}
    cards = {offer.accelerator for offer in question.catalogue.offers if offer.accelerator is not None}
    return {
        card_key: supposed_target(question.catalogue.accelerators[card_key], question, goals)
        for card_key in sorted(cards)
    }


def _option(
    offer: Offer,
    question: PlanQuestion,
    demand: Demand,
    sizer: Settling | None,
    assumed_targets: dict[str, MeasuredTarget | Refusal],
) -> Option:
    """Return the option of an offer.

    It is based on the target that is most informative for it: lowest risk, then narrowest interval, then fastest.
    """
    capacities = [(target, _extrapolated(target, offer, question)) for target in question.measured]
    known = [(target, capacity) for target, capacity in capacities if isinstance(capacity, Capacity)]
    refusals = [capacity for _, capacity in capacities if isinstance(capacity, Refusal)]
    if not known and question.supposed is not None:
        assumed = assumed_targets.get(
            offer.accelerator or "", Refusal("no_accelerator", "a language model is planned on accelerators alone")
        )
        capacity = assumed if isinstance(assumed, Refusal) else supposed_capacity(assumed, offer, question.supposed)
        if isinstance(assumed, MeasuredTarget) and isinstance(capacity, Capacity):
            known = [(assumed, capacity)]
        elif isinstance(capacity, Refusal):
            refusals = [capacity]
    if not known:
        evaluated = consider(offer, refusals[0], demand, question.limits, question.today)
        return Option(
            evaluated, question.measured[0] if question.measured else _NO_TARGET, LatencyCurve((), (), 0.0), None
        )
    sized = [
        (target, measured_capacity if sizer is None else sizer.preview(target, measured_capacity))
        for target, measured_capacity in known
    ]
    target, capacity = min(sized, key=lambda pair: (_risk(pair[1]), round(pair[1].sigma, 1), -pair[1].per_s))
    evaluated = _evaluate(offer, target, capacity, demand, question)
    return Option(evaluated, target, latency_curve(target.curve), capacity)


def _evaluate(
    offer: Offer, target: MeasuredTarget, capacity: Capacity, demand: Demand, question: PlanQuestion
) -> Candidate | RefusedOffer:
    """Evaluate the offer, including the limits that need the accelerator's data sheet."""
    limits, card = question.limits, question.catalogue.accelerators.get(offer.accelerator or "")
    evaluated = consider(offer, capacity, demand, limits, question.today)
    time_reason = _missing_time_reason(target, question)
    if time_reason is not None and (isinstance(evaluated, Candidate) or evaluated.by == "slo"):
        by, sentence = (evaluated.refused_by, evaluated.refused) if isinstance(evaluated, Candidate) else (None, None)
        return RefusedOffer(offer, sentence or time_reason, by or "slo", None if sentence else "token_times_unknown")
    if not isinstance(evaluated, Candidate) or evaluated.refused is not None:
        return evaluated
    if limits.vendors and card is not None and card.vendor not in limits.vendors:
        reason = f"{card.vendor} is not in plan.vendors"
        return msgspec.structs.replace(evaluated, refused=reason, refused_by="vendor")
    if limits.max_power_w is None or card is None:
        return evaluated
    if card.tdp_w is None:
        reason = f"the power of {card.name} is not known"
        return msgspec.structs.replace(evaluated, refused=reason, refused_by="power")
    power_w = card.tdp_w * offer.accelerator_count * evaluated.instances
    if power_w > limits.max_power_w:
        reason = (
            f"{evaluated.instances} instances draw {power_w:,.0f} W, over plan.max_power of {limits.max_power_w:,.0f} W"
        )
        return msgspec.structs.replace(evaluated, refused=reason, refused_by="power")
    return evaluated


def _missing_time_reason(target: MeasuredTarget, question: PlanQuestion) -> str | None:
    """Return why this target cannot evaluate an SLO on the time of tokens; `None` where it can."""
    if target.fit is None or isinstance(target.fit.laws[0].service, TokenService):
        return None
    goal = next((goal_of_slo for goal_of_slo in goals_of(question.slo).times if goal_of_slo.time != "latency"), None)
    if goal is None:
        return None
    return (
        f"the SLO limits {format_metric(goal.metric)}, and {target.name} has no times of tokens: measure it as a "
        "stream of tokens, or set the SLO on latency_ms"
    )


def _extrapolated(target: MeasuredTarget, offer: Offer, question: PlanQuestion) -> Capacity | Refusal:
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


def _simulate_leading(options: list[Option], question: PlanQuestion, demand: Demand, sizer: Settling) -> list[Option]:
    """Simulate the kinds of replica of the cheapest offers until every leading one is simulated.

    Those that miss the SLO by formula are simulated after them: the formulas know less of pooled queues than the
    simulation.
    """
    simulated: dict[tuple[str, float, float], int] = {}
    options = list(options)
    for _ in range(_MAX_SIMULATED * 2):
        order = sorted(
            (index for index, option in enumerate(options) if option.is_feasible),
            key=lambda index: candidate_of(options[index]).usd_per_month,
        )
        missing = [index for index, option in enumerate(options) if _misses_by_formula(option)]
        missing.sort(key=lambda index: options[index].looked_at.offer.on_demand_usd_per_hour or math.inf)
        pending = [
            index
            for index in (*order, *missing)
            if _kind(options[index]) not in simulated and options[index].target.fit
        ]
        leads = bool(pending) and pending[0] == (order or missing)[0]
        if not pending or len(simulated) >= _MAX_SIMULATED or (len(simulated) >= _MIN_SIMULATED and not leads):
            break
        kind = _kind(options[pending[0]])
        simulated[kind] = len(simulated)
        options = [
            _simulate_option(option, question, demand, sizer) if option.carried and _kind(option) == kind else option
            for option in options
        ]
    return options


def _misses_by_formula(option: Option) -> bool:
    return isinstance(option.looked_at, RefusedOffer) and option.carried is not None and option.carried.per_s <= 0


def _kind(option: Option) -> tuple[str, float, float]:
    assert option.carried is not None
    return option.target.name, round(option.carried.speed, 9), round(option.carried.speed_sigma, 9)


def _simulate_option(option: Option, question: PlanQuestion, demand: Demand, sizer: Settling) -> Option:
    assert option.carried is not None
    if not (isinstance(option.looked_at, Candidate) or _misses_by_formula(option)):
        return option
    result = sizer.settle(option.target, option.carried)
    if result is None:
        return option
    capacity, latencies = result
    evaluated = _evaluate(option.looked_at.offer, option.target, capacity, demand, question)
    return msgspec.structs.replace(option, looked_at=evaluated, latencies=latencies, carried=capacity)
