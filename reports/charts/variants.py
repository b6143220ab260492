"""Pareto chart of the variants of a local model: cost vs. latency."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    ACCENT,
    HEIGHT,
    LIMIT,
    MUTED,
    PAPER,
    SERIES,
    WIDTH,
    build_front_line,
    build_layer,
    build_role_marks,
    build_spec,
    find_position,
    fit_scale,
)
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
_PX_PER_CHAR, _LABEL_HEIGHT_PX = 6.5, 14
_PLOT_PX = WIDTH - 75, HEIGHT - 90
_COST_RATIO, _LATENCY_RATIO = 5, 20
"""Ratio of the highest to the lowest value above which an axis is logarithmic."""


def build_variant_pareto_chart(report: Report) -> Chart | None:
    """Build the Pareto chart; `None` if fewer than two variants have both a latency and a cost."""
    local = report.local
    if local is None:
        return None
    drawable_variants = [
        variant for variant in local.variants if variant.latency.value is not None and variant.cost.value is not None
    ]
    if len(drawable_variants) < 2:
        return None
    points = [_build_point(variant) for variant in drawable_variants]
    missing_count = len(local.variants) - len(drawable_variants)
    unit = drawable_variants[0].cost.unit
    return Chart(
        key="variants-front",
        title="Cost vs. latency by variant",
        alternative=_describe_variants(local, drawable_variants),
        spec=build_spec(_build_layers(points, local, unit), "variants_front"),
        columns=("variant", local.axes.cost, local.axes.latency, "accuracy", "role"),
        rows=tuple(_build_row(variant) for variant in drawable_variants),
        note=_build_note(local, drawable_variants, missing_count),
    )


def get_variant_role(variant: VariantRow) -> str:
    if variant.state in _UNRELIABLE:
        return "unreliable"
    if variant.state == "best":
        return "best"
    if variant.slo == "missed":
        return "SLO missed"
    return "Pareto-optimal" if variant.is_on_frontier else "dominated"


def _build_point(variant: VariantRow) -> dict[str, Any]:
    role = get_variant_role(variant)
    return {
        "variant": variant.name,
        "cost": variant.cost.value,
        "latency": variant.latency.value,
        "role": role,
        "fill": PAPER if variant.state in _UNRELIABLE else _ROLES[role][0],
        "accuracy": _format_accuracy(variant),
        "has_accuracy": variant.accuracy is not None and variant.accuracy.value.value is not None,
        "shown_cost": formatting.format_quantity(variant.cost),
        "shown_latency": formatting.format_quantity(variant.latency),
        "throughput": formatting.format_quantity(variant.throughput),
        "is_on_frontier": variant.is_on_frontier,
    }


def _build_row(variant: VariantRow) -> tuple[str, ...]:
    front_note = ", Pareto-optimal" if variant.is_on_frontier and get_variant_role(variant) != "Pareto-optimal" else ""
    cost_and_latency = (formatting.format_quantity(variant.cost), formatting.format_quantity(variant.latency))
    return (variant.name, *cost_and_latency, _format_accuracy(variant), get_variant_role(variant) + front_note)


def _format_accuracy(variant: VariantRow) -> str:
    return (
        formatting.NOT_AVAILABLE if variant.accuracy is None else formatting.format_value_unit(variant.accuracy.value)
    )


def _build_layers(points: list[dict[str, Any]], local: LocalSection, unit: str) -> list[alt.Chart]:
    latencies, costs = ([point[name] for point in points] for name in ("latency", "cost"))
    x = alt.X(
        "cost:Q",
        title=f"{local.axes.cost} ({formatting.format_unit(unit)})",
        **fit_scale(costs, _COST_RATIO, from_zero=False),
    )
    latencies.append(1.15 * max(latencies))  # room for a label above the slowest variant
    y = alt.Y("latency:Q", title=f"{local.axes.latency} (ms)", **fit_scale(latencies, _LATENCY_RATIO))
    front = _select_two_axis_front(points)
    labeled_points = _select_readable_labels(
        _select_labeled_points(points, (min(costs) + max(costs)) / 2), costs, latencies
    )
    label_layers = [
        build_layer(aligned_points)
        .mark_text(align=align, dx=0, dy=-12, fontWeight=600)
        .encode(x=x, y=y, text=alt.Text("label:N"))
        for align in ("left", "right")
        if (aligned_points := [point for point in labeled_points if point["align"] == align])
    ]
    tooltip = [
        alt.Tooltip("variant:N"),
        alt.Tooltip("shown_latency:N", title="Latency"),
        alt.Tooltip("shown_cost:N", title="Cost"),
        alt.Tooltip("throughput:N"),
        alt.Tooltip("accuracy:N"),
    ]
    return [*build_front_line(front, x, y), build_role_marks(points, _ROLES, x, y, tooltip), *label_layers]


def _select_two_axis_front(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points of the Pareto front that are non-dominated in cost and latency alone,
    ignoring accuracy, ordered by cost."""
    front: list[dict[str, Any]] = []
    for point in sorted(
        (point for point in points if point["is_on_frontier"]), key=lambda point: (point["cost"], point["latency"])
    ):
        if not front or point["latency"] < front[-1]["latency"]:
            front.append(point)
    return front


