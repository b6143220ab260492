"""What each offer's fleet costs against the latency it would give."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Drawing
from reports.charts.style import ACCENT, MUTED, PAPER, SERIES, chart_of, fitted, role_marks, styled
from reports.model import OfferRow, PlanSection, Report

_ROLES = {
    "recommended": (ACCENT, "diamond"),
    "runner-up": (SERIES[1], "triangle-up"),
    "on the front": (SERIES[2], "square"),
    "feasible": (MUTED, "circle"),
}


def cost_front(report: Report) -> Drawing | None:
    """None without a plan, or when no offer is feasible."""
    plan = report.plan
    if plan is None:
        return None
    drawable = [row for row in plan.offers if row.usd_per_month.value is not None and row.latency.value is not None]
    if not drawable:
        return None
    points = [_point(row, plan) for row in drawable]
    return Drawing(
        key="front",
        title="Monthly cost against latency at the peak",
        alternative=_alternative(plan, drawable),
        spec=styled(_layers(points, plan), "front"),
        columns=("offer", "cost", "latency at peak", "role"),
        rows=tuple(
            (row.offer, formatting.quantity(row.usd_per_month), formatting.quantity(row.latency), role_of(row, plan))
            for row in drawable
        ),
        note="Lower and further left is better. Filled: measured on such hardware; hollow: carried over to it.",
    )


def role_of(row: OfferRow, plan: PlanSection) -> str:
    if plan.recommendation is not None and row.offer == plan.recommendation.offer:
        return "recommended"
    if row.offer == plan.runner_up:
        return "runner-up"
    return "on the front" if row.on_front else "feasible"


def _point(row: OfferRow, plan: PlanSection) -> dict[str, Any]:
    role = role_of(row, plan)
    return {
        "offer": row.offer,
        "cost": row.usd_per_month.value,
        "latency": row.latency.value,
        "role": role,
        "fill": _ROLES[role][0] if row.basis == "measured" else PAPER,
        "fleet": f"{row.instances} × {row.offer}",
        "shown_cost": formatting.quantity(row.usd_per_month),
        "shown_latency": formatting.quantity(row.latency),
        "basis": row.basis,
        "on_front": row.on_front,
    }


def _layers(points: list[dict[str, Any]], plan: PlanSection) -> list[alt.Chart]:
    latencies = [one["latency"] for one in points]  # and room for a label above the slowest
    x = alt.X(
        "cost:Q",
        title="USD/month",
        **fitted([one["cost"] for one in points], 5, from_zero=False),
    )
    y = alt.Y(
        "latency:Q",
        title=f"{plan.latency_metric} at peak, ms",
        **fitted([*latencies, 1.15 * max(latencies)], 20),
    )
    front = sorted((one for one in points if one["on_front"]), key=lambda one: one["cost"])
    line = (
        chart_of(front)
        .mark_line(interpolate="step-after", color=SERIES[2], strokeWidth=1.5, strokeDash=[4, 3])
        .encode(x=x, y=y)
    )
    named = [one for one in points if one["role"] == "recommended"]
    labels = chart_of(named).mark_text(align="left", dx=0, dy=-12, fontWeight=600).encode(x=x, y=y, text="fleet:N")
    tooltip = [
        alt.Tooltip("fleet:N"),
        alt.Tooltip("shown_cost:N", title="cost"),
        alt.Tooltip("shown_latency:N", title="latency at peak"),
        alt.Tooltip("basis:N"),
    ]
    return [*([line] if front else []), role_marks(points, _ROLES, x, y, tooltip), *([labels] if named else [])]


def _alternative(plan: PlanSection, drawn: list[OfferRow]) -> str:
    cheapest, dearest = drawn[0], drawn[-1]
    text = (
        f"{len(drawn)} feasible offers from {formatting.value_unit(cheapest.usd_per_month)} ({cheapest.offer}) to "
        f"{formatting.value_unit(dearest.usd_per_month)} ({dearest.offer})."
    )
    if plan.recommendation is not None:
        text += f" Recommended: {plan.recommendation.offer}."
    return text
