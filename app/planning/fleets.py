"""From what was measured to what to rent: every offer sized, priced and ranked by formula.

All of it is arithmetic on the arguments: the same ones give the same plan, also next year.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence

from app.planning.candidates import Candidate, Refused, consider, fleet_of, fleets_of, refused_fleet
from app.planning.capacity import carry_over
from app.planning.explanation import Choice, recommend
from app.planning.latency_curve import LatencyCurve, latency_curve
from app.planning.pareto import pareto_front
from app.planning.sizing import HOURS_A_MONTH, Demand, demand_of
from app.planning.wording import amount
from app.records.offers import CapacityCurve, Catalogue, PlanLimits
from app.records.result import Fleet, Hardware, Plan, Traffic


def plan_fleets(
    curve: CapacityCurve,
    measured_on: Hardware,
    traffic: Traffic,
    catalogue: Catalogue,
    limits: PlanLimits,
    *,
    slo: tuple[str, ...],
    today: datetime.date,
) -> Plan:
    """Feasible fleets come first in `offers`, cheapest first; refused ones after them, with the reason."""
    demand = demand_of(traffic, limits)
    latencies = latency_curve(curve)
    looked_at = [
        consider(offer, carry_over(curve, measured_on, offer, catalogue.accelerators), demand, limits, today)
        for offer in catalogue.offers
    ]
    feasible = [one for one in looked_at if isinstance(one, Candidate) and one.refused is None]
    ranked = _ranked(feasible, demand, latencies, today)
    refused = _refused(looked_at, today)
    best, best_fleet = ranked[0] if ranked else (None, None)
    runner_up = next(((one, fleet) for one, fleet in ranked[1:] if best and _is_another(one, best)), (None, None))
    cheapest_rejected = refused[0] if refused else None
    budget = limits.budget_usd_per_month
    return Plan(
        traffic=traffic,
        slo=slo,
        assurance=limits.assurance,
        redundancy=limits.redundancy,
        latency_metric=curve.latency_metric,
        planned_on=today.isoformat(),
        recommendation=None
        if best is None or best_fleet is None
        else recommend(Choice(best, best_fleet, runner_up[0], cheapest_rejected), demand, limits, curve, slo),
        runner_up=runner_up[1],
        cheapest_rejected=cheapest_rejected,
        offers=(*(fleet for _, fleet in ranked), *refused),
        pareto=pareto_front(fleet for one in feasible for fleet in fleets_of(one, demand, latencies, budget, today)),
        notes=_notes(curve, measured_on, traffic, demand, ranked, refused),
    )


def _ranked(
    candidates: Sequence[Candidate], demand: Demand, latencies: LatencyCurve, today: datetime.date
) -> list[tuple[Candidate, Fleet]]:
    """By cost; then the less risky, then the faster."""
    fleets = [(one, fleet_of(one, one.instances, demand, latencies, today)) for one in candidates]
    unknown_ms = float("inf")
    return sorted(
        fleets,
        key=lambda pair: (
            pair[0].usd_per_month,
            pair[1].risk,
            unknown_ms if pair[1].latency_at_peak.value is None else pair[1].latency_at_peak.value,
            pair[1].offer,
        ),
    )


def _refused(looked_at: Sequence[Candidate | Refused], today: datetime.date) -> list[Fleet]:
    """Those whose fleet has a cost first, by that; then by the price of one."""
    no_price = float("inf")
    ranked: list[tuple[tuple[int, float], Fleet]] = []
    for one in looked_at:
        if isinstance(one, Refused):
            price = one.offer.on_demand_usd_per_hour
            rank = (1, no_price if price is None else price)
            ranked.append((rank, refused_fleet(one.offer, one.sentence, today)))
        elif one.refused is not None:
            ranked.append(((0, one.usd_per_month), refused_fleet(one.offer, one.refused, today)))
    return [fleet for _, fleet in sorted(ranked, key=lambda pair: (pair[0], pair[1].offer))]


def _is_another(one: Candidate, best: Candidate) -> bool:
    """Whether it is another choice, and not the same instance elsewhere."""
    return (one.offer.provider, one.offer.instance_type) != (best.offer.provider, best.offer.instance_type)


def _notes(
    curve: CapacityCurve,
    measured_on: Hardware,
    traffic: Traffic,
    demand: Demand,
    ranked: Sequence[tuple[Candidate, Fleet]],
    refused: Sequence[Fleet],
) -> tuple[str, ...]:
    notes = [
        f"Measured on {measured_on.description}: {amount(curve.max_rate_per_s)}/s inside the SLO.",
        f"A month is {HOURS_A_MONTH} hours of every instance, on demand; disk, network, tax and support are not in it.",
        f"The cost per 1k inferences is at today's mean rate, {amount(demand.mean_per_s)}/s.",
    ]
    if demand.peak_per_s > traffic.peak_per_s:
        notes.append(f"Sized for the peak in 12 months, {amount(demand.peak_per_s)}/s.")
    if any(fleet.basis == "extrapolated" and fleet.accelerator is None for _, fleet in ranked):
        notes.append("A vCPU may be a whole core or half of one: a run on the offer itself replaces the wide interval.")
    if not ranked:
        reasons = Counter(fleet.rejected for fleet in refused if fleet.rejected).most_common(3)
        listed = "; ".join(f"{reason} ({count})" for reason, count in reasons)
        notes.append(f"No offer fits: {listed or 'the catalogue is empty'}.")
    return tuple(notes)
