"""Render a plan for a terminal: the lines in the summary of a run, and further lines if the plan is
shown by itself."""

from __future__ import annotations

from collections.abc import Iterator

from reports import formatting, plan_sentences
from reports.decision import decide_plan
from reports.plan_section import OfferRow, PlanSection

_MAX_INPUTS = 3


def decision_lines(plan: PlanSection) -> list[str]:
    """Return the lines about the decision: missing knowledge of the capacity if any, the decision,
    its evidence and its cost."""
    first = (
        [] if plan.capacity_knowledge is None else [plan.capacity_knowledge.headline, plan.capacity_knowledge.next_step]
    )
    return [*first, *decide_plan(plan).lines]


def offer_lines(plan: PlanSection, *, is_decided: bool = False) -> list[str]:
    """Return the limiting factor, the recommended offer, the runner-up and the cheapest excluded
    offer. The recommended offer is omitted if `is_decided`, since the decision already states
    it."""
    chosen = plan.recommendation
    limit = [f"Limiting factor: {chosen.binding_constraint}"] if chosen else []
    return [*limit, *_named_offers(plan, is_decided=is_decided)]


def summary_lines(plan: PlanSection) -> list[str]:
    """Return the summary of a plan: decision, offers, warnings and assumptions."""
    return [*decision_lines(plan), *offer_lines(plan), *map(formatting.check_text, plan.checks), *plan.notes]


def detail_lines(plan: PlanSection) -> list[tuple[str, list[str]]]:
    """Return groups of lines about the recommended fleet, each with a title. A group without
    content has no lines."""
    chosen, words = plan.recommendation, plan_sentences
    return [
        ("Confidence", [*_confidence_lines(plan)]),
        ("Evidence", [*_evidence_lines(plan)] if chosen else []),
        ("Why", [*chosen.why] if chosen else []),
        ("Break-even", [*chosen.would_change_it] if chosen else []),
        ("Sensitivity", [*_sensitivity_lines(plan)]),
        ("Peak day", [day] if (day := words.describe_peak_day(plan)) else []),
        ("Unit cost", [words.describe_unit_cost(row) for row in plan.unit_costs]),
        ("Energy", [energy] if (energy := words.describe_energy(plan)) else []),
        ("Alternatives", [*_alternative_lines(plan)]),
        ("Assumptions", [*plan.notes]),
    ]


def _confidence_lines(plan: PlanSection) -> Iterator[str]:
    row = plan.recommended_row
    if row is None:
        return
    cells = plan_sentences.slo_probability_cells(row)
    if cells:
        chances = ", ".join(f"{chance} with {count}" for count, chance in cells)
        error = plan_sentences.describe_fit_error(row)
        error_note = "" if error is None else f"; {error}"
        yield f"P(SLO met) at peak by number of instances, without spares: {chances}{error_note}"
    if (needed_text := plan_sentences.describe_need(row)) is not None:
        yield f"Instances, without spares: {needed_text}"
    if (sizing := plan_sentences.describe_sizing(plan, row)) is not None:
        yield f"Sizing: {sizing}"


def _evidence_lines(plan: PlanSection) -> Iterator[str]:
    yield from (
        f"{basis}: {'; '.join(numbers)}" for basis, _, numbers in plan_sentences.evidence_ladder(plan) if numbers
    )


def _sensitivity_lines(plan: PlanSection) -> Iterator[str]:
    sensitive = plan_sentences.sensitive_inputs(plan)
    yield from (
        plan_sentences.format_sensitivity(sensitivity, plan.recommended_row) for sensitivity in sensitive[:_MAX_INPUTS]
    )
    if len(sensitive) > _MAX_INPUTS:
        yield f"… and {len(sensitive) - _MAX_INPUTS} more in the report"
    if plan.sensitivity and not sensitive:
        yield plan_sentences.describe_insensitive_inputs(plan) or ""


def _alternative_lines(plan: PlanSection) -> Iterator[str]:
    if plan.forecast is not None:
        yield plan.forecast
    yield from plan.break_even
    if plan.commitment is not None:
        yield plan.commitment.sentence
    if plan.mix is not None:
        yield plan.mix.sentence
    if (savings := plan_sentences.describe_savings(plan.savings)) is not None:
        yield savings


def _named_offers(plan: PlanSection, *, is_decided: bool) -> Iterator[str]:
    chosen = plan.recommendation.offer if plan.recommendation and not is_decided else None
    for label, offer, rows in (
        ("Recommended", chosen, plan.offers),
        ("Runner-up", plan.runner_up, plan.offers),
        ("Cheapest excluded", plan.cheapest_rejected, plan.rejected_offers),
    ):
        yield from (f"{label}: {_offer_text(row)}" for row in rows if row.offer == offer)


def _offer_text(row: OfferRow) -> str:
    if row.rejected is not None:
        return f"{row.offer}: {row.rejected}"
    chance = (
        ""
        if row.slo_probabilities is None
        else f"P(SLO met) {formatting.format_probability(row.slo_probabilities.planned)}, "
    )
    cost = plan_sentences.format_cost(row)
    return f"{row.instances} × {row.offer}, {cost}, {chance}{row.basis}, price {row.price_date}"
