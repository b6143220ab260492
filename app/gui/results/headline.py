"""First lines of a result: the recommended fleet if the run has a plan, the confidence interval of the first
headline metric, and the data that it is based on. All functions are pure."""

from __future__ import annotations

from reports import formatting
from reports.model import Report


def decision_text(report: Report) -> str:
    """Format the recommended fleet and its cost. Empty if there is no recommendation, or if the measurement is
    INVALID."""
    row = None if report.plan is None or report.verdict.outcome == "INVALID" else report.plan.recommended_row
    if row is None or row.instances is None:
        return ""
    return f"{formatting.format_count(row.instances)} × {row.offer}, {formatting.format_value_unit(row.usd_per_month)}"


def decision_detail(report: Report) -> str:
    """Format the rate that the recommended fleet serves, the probability that it meets the SLO, and the basis of its
    capacity."""
    plan = report.plan
    row = None if plan is None else plan.recommended_row
    if plan is None or row is None or not decision_text(report):
        return ""
    peak = formatting.with_unit(formatting.format_number(plan.peak_per_s), "req/s")
    slo = ", ".join(plan.slo_labels or plan.slo)
    chance = (
        formatting.NOT_AVAILABLE
        if row.slo_probabilities is None
        else formatting.format_probability(row.slo_probabilities.planned)
    )
    return f"Serves {peak} within SLO ({slo}). P(SLO met): {chance}. The capacity is {row.basis}."


def interval_text(report: Report) -> str:
    """Format the confidence interval of the first headline metric, or the reason why there is none. Empty if the
    metric has no value."""
    tiles = formatting.display_tiles(report)
    if not tiles or tiles[0].quantity.value is None:
        return ""
    first = tiles[0].quantity
    interval = formatting.format_interval(first)
    if interval is None:
        return "" if first.reason is None else f"{tiles[0].label}: {first.reason}."
    return f"{tiles[0].label}: 95 % CI {formatting.with_unit(interval, formatting.display_unit(first))}."


def based_on_text(report: Report) -> str:
    """Format how much was measured and on which hardware. Empty if nothing was measured."""
    if report.local is not None:
        variants = [variant for variant in report.local.variants if variant.scenarios]
        measured, noun = sum(row.calls for variant in variants for row in variant.scenarios), "call"
        parts = formatting.format_count_noun(len(variants), "variant")
    else:
        stages = [row for row in report.stages if row.kind != "warmup" and not row.pooled]
        measured, noun = sum(row.completed + row.failed for row in stages), "request"
        parts = formatting.format_count_noun(len(stages), "stage")
    where = f", on {report.header.hardware}" if report.header.hardware else ""
    return f"Based on {formatting.format_count_noun(measured, noun)} in {parts}{where}." if measured else ""
