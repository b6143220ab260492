"""From what was measured to what to rent: every offer sized, priced and ranked; what leads is settled by simulation.

All of it is arithmetic on the question, chances seeded: the same one gives the same plan, also next year.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import msgspec

from app.planning.candidates import RefusedOffer, fleet_of, fleets_of, ranking_cost, refused_fleet
from app.planning.changes import savings_of
from app.planning.explanation import Selection, break_even_of, recommend
from app.planning.goals import Goals, Wanted, always, goals_of
from app.planning.knowledge import SloEvidence, knowledge_of, slo_evidence
from app.planning.options import Option, candidate_of, options_of
from app.planning.pareto import pareto_front, with_front_chances
from app.planning.peak_day import peak_day
from app.planning.plan_notes import bound_note, notes_of
from app.planning.pricing.alternatives import commitment_of, mix_of
from app.planning.pricing.fleet_costs import with_costs
from app.planning.pricing.year import outlook_of
from app.planning.risk import price_checks
from app.planning.sensitivity import sensitivity_of
from app.planning.service_models.measured import with_measured_tokens
from app.planning.sizing import Demand, demand_of
from app.planning.wording import amount
from app.records.plan import CapacityKnowledge, Fleet, Plan
from app.records.plan_question import MeasuredTarget, PlanQuestion


def plan_fleets(question: PlanQuestion, *, preview: bool = False, wanted: Wanted = always) -> Plan:
    """Feasible fleets come first in `offers`, cheapest first; refused ones after them, with the reason.

    A preview stops at the formulae, within 200 ms; what leads is otherwise simulated, and `wanted` is asked between
    plays: raises NoLongerWantedError where the plan is not.
    """
    question = with_measured_tokens(question)
    demand = demand_of(question.traffic, question.limits, question.today)
    goals = goals_of(question.slo)
    sized = options_of(question, demand, goals, preview=preview, wanted=wanted)
    found = _slo_evidence(sized, question, goals)
    knowledge = [_knowledge_of(option, found, goals, demand) for option in sized]
    options = [_unless_unknown(option, known) for option, known in zip(sized, knowledge, strict=True)]
    ranked = _ranked(options, demand, question, found)
    refused = _refused(options, question.today)
    best, best_fleet = ranked[0] if ranked else (None, None)
    others = [(option, fleet) for option, fleet in ranked[1:] if best and _is_another(option, best)]
    runner_up, runner_up_fleet = others[0] if others else (None, None)
    cheapest_rejected = refused[0] if refused else None
    targets = [best.target] if best else [option.target for option in options] or list(question.measured)
    target = targets[0]
    limits = question.limits
    plan = Plan(
        traffic=msgspec.structs.replace(question.traffic, rows=None, token_sample=None),
        slo=tuple(objective.text for objective in question.slo),
        assurance=limits.assurance,
        redundancy=limits.redundancy,
        latency_metric=_latency_metric(target, goals),
        planned_on=question.today.isoformat(),
        recommendation=None,
        runner_up=runner_up_fleet,
        cheapest_rejected=cheapest_rejected,
        offers=(*(fleet for _, fleet in ranked), *refused),
        pareto=(),
        notes=notes_of(question, demand, goals, [fleet for _, fleet in ranked], refused),
        router=limits.router,
        knowledge=_leading_knowledge(best, options, knowledge),
    )
    if best is None or best_fleet is None:
        return plan
    chosen = candidate_of(best)
    bound = bound_note(chosen.capacity, best.target.name)
    checks = price_checks(chosen.offer, question.today)
    choice = Selection(chosen, best_fleet, candidate_of(runner_up) if runner_up else None, cheapest_rejected)
    return msgspec.structs.replace(
        plan,
        notes=(
            *(f"{check.verdict} {check.name}: {check.hint}" for check in checks),
            *plan.notes,
            *(() if bound is None else (bound,)),
        ),
        recommendation=recommend(choice, demand, limits, target.curve, question.slo, plan.knowledge, checks),
        checks=checks,
        pareto=_front(options, demand, question),
        sensitivity=sensitivity_of(options, demand, question, goals),
        day=() if preview else peak_day(best, question, goals),
        outlook=None if preview else outlook_of(chosen, demand, question),
        commitment=commitment_of(chosen, demand, question),
        break_even=break_even_of(options, demand, question),
        savings=savings_of(options, best, demand, question, goals, preview=preview),
        mix=None if preview else mix_of(options, demand, question),
    )


def _slo_evidence(options: Sequence[Option], question: PlanQuestion, goals: Goals) -> dict[str, SloEvidence]:
    """By the name of the target: many offers share one."""
    targets = {option.target.name: option.target for option in options}
    return {name: slo_evidence(target, question.slo, goals) for name, target in targets.items()}


def _knowledge_of(
    option: Option, found: Mapping[str, SloEvidence], goals: Goals, demand: Demand
) -> CapacityKnowledge | None:
    """None of an offer that is refused for another reason."""
    if not option.is_feasible:
        return None
    return knowledge_of(candidate_of(option).capacity, found[option.target.name], goals, demand)


def _unless_unknown(option: Option, known: CapacityKnowledge | None) -> Option:
    if known is None or known.state != "unknown":
        return option
    spread = known.per_instance_per_s
    why = f"its capacity is not known well enough: {amount(spread.p10)} to {amount(spread.p90)}/s per instance"
    return msgspec.structs.replace(option, looked_at=msgspec.structs.replace(candidate_of(option), refused=why))


def _leading_knowledge(
    best: Option | None, options: Sequence[Option], knowledge: Sequence[CapacityKnowledge | None]
) -> CapacityKnowledge | None:
    """Of the recommended offer, else of the cheapest one that is refused because its capacity is unknown."""
    if best is not None:
        return next(known for option, known in zip(options, knowledge, strict=True) if option is best)
    unknown = [(option, known) for option, known in zip(options, knowledge, strict=True) if known is not None]
    cheapest = min(unknown, key=lambda pair: candidate_of(pair[0]).usd_per_month, default=(None, None))
    return cheapest[1]


def _front(options: Sequence[Option], demand: Demand, question: PlanQuestion) -> tuple[Fleet, ...]:
    """Of those whose latency is known: no other is on it, or keeps one from it."""
    budget, sized = question.limits.budget_usd_per_month, []
    for option in (option for option in options if option.is_feasible and option.latencies.rates_per_s):
        fleets = fleets_of(candidate_of(option), demand, option.latencies, budget, question.today)
        sized += [(option, fleet) for fleet in fleets]
    return with_front_chances(pareto_front(fleet for _, fleet in sized), sized, demand, question.today)


def _latency_metric(target: MeasuredTarget, goals: Goals) -> str:
    if target.fit is None or not goals.times:
        return target.curve.latency_metric
    return goals.latency_metric


def _ranked(
    options: Sequence[Option], demand: Demand, question: PlanQuestion, found: Mapping[str, SloEvidence]
) -> list[tuple[Option, Fleet]]:
    """By cost, then the less risky, then the faster. A price that is old or of low trust has to be lower by one sigma
    of what it may have moved: it may well be the higher one today."""
    fleets = [
        (option, _fleet(option, demand, question, found[option.target.name]))
        for option in options
        if option.is_feasible
    ]
    unknown_ms = float("inf")
    return sorted(
        fleets,
        key=lambda pair: (
            ranking_cost(candidate_of(pair[0]), question.today),
            pair[1].risk,
            unknown_ms if pair[1].latency_at_peak.value is None else pair[1].latency_at_peak.value,
            pair[1].offer,
        ),
    )


def _fleet(option: Option, demand: Demand, question: PlanQuestion, found: SloEvidence) -> Fleet:
    candidate = candidate_of(option)
    fleet = fleet_of(candidate, candidate.instances, demand, option.latencies, question.today)
    fleet = msgspec.structs.replace(
        fleet,
        measured_on=option.target.name,
        fit_error_at_slo=found.fit_error,
        chances=None if found.is_contradictory else fleet.chances,
    )
    return with_costs(fleet, option, demand, question)


def _refused(options: Sequence[Option], today: datetime.date) -> list[Fleet]:
    """Those whose fleet has a cost first, by that; then by the price of one."""
    no_price = float("inf")
    ranked: list[tuple[tuple[int, float], Fleet]] = []
    for one in (option.looked_at for option in options):
        if isinstance(one, RefusedOffer):
            price = one.offer.on_demand_usd_per_hour
            rank = (1, no_price if price is None else price)
            ranked.append((rank, refused_fleet(one.offer, one.sentence, today, one.by, one.refusal)))
        elif one.refused is not None:
            by = one.refused_by or "capacity"
            ranked.append(((0, one.usd_per_month), refused_fleet(one.offer, one.refused, today, by)))
    return [fleet for _, fleet in sorted(ranked, key=lambda pair: (pair[0], pair[1].offer))]


def _is_another(one: Option, best: Option) -> bool:
    """Whether it is another choice, and not the same instance elsewhere."""
    there, here = one.looked_at.offer, best.looked_at.offer
    return (there.provider, there.instance_type) != (here.provider, here.instance_type)
