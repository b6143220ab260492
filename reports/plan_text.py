"""A plan in a terminal: what the summary of a run says of it, and all that is told of it alone."""

from __future__ import annotations

from collections.abc import Iterator

from reports import formatting, plan_words
from reports.plan_section import OfferRow, PlanSection

_MOST_SWINGS = 3


def summary_lines(plan: PlanSection) -> list[str]:
    first = [] if plan.knowledge is None else [plan.knowledge.headline, plan.knowledge.next_step]
    if plan.recommendation is None:
        return [*first, f"No offer fits a peak of {formatting.number(plan.peak_per_s)}/s.", *plan.notes]
    return [
        *first,
        plan.recommendation.sentence,
        f"What binds: {plan.recommendation.binding_constraint}",
        *_named(plan),
        *plan.notes,
    ]


def more_lines(plan: PlanSection) -> list[tuple[str, list[str]]]:
    """Titled lines of the recommended fleet; those of nothing are empty."""
    chosen, words = plan.recommendation, plan_words
    return [
        ("Sure", [*_sureness(plan)]),
        ("Why", [*chosen.why] if chosen else []),
        ("Changes", [*chosen.would_change_it] if chosen else []),
        ("Inputs", [*_swings(plan)]),
        ("Peak day", [day] if (day := words.day(plan)) else []),
        ("Unit cost", [words.unit_cost(row) for row in plan.unit_costs]),
        ("Energy", [energy] if (energy := words.energy(plan)) else []),
        ("Otherwise", [*_alternatives(plan)]),
    ]


def _sureness(plan: PlanSection) -> Iterator[str]:
    row = plan.chosen
    if row is None:
        return
    cells = plan_words.chance_cells(row)
    if cells:
        told = ", ".join(f"{chance} with {count}" for count, chance in cells)
        error = plan_words.fit_error(row)
        yield f"P(SLO met) at the peak, by instances for the load: {told}{'' if error is None else f'; {error}'}"
    if (need := plan_words.need(row)) is not None:
        yield f"Instances for the load: {need}"
    if (sizing := plan_words.sizing(plan, row)) is not None:
        yield f"Sized {sizing}"


def _swings(plan: PlanSection) -> Iterator[str]:
    moved = plan_words.moved(plan)
    yield from (plan_words.swing(one, plan.chosen) for one in moved[:_MOST_SWINGS])
    if len(moved) > _MOST_SWINGS:
        yield f"… and {len(moved) - _MOST_SWINGS} more in the report"
    if plan.swings and not moved:
        yield plan_words.unmoved(plan) or ""


def _alternatives(plan: PlanSection) -> Iterator[str]:
    if plan.outlook is not None:
        yield plan.outlook
    yield from plan.break_even
    if plan.commitment is not None:
        yield plan.commitment.sentence
    if plan.mix is not None:
        yield plan.mix.sentence
    if (savings := plan_words.savings(plan.savings)) is not None:
        yield savings


def _named(plan: PlanSection) -> Iterator[str]:
    chosen = plan.recommendation.offer if plan.recommendation else None
    for label, offer, rows in (
        ("Recommended", chosen, plan.offers),
        ("Runner-up", plan.runner_up, plan.offers),
        ("Cheapest refused", plan.cheapest_refused, plan.refused),
    ):
        yield from (f"{label}: {_offer(row)}" for row in rows if row.offer == offer)


def _offer(row: OfferRow) -> str:
    if row.refused is not None:
        return f"{row.offer}: {row.refused}"
    chance = "" if row.chances is None else f"P(SLO met) {formatting.chance(row.chances.planned)}, "
    return f"{row.instances} × {row.offer}, {plan_words.cost(row)}, {chance}{row.basis}, price of {row.price_date}"
