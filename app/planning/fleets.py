"""From what was measured to what to rent: every offer sized, priced and ranked; what leads is settled by simulation.

All of it is arithmetic on the question, chances seeded: the same one gives the same plan, also next year.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from app.planning.candidates import Candidate, Refused, consider, fleet_of, fleets_of, refused_fleet
from app.planning.capacity import Capacity, carry_over
from app.planning.explanation import Choice, recommend
from app.planning.goals import Goals, goals_of
from app.planning.latency_curve import LatencyCurve, latency_curve
from app.planning.pareto import pareto_front
from app.planning.refusal import Refusal
from app.planning.risk import Risk
from app.planning.sizing import HOURS_A_MONTH, Demand, demand_of
from app.planning.wording import amount, law_words
from app.records.offers import Offer
from app.records.plan import Fleet, Plan
from app.records.plan_question import MeasuredTarget, PlanQuestion

if TYPE_CHECKING:
    from app.planning.settling import Settling

_SETTLED = 5
_MOST_SETTLED = 12
"""Kinds of replica that are simulated at least, and at most while an unsettled one still leads."""


class Option(msgspec.Struct, frozen=True):
    """One offer with the measurement it rests on, and the latencies that go with its capacity."""

    looked_at: Candidate | Refused
    target: MeasuredTarget
    latencies: LatencyCurve
    carried: Capacity | None

    @property
    def is_feasible(self) -> bool:
        return isinstance(self.looked_at, Candidate) and self.looked_at.refused is None


def plan_fleets(question: PlanQuestion, *, preview: bool = False) -> Plan:
    """Feasible fleets come first in `offers`, cheapest first; refused ones after them, with the reason.

    A preview stops at the formulae, within 200 ms; what leads is otherwise simulated.
    """
    demand = demand_of(question.traffic, question.limits, question.today)
    goals = goals_of(question.slo)
    settling = _settling(question, demand, goals)
    options = [_option(offer, question, demand, settling) for offer in question.catalogue.offers]
    if settling is not None and not preview:
        options = _settled(options, question, demand, settling)
    ranked = _ranked(options, demand, question.today)
    refused = _refused(options, question.today)
    best, best_fleet = ranked[0] if ranked else (None, None)
    others = [(option, fleet) for option, fleet in ranked[1:] if best and _is_another(option, best)]
    runner_up, runner_up_fleet = others[0] if others else (None, None)
    cheapest_rejected = refused[0] if refused else None
    target = best.target if best else question.measured[0]
    choice = (
        None
        if best is None or best_fleet is None
        else Choice(_candidate(best), best_fleet, _candidate(runner_up) if runner_up else None, cheapest_rejected)
    )
    slo = tuple(objective.text for objective in question.slo)
    limits, budget = question.limits, question.limits.budget_usd_per_month
    return Plan(
        traffic=question.traffic,
        slo=slo,
        assurance=limits.assurance,
        redundancy=limits.redundancy,
        latency_metric=_latency_metric(target, goals),
        planned_on=question.today.isoformat(),
        recommendation=None if choice is None else recommend(choice, demand, limits, target.curve, slo),
        runner_up=runner_up_fleet,
        cheapest_rejected=cheapest_rejected,
        offers=(*(fleet for _, fleet in ranked), *refused),
        pareto=pareto_front(
            fleet
            for option in options
            if option.is_feasible
            for fleet in fleets_of(_candidate(option), demand, option.latencies, budget, question.today)
        ),
        notes=_notes(question, demand, goals, ranked, refused),
        router=limits.router,
    )


def _settling(question: PlanQuestion, demand: Demand, goals: Goals) -> Settling | None:
    """None where no target has a service model: then its max rate is all there is."""
    if all(target.fit is None for target in question.measured):
        return None
    from app.planning.fleet_rate import shape_of  # the simulation takes a second to import
    from app.planning.settling import Settling

    return Settling(shape_of(question.traffic, goals, question.limits.router), demand)


def _option(offer: Offer, question: PlanQuestion, demand: Demand, settling: Settling | None) -> Option:
    """By the target that says most of this offer: the least risk, then the narrowest interval."""
    carried = [(target, _carried(target, offer, question)) for target in question.measured]
    known = [(target, capacity) for target, capacity in carried if isinstance(capacity, Capacity)]
    if not known:
        target, refusal = carried[0]
        looked_at = consider(offer, refusal, demand, question.limits, question.today)
        return Option(looked_at, target, LatencyCurve((), (), 0.0), None)
    target, capacity = min(known, key=lambda pair: (_risk(pair[1]), pair[1].sigma))
    sized = capacity if settling is None else settling.preview(target, capacity)
    looked_at = consider(offer, sized, demand, question.limits, question.today)
    return Option(looked_at, target, latency_curve(target.curve), capacity)


def _carried(target: MeasuredTarget, offer: Offer, question: PlanQuestion) -> Capacity | Refusal:
    accelerators, other_cards = question.catalogue.accelerators, question.limits.other_cards
    capacity = carry_over(target.curve, target.hardware, offer, accelerators, other_cards)
    if isinstance(capacity, Refusal) or not target.is_assumed:
        return capacity
    risk = Risk(3, f"{target.name} is assumed, not measured")
    return msgspec.structs.replace(capacity, basis="assumed", risks=(risk, *capacity.risks))


def _risk(capacity: Capacity) -> int:
    return max((risk.level for risk in capacity.risks), default=0)


def _settled(options: list[Option], question: PlanQuestion, demand: Demand, settling: Settling) -> list[Option]:
    """Simulates the kinds of replica of the cheapest offers, until none that leads is left to its formula."""
    settled: dict[tuple[str, float, float], int] = {}
    options = list(options)
    for _ in range(_MOST_SETTLED * 2):
        order = sorted(
            (place for place, option in enumerate(options) if option.is_feasible),
            key=lambda place: _candidate(options[place]).usd_per_month,
        )
        waiting = [place for place in order if _kind(options[place]) not in settled and options[place].target.fit]
        leads = bool(waiting) and bool(order) and waiting[0] == order[0]
        if not waiting or len(settled) >= _MOST_SETTLED or (len(settled) >= _SETTLED and not leads):
            break
        kind = _kind(options[waiting[0]])
        settled[kind] = len(settled)
        options = [
            _settle(option, question, demand, settling) if option.carried and _kind(option) == kind else option
            for option in options
        ]
    return options


def _kind(option: Option) -> tuple[str, float, float]:
    assert option.carried is not None
    return option.target.name, round(option.carried.speed, 9), round(option.carried.speed_sigma, 9)


def _settle(option: Option, question: PlanQuestion, demand: Demand, settling: Settling) -> Option:
    looked_at = option.looked_at
    if not isinstance(looked_at, Candidate):
        return option
    found = settling.settle(option.target, looked_at.capacity)
    if found is None:
        return option
    capacity, latencies = found
    again = consider(looked_at.offer, capacity, demand, question.limits, question.today)
    return msgspec.structs.replace(option, looked_at=again, latencies=latencies)


def _candidate(option: Option) -> Candidate:
    assert isinstance(option.looked_at, Candidate)
    return option.looked_at


def _latency_metric(target: MeasuredTarget, goals: Goals) -> str:
    if target.fit is None or not goals.times:
        return target.curve.latency_metric
    return goals.times[0].text.split("<")[0].strip()


def _ranked(options: Sequence[Option], demand: Demand, today: datetime.date) -> list[tuple[Option, Fleet]]:
    """By cost; then the less risky, then the faster."""
    fleets = [(option, _fleet(option, demand, today)) for option in options if option.is_feasible]
    unknown_ms = float("inf")
    return sorted(
        fleets,
        key=lambda pair: (
            _candidate(pair[0]).usd_per_month,
            pair[1].risk,
            unknown_ms if pair[1].latency_at_peak.value is None else pair[1].latency_at_peak.value,
            pair[1].offer,
        ),
    )


def _fleet(option: Option, demand: Demand, today: datetime.date) -> Fleet:
    candidate = _candidate(option)
    fleet = fleet_of(candidate, candidate.instances, demand, option.latencies, today)
    return msgspec.structs.replace(fleet, measured_on=option.target.name)


def _refused(options: Sequence[Option], today: datetime.date) -> list[Fleet]:
    """Those whose fleet has a cost first, by that; then by the price of one."""
    no_price = float("inf")
    ranked: list[tuple[tuple[int, float], Fleet]] = []
    for one in (option.looked_at for option in options):
        if isinstance(one, Refused):
            price = one.offer.on_demand_usd_per_hour
            rank = (1, no_price if price is None else price)
            ranked.append((rank, refused_fleet(one.offer, one.sentence, today)))
        elif one.refused is not None:
            ranked.append(((0, one.usd_per_month), refused_fleet(one.offer, one.refused, today)))
    return [fleet for _, fleet in sorted(ranked, key=lambda pair: (pair[0], pair[1].offer))]


def _is_another(one: Option, best: Option) -> bool:
    """Whether it is another choice, and not the same instance elsewhere."""
    there, here = one.looked_at.offer, best.looked_at.offer
    return (there.provider, there.instance_type) != (here.provider, here.instance_type)


def _notes(
    question: PlanQuestion,
    demand: Demand,
    goals: Goals,
    ranked: Sequence[tuple[Option, Fleet]],
    refused: Sequence[Fleet],
) -> tuple[str, ...]:
    return (
        *(note for target in question.measured for note in _of_measurement(target)),
        f"A month is {HOURS_A_MONTH} hours of every instance, {question.limits.price}; disk, network, tax and support "
        "are not in it.",
        f"The cost per 1k inferences is at today's mean rate, {amount(demand.mean_per_s)}/s.",
        *_of_traffic(question, demand),
        *goals.notes,
        *_of_fleets(ranked, refused),
    )


def _of_measurement(target: MeasuredTarget) -> Iterator[str]:
    carried = f"{amount(target.curve.max_rate_per_s)}/s inside the SLO"
    said = "Assumed of" if target.is_assumed else "Measured on"
    yield f"{said} {target.hardware.description}: {carried}."
    if target.why_no_fit is not None:
        alone = "Fleets are sized by that rate alone, as if each replica had its own share of requests"
        yield f"{alone}: {target.why_no_fit}."
    elif target.fit is not None:
        best = target.fit.laws[0].service
        yield (
            f"Fleets are simulated with the service model fitted to it ({law_words(best)}); it misses the measured "
            f"percentiles by {100 * target.fit.median_error:.0f} % in the median."
        )


def _of_traffic(question: PlanQuestion, demand: Demand) -> Iterator[str]:
    traffic = question.traffic
    if traffic.cache_share:
        yield f"{100 * traffic.cache_share:g} % of requests are taken to be answered from a cache."
    if demand.peak_per_s > traffic.peak_per_s * (1 - traffic.cache_share) * (1 + 1e-9):
        yield f"Sized for the peak in 12 months, {amount(demand.peak_per_s)}/s."
    if traffic.dispersion.index > 1:
        index, window_s = traffic.dispersion.index, traffic.dispersion.window_s
        yield f"Requests come in bursts: counts over {window_s:g} s vary {index:.3g} times as much as Poisson's."


def _of_fleets(ranked: Sequence[tuple[Option, Fleet]], refused: Sequence[Fleet]) -> Iterator[str]:
    if any(fleet.basis == "extrapolated" and fleet.accelerator is None for _, fleet in ranked):
        yield "A vCPU may be a whole core or half of one: a run on the offer itself replaces the wide interval."
    if any(fleet.settled == "formula" for _, fleet in ranked):
        yield "Offers that do not lead are sized by queueing formulae, not simulated."
    if not ranked:
        reasons = Counter(fleet.rejected for fleet in refused if fleet.rejected).most_common(3)
        listed = "; ".join(f"{reason} ({count})" for reason, count in reasons)
        yield f"No offer fits: {listed or 'the catalogue is empty'}."
