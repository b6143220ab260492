"""Variants of a local model beside one another: what each costs against the latency it gives."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Drawing
from reports.charts.style import ACCENT, LIMIT, MUTED, PAPER, SERIES, chart_of, fitted, role_marks, styled
from reports.local_model import LocalSection, VariantRow, VariantState
from reports.model import Report

_ROLES = {
    "best": (ACCENT, "diamond"),
    "on the front": (SERIES[2], "square"),
    "misses the SLO": (SERIES[1], "triangle-down"),
    "behind another": (MUTED, "circle"),
    "not to be relied on": (LIMIT, "cross"),
}
_UNRELIABLE: tuple[VariantState, ...] = ("INVALID", "ended early")
_MOST_LABELS = 8
_LONGEST_LABEL = 34


def variant_front(report: Report) -> Drawing | None:
    """None with fewer than two variants that have both a latency and a cost."""
    local = report.local
    if local is None:
        return None
    drawable = [one for one in local.variants if one.latency.value is not None and one.cost.value is not None]
    if len(drawable) < 2:
        return None
    points = [_point(one) for one in drawable]
    missing = len(local.variants) - len(drawable)
    unit = drawable[0].cost.unit
    return Drawing(
        key="variants-front",
        title="What each variant costs, and its latency",
        alternative=_alternative(local, drawable),
        spec=styled(_layers(points, local, unit), "variants_front"),
        columns=("variant", local.axes.cost, local.axes.latency, "accuracy", "role"),
        rows=tuple(_row(one) for one in drawable),
        note=_note(local, drawable, missing),
    )


def role_of(one: VariantRow) -> str:
    if one.state in _UNRELIABLE:
        return "not to be relied on"
    if one.state == "best":
        return "best"
    if one.slo == "missed":
        return "misses the SLO"
    return "on the front" if one.on_front else "behind another"


def _point(one: VariantRow) -> dict[str, Any]:
    role = role_of(one)
    return {
        "variant": one.name,
        "cost": one.cost.value,
        "latency": one.latency.value,
        "role": role,
        "fill": PAPER if one.state in _UNRELIABLE else _ROLES[role][0],
        "accuracy": _accuracy(one),
        "has_accuracy": one.accuracy is not None and one.accuracy.value.value is not None,
        "shown_cost": formatting.quantity(one.cost),
        "shown_latency": formatting.quantity(one.latency),
        "throughput": formatting.quantity(one.throughput),
        "on_front": one.on_front,
    }


def _row(one: VariantRow) -> tuple[str, ...]:
    front = ", on the front" if one.on_front and role_of(one) != "on the front" else ""
    costs = (formatting.quantity(one.cost), formatting.quantity(one.latency))
    return (one.name, *costs, _accuracy(one), role_of(one) + front)


def _accuracy(one: VariantRow) -> str:
    return formatting.NOT_AVAILABLE if one.accuracy is None else formatting.value_unit(one.accuracy.value)


def _layers(points: list[dict[str, Any]], local: LocalSection, unit: str) -> list[alt.Chart]:
    latencies, costs = ([one[name] for one in points] for name in ("latency", "cost"))
    x = alt.X("cost:Q", title=f"{local.axes.cost}, {unit}", **fitted(costs, 5, from_zero=False))
    top = 1.15 * max(latencies)  # and room for a label above the slowest
    y = alt.Y("latency:Q", title=f"{local.axes.latency}, ms", **fitted([*latencies, top], 20))
    front = _edge(points)
    line = (
        chart_of(front)
        .mark_line(interpolate="step-after", color=SERIES[2], strokeWidth=1.5, strokeDash=[4, 3])
        .encode(x=x, y=y)
    )
    named = _labelled(points, (min(costs) + max(costs)) / 2)
    texts = [
        chart_of(some).mark_text(align=align, dx=0, dy=-12, fontWeight=600).encode(x=x, y=y, text="label:N")
        for align in ("left", "right")
        if (some := [one for one in named if one["align"] == align])
    ]
    tooltip = [
        alt.Tooltip("variant:N"),
        alt.Tooltip("shown_latency:N", title="latency"),
        alt.Tooltip("shown_cost:N", title="cost"),
        alt.Tooltip("throughput:N"),
        alt.Tooltip("accuracy:N"),
    ]
    return [*([line] if front else []), role_marks(points, _ROLES, x, y, tooltip), *texts]


def _edge(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those on the front that none beats in cost and latency alone, by cost."""
    kept: list[dict[str, Any]] = []
    for one in sorted((one for one in points if one["on_front"]), key=lambda one: (one["cost"], one["latency"])):
        if not kept or one["latency"] < kept[-1]["latency"]:
            kept.append(one)
    return kept


def _labelled(points: list[dict[str, Any]], middle: float) -> list[dict[str, Any]]:
    """The best by its name; those on the front by their accuracy, while they are few."""
    front = [one for one in points if one["on_front"] or one["role"] == "best"]
    known = [one for one in front if one["has_accuracy"]]
    named = [one for one in points if one["role"] == "best"]
    chosen = {id(one): one for one in (*named, *(known if len(known) <= _MOST_LABELS else []))}
    return [
        {**one, "label": _label(one), "align": "right" if one["cost"] > middle else "left"} for one in chosen.values()
    ]


def _label(one: dict[str, Any]) -> str:
    accuracy: str = one["accuracy"] if one["has_accuracy"] else ""
    if one["role"] != "best":
        return accuracy
    name = one["variant"] if len(one["variant"]) <= _LONGEST_LABEL else "best"
    return f"{name}, {accuracy}" if accuracy else name


def _alternative(local: LocalSection, drawn: list[VariantRow]) -> str:
    quickest = min(drawn, key=lambda one: one.latency.value or 0.0)
    cheapest = min(drawn, key=lambda one: one.cost.value or 0.0)
    text = (
        f"{len(drawn)} variants; the quickest takes {formatting.value_unit(quickest.latency)} ({quickest.name}), the "
        f"cheapest costs {formatting.value_unit(cheapest.cost)} ({cheapest.name})."
    )
    return text if local.best is None else f"{text} Best: {local.best}."


def _note(local: LocalSection, drawn: list[VariantRow], missing: int) -> str:
    told = ["Lower and further left is better."]
    if sum(one.on_front for one in drawn) > 1:
        beaten = "cost, latency and accuracy" if any(one.accuracy is not None for one in drawn) else "cost and latency"
        told.append(f"Those on the front are beaten by no other in {beaten}; the dashed line is by cost and latency.")
    if missing:
        told.append(f"{missing} of {len(local.variants)} variants have no place: not measured, or too few calls.")
    return " ".join(told)
