"""What each offer's fleet costs against the latency it would give."""

from __future__ import annotations

import math
from typing import Any, Literal

import altair as alt

from reports import formatting, plan_words
from reports.charts.picture import Drawing
from reports.charts.style import ACCENT, MUTED, PAPER, SERIES, chart_of, fitted, limit_line, role_marks, styled
from reports.plan_section import FrontRow, OfferRow, PlanSection
from reports.quantity import Quantity

_ROLES = {
    "recommended": (ACCENT, "diamond"),
    "runner-up": (SERIES[1], "triangle-up"),
    "on the front": (SERIES[2], "square"),
    "feasible": (MUTED, "circle"),
}
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_LOG_RATIO = 5
_LIKELY = 0.5
_FADED = 0.5
_NONE = "–"
_APART = 0.085
"""Of the width: nearer to each other, percentages would overlap."""


def cost_front(plan: PlanSection | None) -> Drawing | None:
    """None without a plan, or when no offer is feasible."""
    if plan is None:
        return None
    points = _points(plan)
    if not points:
        return None
    return Drawing(
        key="front",
        title="Monthly cost against latency at the peak",
        alternative=_alternative(plan, points),
        spec=styled(_layers(points, plan), "front"),
        columns=("fleet", "cost", "latency at peak", "basis", "role", "chance of being on the front"),
        rows=tuple(
            (one["fleet"], one["shown_cost"], one["shown_latency"], one["basis"], one["role"], one["chance"])
            for one in points
        ),
        note=_note(points),
    )


def role_of(row: OfferRow, plan: PlanSection) -> str:
    if plan.recommendation is not None and row.offer == plan.recommendation.offer:
        return "recommended"
    if row.offer == plan.runner_up:
        return "runner-up"
    return "on the front" if row.on_front else "feasible"


def _points(plan: PlanSection) -> list[dict[str, Any]]:
    """The feasible offers by cost, then fleets of the front that are larger than their offer's row."""
    front = {(one.offer, one.instances): one for one in plan.front}
    rows = [row for row in plan.offers if _is_drawable(row.usd_per_month, row.latency)]
    points = [_point(row, role_of(row, plan), front.pop((row.offer, row.instances or 0), None)) for row in rows]
    larger = (one for one in front.values() if _is_drawable(one.usd_per_month, one.latency))
    return points + [_point(one, "on the front", one) for one in larger]


def _is_drawable(cost: Quantity, latency: Quantity) -> bool:
    return cost.value is not None and latency.value is not None


def _point(row: OfferRow | FrontRow, role: str, front: FrontRow | None) -> dict[str, Any]:
    chance = None if front is None else front.chance
    is_on_front = front is not None or (isinstance(row, OfferRow) and row.on_front)
    return {
        "cost": row.usd_per_month.value,
        "latency": row.latency.value,
        "role": role,
        "fill": _ROLES[role][0] if row.basis == "measured" else PAPER,
        "opacity": 1.0 if chance is None or chance >= _LIKELY else _FADED,
        "fleet": f"{row.instances} × {row.offer}",
        "shown_cost": plan_words.cost(row) if isinstance(row, OfferRow) else formatting.value_unit(row.usd_per_month),
        "shown_latency": formatting.quantity(row.latency),
        "basis": row.basis,
        "on_front": is_on_front,
        "has_chance": chance is not None,
        "chance": _NONE if chance is None else formatting.with_unit(formatting.plain(round(100 * chance)), "%"),
    }


def _layers(points: list[dict[str, Any]], plan: PlanSection) -> list[alt.Chart]:
    latencies, costs = ([one[name] for one in points] for name in ("latency", "cost"))
    limit = plan.latency_limit
    room = (0.75 * min(latencies), 1.15 * max(latencies))  # for the labels below and above
    heights = [*latencies, *room, *([] if limit is None else [limit.value])]
    x = alt.X("cost:Q", title="USD/month", **fitted(costs, _LOG_RATIO, from_zero=False))
    y = alt.Y("latency:Q", title=f"{plan_words.latency_name(plan)} at the peak, ms", **fitted(heights, 20))
    front = sorted((one for one in points if one["on_front"]), key=lambda one: one["cost"])
    line = (
        chart_of(front)
        .mark_line(interpolate="step-after", color=SERIES[2], strokeWidth=1.5, strokeDash=[4, 3])
        .encode(x=x, y=y)
    )
    tooltip = [
        alt.Tooltip("fleet:N"),
        alt.Tooltip("shown_cost:N", title="cost"),
        alt.Tooltip("shown_latency:N", title="latency at peak"),
        alt.Tooltip("basis:N"),
        alt.Tooltip("chance:N", title="on the front"),
    ]
    marks = role_marks(points, _ROLES, x, y, tooltip).encode(opacity=alt.Opacity("opacity:Q", scale=None, legend=None))
    slo = [] if limit is None else limit_line(limit.value, f"SLO {formatting.limit(limit)}")
    return [*([line] if front else []), *slo, marks, *_labels(points, (min(costs) + max(costs)) / 2, x, y)]


def _labels(points: list[dict[str, Any]], middle: float, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The recommended fleet by its name above it; the chances of the others on the front below them."""
    named = [{**one, "label": one["fleet"]} for one in points if one["role"] == "recommended"]
    likely = [{**one, "label": one["chance"]} for one in _apart(points)]
    sides = {align: [one for one in named if (one["cost"] > middle) == (align == "right")] for align in _SIDES}
    texts = [chart_of(some).mark_text(align=align, dy=-13, fontWeight=600) for align, some in sides.items() if some]
    texts += [chart_of(likely).mark_text(dy=15, color=SERIES[2])] if likely else []
    return [text.encode(x=x, y=y, text="label:N") for text in texts]


def _apart(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those with a chance, as many as have room beside each other; the recommended one first."""
    costs = [one["cost"] for one in points]
    is_log = min(costs) > 0 and max(costs) / min(costs) > _LOG_RATIO
    places = [math.log(cost) if is_log else cost for cost in costs]
    width = (max(places) - min(places)) or 1.0
    kept: list[tuple[float, dict[str, Any]]] = []
    ranked = sorted(zip(places, points, strict=True), key=lambda pair: (pair[1]["role"] != "recommended", pair[0]))
    for place, one in ranked:
        if one["has_chance"] and all(abs(place - other) >= _APART * width for other, _ in kept):
            kept.append((place, one))
    return [one for _, one in kept]


def _note(points: list[dict[str, Any]]) -> str:
    told = ["Lower and further left is better. Filled: measured on such hardware; hollow: carried over to it."]
    if any(one["has_chance"] for one in points):
        told.append(
            "The percentage is the chance that no other fleet is both cheaper and faster, given what is not sure of "
            "each; below 50\u202f% the mark is faint."
        )
    return " ".join(told)


def _alternative(plan: PlanSection, points: list[dict[str, Any]]) -> str:
    cheapest, dearest = (edge(points, key=lambda one: one["cost"]) for edge in (min, max))
    text = (
        f"{len(points)} fleets from {formatting.money(cheapest['cost'])} USD/month ({cheapest['fleet']}) to "
        f"{formatting.money(dearest['cost'])} USD/month ({dearest['fleet']})."
    )
    if plan.recommendation is not None:
        text += f" Recommended: {plan.recommendation.offer}."
    return text
