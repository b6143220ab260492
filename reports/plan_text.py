"""Render a plan for a terminal: the lines for the summary of a run, and further lines if the plan
is shown by itself."""

from __future__ import annotations

from collections.abc import Iterator

from reports import formatting, plan_sentences
from reports.decision import build_plan_decision
from reports.plan_section import PlanSection
from reports.sections.evidence import describe_point

_MAX_INPUTS = 3


def build_decision_lines(plan: PlanSection) -> list[str]:
    """Return the lines about the decision of a plan: the uncertainty of the capacity if any, the
    decision, its evidence and its cost."""
    uncertainty_lines = (
        [] if plan.capacity_knowledge is None else [plan.capacity_knowledge.headline, plan.capacity_knowledge.next_step]
    )
    return [*uncertainty_lines, *build_plan_decision(plan).lines]


def build_offer_lines(plan: PlanSection, *, is_decided: bool = False) -> list[str]:
    """Return the lines about the bottleneck, the recommended offer, the runner-up, the cheapest
    excluded offer and each requested accelerator. If `is_decided`, the recommended offer is omitted,
    because the decision already states it."""
    recommendation = plan.recommendation
    bottleneck_lines = [f"Bottleneck: {recommendation.binding_constraint}"] if recommendation else []
    accelerator_lines = [
        f"Accelerator {name}: {offer_text}" for name, offer_text in plan_sentences.list_accelerators(plan)
    ]
    return [*bottleneck_lines, *_list_named_offers(plan, is_decided=is_decided), *accelerator_lines]


def build_summary_lines(plan: PlanSection) -> list[str]:
    """Return the summary of a plan: decision, offers, warnings and assumptions."""
    return [
        *build_decision_lines(plan),
        *build_offer_lines(plan),
        *map(formatting.format_check, plan.checks),
        *plan.notes,
    ]


def build_detail_lines(plan: PlanSection) -> list[tuple[str, list[str]]]:
    """Return groups of lines about the recommended fleet, each with a title. Groups without content
    have no lines."""
    recommendation = plan.recommendation
    return [
        ("Confidence", [*_build_confidence_lines(plan)]),
        ("Replica", [*_build_replica_lines(plan)]),
        ("Evidence", [*_build_evidence_lines(plan)] if recommendation else []),
        ("Why", [*recommendation.why] if recommendation else []),
        ("Break-even", [*recommendation.would_change_it] if recommendation else []),
        ("Sensitivity", [*_build_sensitivity_lines(plan)]),
        ("Peak day", [day_text] if (day_text := plan_sentences.describe_peak_day(plan)) else []),
        ("Unit cost", [plan_sentences.describe_unit_cost(row) for row in plan.unit_costs]),
        ("API prices", [plan_sentences.describe_api_price(row) for row in plan.api_prices]),
        ("Energy", [energy_text] if (energy_text := plan_sentences.describe_energy(plan)) else []),
        ("Alternatives", [*_build_alternative_lines(plan)]),
        ("Published", [*_build_nearest_lines(plan)]),
        ("Assumptions", [*plan.notes]),
    ]


def _build_confidence_lines(plan: PlanSection) -> Iterator[str]:
    recommended_row = plan.recommended_row
    if recommended_row is None:
        return
    cells = plan_sentences.build_slo_probability_cells(recommended_row)
    if cells:
        probabilities_text = ", ".join(f"{probability} with {count}" for count, probability in cells)
        fit_error_text = plan_sentences.describe_fit_error(recommended_row)
        error_note = "" if fit_error_text is None else f"; {fit_error_text}"
        yield f"P(SLO met) at peak by number of instances, without spares: {probabilities_text}{error_note}"
    if (needed_text := plan_sentences.describe_need(recommended_row)) is not None:
        yield f"Instances, without spares: {needed_text}"
    if (sizing_text := plan_sentences.describe_sizing(plan, recommended_row)) is not None:
        yield f"Sizing: {sizing_text}"


def _build_replica_lines(plan: PlanSection) -> Iterator[str]:
    replica_text = plan_sentences.describe_served_replica(plan.recommended_row) if plan.recommended_row else None
    if replica_text is not None:
        yield replica_text


def _build_evidence_lines(plan: PlanSection) -> Iterator[str]:
    yield from (
        f"{basis}: {'; '.join(number_texts)}"
        for basis, _, number_texts in plan_sentences.list_numbers_by_basis(plan)
        if number_texts
    )


def _build_nearest_lines(plan: PlanSection) -> Iterator[str]:
    yield from map(describe_point, plan.nearest_points)
    yield from plan.attributions


def _build_sensitivity_lines(plan: PlanSection) -> Iterator[str]:
    sensitive_rows = plan_sentences.select_sensitive_inputs(plan)
    yield from (
        plan_sentences.format_sensitivity(sensitivity, plan.recommended_row)
        for sensitivity in sensitive_rows[:_MAX_INPUTS]
    )
    if len(sensitive_rows) > _MAX_INPUTS:
        yield f"… and {len(sensitive_rows) - _MAX_INPUTS} more in the report"
    if plan.sensitivity and not sensitive_rows:
        yield plan_sentences.describe_insensitive_inputs(plan) or ""


def _build_alternative_lines(plan: PlanSection) -> Iterator[str]:
    if plan.forecast is not None:
        yield plan.forecast
    yield from plan.break_even
    if plan.commitment is not None:
        yield plan.commitment.sentence
    if plan.mix is not None:
        yield plan.mix.sentence
    if (savings_text := plan_sentences.describe_savings(plan.savings)) is not None:
        yield savings_text


def _list_named_offers(plan: PlanSection, *, is_decided: bool) -> Iterator[str]:
    recommended_offer = plan.recommendation.offer if plan.recommendation and not is_decided else None
    for label, offer, rows in (
        ("Recommended", recommended_offer, plan.offers),
        ("Runner-up", plan.runner_up, plan.offers),
        ("Cheapest excluded", plan.cheapest_rejected, plan.rejected_offers),
    ):
        yield from (f"{label}: {plan_sentences.format_offer(row)}" for row in rows if row.offer == offer)
