"""Chart of the decision of a plan: demand over the day, and the capacity of the planned number of
instances, one instance fewer and one instance more."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, INK, MUTED, build_halo_texts, build_layer, build_spec
from reports.plan_section import OfferRow, PlanSection

_HOURS = 24


def build_demand_chart(plan: PlanSection | None) -> Chart | None:
    """Build the chart of demand and capacity; `None` unless the plan recommends a fleet with a
    known capacity."""
    row = plan.recommended_row if plan else None
    if plan is None or row is None or not row.instances:
        return None
    capacity_per_instance, demand = _get_capacity_per_instance(row), _get_demand(plan)
    if not capacity_per_instance or len(demand) != _HOURS:
        return None
    levels: list[dict[str, Any]] = [
        {
            "count": count,
            "per_s": count * capacity_per_instance,
            "planned": count == row.instances,
            "text": _format_label(count, count * capacity_per_instance, row.instances),
        }
        for count in (row.instances - 1, row.instances, row.instances + 1)
        if count > 0
    ]
    return Chart(
        key="demand",
        title="Demand over the day vs. capacity",
        alternative=_describe_levels(levels, demand),
        spec=build_spec(_build_layers(levels, demand), "demand"),
        columns=("hour", "demand (req/s)", *(f"capacity of {level['count']} (req/s)" for level in levels)),
        rows=tuple(
            (
                f"{hour:02}:00",
                formatting.format_number(rate),
                *(formatting.format_number(level["per_s"]) for level in levels),
            )
            for hour, rate in enumerate(demand)
        ),
        note=_build_note(plan, row),
    )


def _get_capacity_per_instance(row: OfferRow) -> float | None:
    return row.capacity.value if row.planned_rate_per_s is None else row.planned_rate_per_s


def _get_demand(plan: PlanSection) -> tuple[float, ...]:
    """Return the arrival rate per hour: that of the simulated peak day if there is one, otherwise
    the peak rate scaled by the hourly profile."""
    if plan.day is not None:
        return plan.day.arrivals_per_s
    return tuple(plan.peak_per_s * share for share in plan.hourly_share)


def _format_label(count: int, rate_per_s: float, planned_count: int) -> str:
    text = f"{formatting.format_count_noun(count, 'instance')}: {formatting.format_number(rate_per_s)}"
    return f"{text} (planned)" if count == planned_count else text


def _build_note(plan: PlanSection, row: OfferRow) -> str:
    rate_text = "its median max rate within SLO"
    if row.planned_rate_per_s is not None:
        rate_text = (
            f"the rate at which it meets the SLO with {formatting.format_probability(plan.confidence)} probability"
        )
    spare_count = row.spare or 0
    spare_note = (
        f"; {formatting.format_count(spare_count)} of the planned instances {'is' if spare_count == 1 else 'are'} spare"
    )
    return f"The capacity of an instance is {rate_text}{spare_note if spare_count else ''}."


def _build_layers(levels: list[dict[str, Any]], demand: tuple[float, ...]) -> list[alt.Chart]:
    hours = [
        {"hour": hour, "end": hour + 1, "rate": rate, "zero": 0, "from": f"{hour:02}:00"}
        for hour, rate in enumerate(demand)
    ]
    max_rate = 1.1 * max(*demand, *(level["per_s"] for level in levels))
    scale = alt.Scale(domain=[0, _HOURS], nice=False)
    x = alt.X("hour:Q", title="Hour of day", scale=scale, axis=alt.Axis(values=list(range(0, 25, 3)), format="d"))
    y = alt.Y(
        "rate:Q",
        title="Request rate (req/s)",
        scale=alt.Scale(domain=[0, max_rate], nice=False),
        axis=alt.Axis(format=",~r"),
    )
    tooltip = [alt.Tooltip("from:N", title="Hour"), alt.Tooltip("rate:Q", title="Demand (req/s)", format=",.3~r")]
    bars = (
        build_layer(hours)
        .mark_rect(color=MUTED, opacity=0.35)
        .encode(x=x, x2=alt.X2("end:Q"), y=y, y2=alt.Y2("zero:Q"), tooltip=tooltip)
    )
    return [bars, *(layer for level in levels for layer in _build_level_layers(level))]


def _build_level_layers(level: dict[str, Any]) -> list[alt.Chart]:
    """Draw the capacity of a number of instances as a horizontal line, labeled above its left
    end."""
    data, is_planned = build_layer([level]), level["planned"]
    color, width = (ACCENT, 2.5) if is_planned else (INK, 1.2)
    y = alt.Y("per_s:Q")
    rule = data.mark_rule(color=color, strokeWidth=width, strokeDash=[1, 0] if is_planned else [5, 4]).encode(y=y)
    options: dict[str, Any] = {"align": "left", "baseline": "bottom", "dx": 4, "dy": -3}
    options |= {"fontWeight": 600} if is_planned else {}
    return [rule, *build_halo_texts(data, color, options, x=alt.XValue(0), y=y)]


def _describe_levels(levels: list[dict[str, Any]], demand: tuple[float, ...]) -> str:
    low_text, high_text = (formatting.format_number(select_extreme(demand)) for select_extreme in (min, max))
    capacities_text = ", ".join(level["text"] for level in levels)
    return (
        f"The demand ranges from {low_text} to {formatting.with_unit(high_text, 'req/s')}. These capacities are shown "
        f"in req/s: {capacities_text}."
    )
