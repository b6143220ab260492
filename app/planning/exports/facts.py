"""The facts that a plan's manifests carry in a comment at their top."""

from __future__ import annotations

from collections.abc import Iterable

from app.planning.exports.scale import recommended_fleet
from app.planning.wording import share
from app.records.plan import Fleet, Plan

_SETTLED = {
    "simulated": "the simulation",
    "formula": "a queueing formula, which is a preview",
    "measured": "the measured max rate alone, with no simulation",
}


def comment(plan: Plan, to_fill_in: Iterable[str], notes: Iterable[str]) -> list[str]:
    """Lines, each without a line end of its own making. Raises UsageError where the plan recommends nothing."""
    fleet = recommended_fleet(plan)
    assert plan.recommendation is not None
    lines = [
        f"Made by Sizewise from the plan of {plan.planned_on}. Read it before you apply it.",
        "",
        f"Recommended: {plan.recommendation.sentence}",
        f"SLO: {' and '.join(plan.slo) or 'none'}",
        chance_of_slo(plan, fleet),
        *rests_on(fleet),
    ]
    lines += _listed("Fill in:", to_fill_in)
    return [*lines, *_listed("Note:", [*notes, *_of_the_plan(plan)]), ""]


def chance_of_slo(plan: Plan, fleet: Fleet) -> str:
    asked = f"{share(plan.assurance)} was asked"
    if fleet.chances is None:
        return f"P(SLO met) at the peak: not simulated; sized for {share(plan.assurance)}."
    chances = fleet.chances
    return (
        f"P(SLO met) at the peak, spares left out: {share(chances.planned)}; {asked}. "
        f"One instance fewer: {share(chances.one_fewer)}; one more: {share(chances.one_more)}."
    )


def rests_on(fleet: Fleet) -> list[str]:
    measured_on = f" Measured on {fleet.measured_on}." if fleet.measured_on else ""
    age = f"{fleet.price_age_days} days old on the plan's day"
    lines = [
        f"Rests on: figures that are {fleet.basis}; the size was settled by {_SETTLED[fleet.settled]}.{measured_on}",
        f"Price: {fleet.price_kind}, of {fleet.price_date}, {age} ({fleet.price_source})",
    ]
    reasons = "; ".join(fleet.risk_reasons)
    return [*lines, f"Risk: {fleet.risk} of 4{f', {reasons}' if reasons else ''}"]


def _of_the_plan(plan: Plan) -> list[str]:
    notes = []
    if plan.mix is not None:
        notes.append("The plan also found a mix of offers; this is the recommended fleet of one offer.")
    return notes


def _listed(title: str, sentences: Iterable[str]) -> list[str]:
    listed = [f"- {sentence}" for sentence in sentences]
    return ["", title, *listed] if listed else []
