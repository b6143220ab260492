"""Tornado chart of the monthly cost: one bar per input, from the cost at one end of the input's
range to the cost at the other end, with the largest effect at the top."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import altair as alt

from reports import formatting, plan_sentences
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, INK, SERIES, WIDTH, build_halo_texts, build_layer, build_spec
from reports.plan_section import OfferRow, PlanSection, SensitivityRow

_MAX_ROWS = 8
_MAX_TEXT_PX, _MAX_TEXT_BESIDE_LONG_TEXT_PX = 215, 150
_PX_PER_CHAR = 6.4
_MAX_FONT_RATIO = 1.16
"""Widths of the fonts of browsers, compared with the font that shortens a label: DejaVu Sans is the
widest."""
_TICK_COUNT = 5


def build_tornado_chart(plan: PlanSection | None) -> Chart | None:
    """Build the tornado chart; `None` if the plan recommends no fleet, or if no input has an
    effect."""
    recommended_row = None if plan is None else plan.recommended_row
    if plan is None or recommended_row is None or recommended_row.usd_per_month.value is None:
        return None
    shown_inputs = plan_sentences.select_sensitive_inputs(plan)[:_MAX_ROWS]
    if not shown_inputs:
        return None
    return Chart(
        key="tornado",
        title="Cost sensitivity",
        alternative=_describe_sensitivities(shown_inputs, recommended_row),
        spec=build_spec(_build_layers(shown_inputs, recommended_row, recommended_row.usd_per_month.value), "tornado"),
        columns=(
            "input",
            "low value",
            "cost at low value ($/month)",
            "cheapest offer at low value",
            "high value",
            "cost at high value ($/month)",
            "cheapest offer at high value",
        ),
        rows=tuple(_build_row(sensitivity) for sensitivity in plan.sensitivity),
        note=" ".join(text for text in (_NOTE, plan_sentences.describe_insensitive_inputs(plan)) if text),
    )


_NOTE = (
    "One input is changed at a time, and the fleet is sized analytically, not simulated. An arrow marks a change of "
    "the cheapest offer."
)


def _build_layers(shown_inputs: list[SensitivityRow], recommended_row: OfferRow, planned_usd: float) -> list[alt.Chart]:
    bars = [
        {**bar, "place": index}
        for index, sensitivity in enumerate(shown_inputs)
        for bar in _build_bars(sensitivity, recommended_row, planned_usd)
    ]
    label_widths_px, max_label_width_px = _compute_label_widths_px(bars)
    low, high = _compute_domain([planned_usd, *(bar["usd"] for bar in bars)], planned_usd, label_widths_px)
    axis = alt.Axis(format=",~r", values=_compute_ticks(low, high))
    x = alt.X("usd:Q", title="Cost ($/month)", scale=alt.Scale(domain=[low, high], nice=False), axis=axis)
    y = alt.Y("place:O", axis=None, scale=alt.Scale(paddingInner=0.2, paddingOuter=0.1))
    tooltip = [
        alt.Tooltip("input:N"),
        alt.Tooltip("at:N", title="Value"),
        alt.Tooltip("shown:N", title="Cost ($/month)"),
        alt.Tooltip("winner:N", title="Cheapest offer"),
    ]
    marks = (
        build_layer(bars)
        .mark_bar(size=11, yOffset=7, minBandSize=3)
        .encode(x=x, x2=alt.X2("planned:Q"), y=y, color=alt.Color("colour:N", scale=None, legend=None), tooltip=tooltip)
    )
    rule = build_layer([{"usd": planned_usd}]).mark_rule(color=INK, strokeWidth=1).encode(x=x)
    return [marks, rule, *_build_name_layers(shown_inputs, y), *_build_end_labels(bars, y, max_label_width_px)]


def _build_name_layers(shown_inputs: list[SensitivityRow], y: alt.Y) -> list[alt.Chart]:
    """Build the input labels above the bars."""
    data = build_layer([{"place": index, "text": sensitivity.input} for index, sensitivity in enumerate(shown_inputs)])
    options = {"align": "left", "dy": -7, "dx": 2, "fontWeight": 600}
    return build_halo_texts(data, INK, options, x=alt.XValue(0), y=y)


def _compute_label_widths_px(bars: list[dict[str, Any]]) -> tuple[tuple[float, float], float]:
    """Return the widths in pixels that are reserved for the labels on the left and on the right,
    and the width to which longer labels are shortened."""
    left_px, right_px = (
        max((_PX_PER_CHAR * len(bar["words"]) for bar in bars if bar["side"] == side), default=0)
        for side in ("left", "right")
    )
    both_px = sum(min(_MAX_TEXT_PX, width_px) for width_px in (left_px, right_px))
    max_width_px = _MAX_TEXT_PX if both_px <= 1.5 * _MAX_TEXT_PX else _MAX_TEXT_BESIDE_LONG_TEXT_PX
    is_shortened = max(left_px, right_px) > max_width_px
    max_label_width_px = (max_width_px + 10) / (_MAX_FONT_RATIO if is_shortened else 1)
    return (min(left_px, max_width_px), min(right_px, max_width_px)), max_label_width_px


def _compute_domain(
    costs: list[float], planned_usd: float, label_widths_px: tuple[float, float]
) -> tuple[float, float]:
    """Return the range of monthly costs on the x axis, extended on both sides by the width of the
    labels."""
    left_px, right_px = (width_px + 12 for width_px in label_widths_px)
    usd_per_px = ((max(costs) - min(costs)) or planned_usd or 1.0) / (WIDTH - left_px - right_px)
    return min(costs) - left_px * usd_per_px, max(costs) + right_px * usd_per_px


def _compute_ticks(low: float, high: float) -> list[float]:
    """Return round, non-negative costs within the range, for the axis ticks."""
    min_step = (high - max(0.0, low)) / _TICK_COUNT
    power_of_ten = 10.0 ** math.floor(math.log10(min_step))
    step = next(power_of_ten * multiple for multiple in (1, 2, 5, 10) if power_of_ten * multiple >= min_step)
    return [step * index for index in range(max(0, math.ceil(low / step)), math.floor(high / step) + 1)]


def _build_bars(sensitivity: SensitivityRow, recommended_row: OfferRow, planned_usd: float) -> Iterator[dict[str, Any]]:
    """Yield two bars per input, from the planned cost to the cost at each end of the input's range,
    lower cost first. Labels are outside the bars. An end at which no offer meets the constraints
    has a label and no bar.
    """
    range_ends = (
        (sensitivity.usd_per_month_low, sensitivity.low, sensitivity.winner_low, sensitivity.winner_low_name),
        (sensitivity.usd_per_month_high, sensitivity.high, sensitivity.winner_high, sensitivity.winner_high_name),
    )
    costs = [planned_usd, *(end[0] for end in range_ends if end[0] is not None)]
    sorted_ends = sorted(range_ends, key=lambda end: math.inf if end[0] is None else end[0])
    for (usd, value_text, cheapest_offer, name), side in zip(sorted_ends, ("left", "right"), strict=True):
        other_cheapest_offer = (
            None if usd is None else plan_sentences.get_other_cheapest_offer(cheapest_offer, recommended_row)
        )
        yield {
            "input": sensitivity.input,
            "at": value_text,
            "usd": planned_usd if usd is None else usd,
            "winner": cheapest_offer or formatting.NOT_AVAILABLE,
            "planned": planned_usd,
            "edge": min(costs) if side == "left" else max(costs),
            "side": side,
            "colour": ACCENT if usd is not None and usd < planned_usd else SERIES[1],
            "words": f"{value_text}: no offer fits"
            if usd is None
            else f"{value_text} → {name or other_cheapest_offer}"
            if other_cheapest_offer
            else value_text,
            "shown": formatting.NOT_AVAILABLE if usd is None else formatting.format_money(usd),
        }


def _build_end_labels(bars: list[dict[str, Any]], y: alt.Y, max_label_width_px: float) -> Iterator[alt.Chart]:
    placements: dict[str, dict[str, Any]] = {"left": {"align": "right", "dx": -5}, "right": {"align": "left", "dx": 5}}
    for side, placement in placements.items():
        if side_bars := [bar for bar in bars if bar["side"] == side]:
            text_layer = build_layer(side_bars).mark_text(dy=7, limit=max_label_width_px, **placement)
            yield text_layer.encode(x=alt.X("edge:Q"), y=y, text=alt.Text("words:N"))


def _build_row(sensitivity: SensitivityRow) -> tuple[str, ...]:
    range_ends = (
        (sensitivity.low, sensitivity.usd_per_month_low, sensitivity.winner_low),
        (sensitivity.high, sensitivity.usd_per_month_high, sensitivity.winner_high),
    )
    cells = [
        (
            value_text,
            formatting.NOT_AVAILABLE if usd is None else formatting.format_money(usd),
            cheapest_offer or "no offer fits",
        )
        for value_text, usd, cheapest_offer in range_ends
    ]
    return (sensitivity.input, *cells[0], *cells[1])


def _describe_sensitivities(shown_inputs: list[SensitivityRow], recommended_row: OfferRow) -> str:
    descriptions = "; ".join(
        plan_sentences.format_sensitivity(sensitivity, recommended_row) for sensitivity in shown_inputs
    )
    return (
        f"The planned cost is {formatting.format_value_unit(recommended_row.usd_per_month)}. These are the costs with "
        f"one input changed: {descriptions}."
    )
