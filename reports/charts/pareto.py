"""Pareto chart of a plan: monthly cost vs. latency, with one point per fleet."""

from __future__ import annotations

import math
from typing import Any, Literal

import altair as alt

from reports import formatting, plan_sentences
from reports.charts.picture import Chart
from reports.charts.style import (
    ACCENT,
    MUTED,
    PAPER,
    SERIES,
    build_front_line,
    build_layer,
    build_limit_line,
    build_role_marks,
    build_spec,
    fit_scale,
)
from reports.plan_section import FrontRow, OfferRow, PlanSection
from reports.quantity import Quantity

_ROLES = {
    "recommended": (ACCENT, "diamond"),
    "runner-up": (SERIES[1], "triangle-up"),
    "Pareto-optimal": (SERIES[2], "square"),
    "feasible": (MUTED, "circle"),
}
_ALIGNMENTS: tuple[Literal["left", "right"], ...] = ("left", "right")
_LOG_RATIO = 5
_MIN_PROBABILITY = 0.5
_FADED_OPACITY = 0.5
_NO_PROBABILITY = "–"
_MIN_LABEL_DISTANCE = 0.085
"""Minimum distance between two percentage labels, as a fraction of the chart's width. Closer labels
would overlap."""


def build_cost_pareto_chart(plan: PlanSection | None) -> Chart | None:
    """Build the Pareto chart; `None` without a plan, or if no offer is feasible."""
    if plan is None:
        return None
    points = _build_points(plan)
    if not points:
        return None
    latency_name = f"{plan_sentences.format_latency_name(plan)} at peak"
    return Chart(
        key="front",
        title=f"Monthly cost vs. {latency_name}",
        alternative=_describe_points(plan, points),
        spec=build_spec(_build_layers(points, plan), "front"),
        columns=("fleet", "cost", latency_name, "basis", "role", "probability on Pareto front"),
        rows=tuple(
            (
                point["fleet"],
                point["shown_cost"],
                point["shown_latency"],
                point["basis"],
                point["role"],
                point["probability"],
            )
            for point in points
        ),
        note=_build_note(points),
    )


def get_offer_role(row: OfferRow, plan: PlanSection) -> str:
    if plan.recommendation is not None and row.offer == plan.recommendation.offer:
        return "recommended"
    if row.offer == plan.runner_up:
        return "runner-up"
    return "Pareto-optimal" if row.is_on_frontier else "feasible"


def _build_points(plan: PlanSection) -> list[dict[str, Any]]:
    """Return one point per feasible offer, by cost, followed by the fleets on the Pareto front
    whose size differs from the size that the plan chose for their offer."""
    front_rows = {(fleet.offer, fleet.instances): fleet for fleet in plan.frontier}
    rows = [row for row in plan.offers if _is_drawable(row.usd_per_month, row.latency)]
    points = [
        _build_point(row, get_offer_role(row, plan), front_rows.pop((row.offer, row.instances or 0), None))
        for row in rows
    ]
    other_fleets = (fleet for fleet in front_rows.values() if _is_drawable(fleet.usd_per_month, fleet.latency))
    return points + [_build_point(fleet, "Pareto-optimal", fleet) for fleet in other_fleets]


def _is_drawable(cost: Quantity, latency: Quantity) -> bool:
    return cost.value is not None and latency.value is not None


def _build_point(row: OfferRow | FrontRow, role: str, front_row: FrontRow | None) -> dict[str, Any]:
    probability = None if front_row is None else front_row.frontier_probability
    is_on_frontier = front_row is not None or (isinstance(row, OfferRow) and row.is_on_frontier)
    return {
        "cost": row.usd_per_month.value,
        "latency": row.latency.value,
        "role": role,
        "fill": _ROLES[role][0] if row.basis == "measured" else PAPER,
        "opacity": 1.0 if probability is None or probability >= _MIN_PROBABILITY else _FADED_OPACITY,
        "fleet": f"{row.instances} × {row.offer}",
        "shown_cost": plan_sentences.format_cost(row)
        if isinstance(row, OfferRow)
        else formatting.format_value_unit(row.usd_per_month),
        "shown_latency": formatting.format_quantity(row.latency),
        "basis": row.basis,
        "is_on_frontier": is_on_frontier,
        "has_chance": probability is not None,
        "probability": _NO_PROBABILITY
        if probability is None
        else formatting.with_unit(formatting.format_plain(round(100 * probability)), "%"),
    }


