"""Pareto chart of the variants of a local model: cost vs. latency."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, LIMIT, MUTED, PAPER, SERIES, build_spec, fit_scale, new_chart, role_marks
from reports.local_model import LocalSection, VariantRow, VariantState
from reports.model import Report

_ROLES = {
    "best": (ACCENT, "diamond"),
    "Pareto-optimal": (SERIES[2], "square"),
    "SLO missed": (SERIES[1], "triangle-down"),
    "dominated": (MUTED, "circle"),
    "unreliable": (LIMIT, "cross"),
}
_UNRELIABLE: tuple[VariantState, ...] = ("INVALID", "ended early")
_MAX_LABELS = 8
_MAX_LABEL_CHARS = 34


def variant_pareto_front(report: Report) -> Chart | None:
    """Build the Pareto chart; `None` if fewer than two variants have both a latency and a cost."""
    local = report.local
    if local is None:
        return None
    drawable = [
        variant for variant in local.variants if variant.latency.value is not None and variant.cost.value is not None
    ]
    if len(drawable) < 2:
        return None
    points = [_point(variant) for variant in drawable]
    missing = len(local.variants) - len(drawable)
    unit = drawable[0].cost.unit
    return Chart(
        key="variants-front",
        title="Cost vs. latency by variant",
        alternative=_alternative(local, drawable),
        spec=build_spec(_layers(points, local, unit), "variants_front"),
        columns=("variant", local.axes.cost, local.axes.latency, "accuracy", "role"),
        rows=tuple(_row(variant) for variant in drawable),
        note=_note(local, drawable, missing),
    )


def role_of(variant: VariantRow) -> str:
    if variant.state in _UNRELIABLE:
        return "unreliable"
    if variant.state == "best":
        return "best"
    if variant.slo == "missed":
        return "SLO missed"
    return "Pareto-optimal" if variant.is_on_frontier else "dominated"


def _point(variant: VariantRow) -> dict[str, Any]:
    role = role_of(variant)
    return {
        "variant": variant.name,
        "cost": variant.cost.value,
        "latency": variant.latency.value,
        "role": role,
        "fill": PAPER if variant.state in _UNRELIABLE else _ROLES[role][0],
        "accuracy": _accuracy(variant),
        "has_accuracy": variant.accuracy is not None and variant.accuracy.value.value is not None,
        "shown_cost": formatting.format_quantity(variant.cost),
        "shown_latency": formatting.format_quantity(variant.latency),
        "throughput": formatting.format_quantity(variant.throughput),
        "is_on_frontier": variant.is_on_frontier,
    }


def _row(variant: VariantRow) -> tuple[str, ...]:
    front = ", Pareto-optimal" if variant.is_on_frontier and role_of(variant) != "Pareto-optimal" else ""
    costs = (formatting.format_quantity(variant.cost), formatting.format_quantity(variant.latency))
    return (variant.name, *costs, _accuracy(variant), role_of(variant) + front)


def _accuracy(variant: VariantRow) -> str:
    return (
        formatting.NOT_AVAILABLE if variant.accuracy is None else formatting.format_value_unit(variant.accuracy.value)
    )


def _layers(points: list[dict[str, Any]], local: LocalSection, unit: str) -> list[alt.Chart]:
    latencies, costs = ([point[name] for point in points] for name in ("latency", "cost"))
    x = alt.X(
        "cost:Q", title=f"{local.axes.cost}, {formatting.show_unit(unit)}", **fit_scale(costs, 5, from_zero=False)
    )
    top = 1.15 * max(latencies)  # room for a label above the slowest variant
    y = alt.Y("latency:Q", title=f"{local.axes.latency}, ms", **fit_scale([*latencies, top], 20))
    front = _two_axis_front(points)
    line = (
        new_chart(front)
        .mark_line(interpolate="step-after", color=SERIES[2], strokeWidth=1.5, strokeDash=[4, 3])
        .encode(x=x, y=y)
    )
    named = _labelled(points, (min(costs) + max(costs)) / 2)
    texts = [
        new_chart(aligned)
        .mark_text(align=align, dx=0, dy=-12, fontWeight=600)
        .encode(x=x, y=y, text=alt.Text("label:N"))
        for align in ("left", "right")
        if (aligned := [point for point in named if point["align"] == align])
    ]
    tooltip = [
        alt.Tooltip("variant:N"),
        alt.Tooltip("shown_latency:N", title="latency"),
        alt.Tooltip("shown_cost:N", title="cost"),
        alt.Tooltip("throughput:N"),
        alt.Tooltip("accuracy:N"),
    ]
    return [*([line] if front else []), role_marks(points, _ROLES, x, y, tooltip), *texts]


def _two_axis_front(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points of the Pareto front that are non-dominated in cost and latency, ignoring
    accuracy, ordered by cost."""
    front: list[dict[str, Any]] = []
    for point in sorted(
        (point for point in points if point["is_on_frontier"]), key=lambda point: (point["cost"], point["latency"])
    ):
        if not front or point["latency"] < front[-1]["latency"]:
            front.append(point)
    return front


def _labelled(points: list[dict[str, Any]], middle: float) -> list[dict[str, Any]]:
    """Return the points with labels: the name of the best variant, and the accuracy of points on
    the front if there are few."""
    front = [point for point in points if point["is_on_frontier"] or point["role"] == "best"]
    with_accuracy = [point for point in front if point["has_accuracy"]]
    named = [point for point in points if point["role"] == "best"]
    chosen = {id(point): point for point in (*named, *(with_accuracy if len(with_accuracy) <= _MAX_LABELS else []))}
    return [
        {**point, "label": _label(point), "align": "right" if point["cost"] > middle else "left"}
        for point in chosen.values()
    ]


def _label(point: dict[str, Any]) -> str:
    accuracy: str = point["accuracy"] if point["has_accuracy"] else ""
    if point["role"] != "best":
        return accuracy
    name = point["variant"] if len(point["variant"]) <= _MAX_LABEL_CHARS else "best"
    return f"{name}, {accuracy}" if accuracy else name


def _alternative(local: LocalSection, shown: list[VariantRow]) -> str:
    fastest = min(shown, key=lambda variant: variant.latency.value or 0.0)
    cheapest = min(shown, key=lambda variant: variant.cost.value or 0.0)
    text = (
        f"{len(shown)} variants. Fastest: {formatting.format_value_unit(fastest.latency)} ({fastest.name}); cheapest: "
        f"{formatting.format_value_unit(cheapest.cost)} ({cheapest.name})."
    )
    return text if local.best is None else f"{text} Best: {local.best}."


def _note(local: LocalSection, shown: list[VariantRow], missing: int) -> str:
    sentences = ["Lower left is better."]
    if sum(variant.is_on_frontier for variant in shown) > 1:
        beaten = (
            "cost, latency and accuracy"
            if any(variant.accuracy is not None for variant in shown)
            else "cost and latency"
        )
        sentences.append(f"Pareto-optimal: no variant is better in {beaten}. Dashed line: front of cost and latency.")
    if missing:
        sentences.append(f"{missing} of {len(local.variants)} variants not shown: not measured, or too few calls.")
    return " ".join(sentences)