def _select_labeled_points(points: list[dict[str, Any]], middle_cost: float) -> list[dict[str, Any]]:
    """Return the points that have labels: the best variant with its name, and, if there are few,
    the points on the Pareto front with their accuracy."""
    front = [point for point in points if point["is_on_frontier"] or point["role"] == "best"]
    points_with_accuracy = [point for point in front if point["has_accuracy"]]
    best_points = [point for point in points if point["role"] == "best"]
    points_by_id = {
        id(point): point
        for point in (*best_points, *(points_with_accuracy if len(points_with_accuracy) <= _MAX_LABELS else []))
    }
    return [
        {**point, "label": _format_label(point), "align": "right" if point["cost"] > middle_cost else "left"}
        for point in points_by_id.values()
    ]


def _select_readable_labels(
    labeled_points: list[dict[str, Any]], costs: list[float], latencies: list[float]
) -> list[dict[str, Any]]:
    """Omit each label that would cover one before it. The accuracy is also in the tooltip and the
    table. `costs` and `latencies` are the values that the axes fit."""
    shown: list[tuple[float, float, float, dict[str, Any]]] = []
    for point in labeled_points:
        width_px = _PX_PER_CHAR * len(point["label"])
        x_px = _PLOT_PX[0] * find_position(point["cost"], costs, _COST_RATIO, from_zero=False)
        y_px = _PLOT_PX[1] * find_position(point["latency"], latencies, _LATENCY_RATIO)
        left_px = x_px - (width_px if point["align"] == "right" else 0)
        if all(
            left_px > other_left_px + other_width_px
            or other_left_px > left_px + width_px
            or abs(y_px - other_y_px) > _LABEL_HEIGHT_PX
            for other_left_px, other_width_px, other_y_px, _ in shown
        ):
            shown.append((left_px, width_px, y_px, point))
    return [point for *_, point in shown]


def _format_label(point: dict[str, Any]) -> str:
    accuracy_text: str = point["accuracy"] if point["has_accuracy"] else ""
    if point["role"] != "best":
        return accuracy_text
    name = point["variant"] if len(point["variant"]) <= _MAX_LABEL_CHARS else "best"
    return f"{name}, {accuracy_text}" if accuracy_text else name


def _describe_variants(local: LocalSection, shown_variants: list[VariantRow]) -> str:
    fastest_variant = min(shown_variants, key=lambda variant: variant.latency.value or 0.0)
    cheapest_variant = min(shown_variants, key=lambda variant: variant.cost.value or 0.0)
    description = (
        f"{len(shown_variants)} variants are shown. The fastest is {fastest_variant.name} "
        f"({formatting.format_value_unit(fastest_variant.latency)}); the cheapest is {cheapest_variant.name} "
        f"({formatting.format_value_unit(cheapest_variant.cost)})."
    )
    return description if local.best is None else f"{description} The best is {local.best}."


def _build_note(local: LocalSection, shown_variants: list[VariantRow], missing_count: int) -> str:
    sentences = ["Lower left is better."]
    if sum(variant.is_on_frontier for variant in shown_variants) > 1:
        compared_metrics_text = (
            "cost, latency and accuracy"
            if any(variant.accuracy is not None for variant in shown_variants)
            else "cost and latency"
        )
        sentences.append(
            f"A variant is Pareto-optimal if no variant is better in {compared_metrics_text}. The dashed line is the "
            "front of cost and latency."
        )
    if missing_count:
        sentences.append(
            f"{missing_count} of {len(local.variants)} variants are not shown, because they were not measured or have "
            f"too few {'repetitions' if local.is_language_model else 'calls'}."
        )
    return " ".join(sentences)