def _build_layers(points: list[dict[str, Any]], plan: PlanSection) -> list[alt.Chart]:
    latencies, costs = ([point[name] for point in points] for name in ("latency", "cost"))
    limit = plan.latency_limit
    label_bounds = (0.75 * min(latencies), 1.15 * max(latencies))  # room for the labels below and above the points
    latency_extent = [*latencies, *label_bounds, *([] if limit is None else [limit.value])]
    x = alt.X("cost:Q", title="Cost ($/month)", **fit_scale(costs, _LOG_RATIO, from_zero=False))
    y = alt.Y(
        "latency:Q", title=f"{plan_sentences.format_latency_name(plan)} at peak (ms)", **fit_scale(latency_extent, 20)
    )
    front = sorted((point for point in points if point["is_on_frontier"]), key=lambda point: point["cost"])
    tooltip = [
        alt.Tooltip("fleet:N"),
        alt.Tooltip("shown_cost:N", title="Cost"),
        alt.Tooltip("shown_latency:N", title="Latency at peak"),
        alt.Tooltip("basis:N"),
        alt.Tooltip("probability:N", title="On the front"),
    ]
    marks = build_role_marks(points, _ROLES, x, y, tooltip).encode(
        opacity=alt.Opacity("opacity:Q", scale=None, legend=None)
    )
    limit_lines = [] if limit is None else build_limit_line(limit.value, f"SLO {formatting.format_limit(limit)}")
    return [
        *build_front_line(front, x, y),
        *limit_lines,
        marks,
        *_build_labels(points, (min(costs) + max(costs)) / 2, x, y),
    ]


def _build_labels(points: list[dict[str, Any]], middle_cost: float, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Build the label of the recommended fleet above its point, and the probability of each fleet
    on the Pareto front below its point."""
    recommended_points = [{**point, "label": point["fleet"]} for point in points if point["role"] == "recommended"]
    points_with_probability = [{**point, "label": point["probability"]} for point in _select_non_overlapping(points)]
    points_by_alignment = {
        alignment: [point for point in recommended_points if (point["cost"] > middle_cost) == (alignment == "right")]
        for alignment in _ALIGNMENTS
    }
    text_layers = [
        build_layer(aligned_points).mark_text(align=alignment, dy=-13, fontWeight=600)
        for alignment, aligned_points in points_by_alignment.items()
        if aligned_points
    ]
    text_layers += (
        [build_layer(points_with_probability).mark_text(dy=15, color=SERIES[2])] if points_with_probability else []
    )
    return [layer.encode(x=x, y=y, text=alt.Text("label:N")) for layer in text_layers]


def _select_non_overlapping(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points with a probability that can be labeled without overlap; the recommended
    fleet has priority."""
    costs = [point["cost"] for point in points]
    is_log_scale = min(costs) > 0 and max(costs) / min(costs) > _LOG_RATIO
    positions = [math.log(cost) if is_log_scale else cost for cost in costs]
    width = (max(positions) - min(positions)) or 1.0
    placed_points: list[tuple[float, dict[str, Any]]] = []
    ranked_points = sorted(
        zip(positions, points, strict=True), key=lambda pair: (pair[1]["role"] != "recommended", pair[0])
    )
    for position, point in ranked_points:
        if point["has_chance"] and all(
            abs(position - placed_position) >= _MIN_LABEL_DISTANCE * width for placed_position, _ in placed_points
        ):
            placed_points.append((position, point))
    return [point for _, point in placed_points]


def _build_note(points: list[dict[str, Any]]) -> str:
    sentences = ["Lower left is better. Filled marks are measured on this hardware, hollow marks are estimated."]
    if any(point["has_chance"] for point in points):
        sentences.append(
            "A percentage is the probability that no other fleet is both cheaper and faster; marks with a probability "
            "below 50\u202f% are faded."
        )
    return " ".join(sentences)


def _describe_points(plan: PlanSection, points: list[dict[str, Any]]) -> str:
    cheapest_point, costliest_point = (
        select_extreme(points, key=lambda point: point["cost"]) for select_extreme in (min, max)
    )
    description = (
        f"The monthly cost of {formatting.format_count_noun(len(points), 'fleet')} ranges from "
        f"${formatting.format_money(cheapest_point['cost'])}/month ({cheapest_point['fleet']}) to "
        f"${formatting.format_money(costliest_point['cost'])}/month ({costliest_point['fleet']})."
    )
    if plan.recommendation is not None:
        description += f" The recommended offer is {plan.recommendation.offer}."
    return description
