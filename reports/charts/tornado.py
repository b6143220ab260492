"""Tornado chart of the monthly cost: the cost at both ends of the range of each input, with the
largest effect at the top."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import altair as alt

from reports import formatting, plan_sentences
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, INK, PAPER, SERIES, WIDTH, build_spec, new_chart
from reports.plan_section import OfferRow, PlanSection, SensitivityRow

_MAX_ROWS = 8
_MAX_TEXT_PX, _MAX_TEXT_BESIDE_LONG_PX = 215, 150
_PX_PER_CHAR = 6.4
_TICKS = 5


def tornado(plan: PlanSection | None) -> Chart | None:
    """Build the tornado chart; `None` without a recommended fleet, or if no input has an effect."""
    chosen = None if plan is None else plan.recommended_row
    if plan is None or chosen is None or chosen.usd_per_month.value is None:
        return None
    shown = plan_sentences.sensitive_inputs(plan)[:_MAX_ROWS]
    if not shown:
        return None
    return Chart(
        key="tornado",
        title="Cost sensitivity",
        alternative=_alternative(shown, chosen),
        spec=build_spec(_layers(shown, chosen, chosen.usd_per_month.value), "tornado"),
        columns=("input", "low", "$/month", "cheapest offer", "high", "$/month", "cheapest offer"),
        rows=tuple(_row(sensitivity) for sensitivity in plan.sensitivity),
        note=" ".join(text for text in (_NOTE, plan_sentences.describe_insensitive_inputs(plan)) if text),
    )


_NOTE = "One input changed at a time, sized by formula. An arrow marks a different cheapest offer."


def _layers(shown: list[SensitivityRow], chosen: OfferRow, planned: float) -> list[alt.Chart]:
    bars = [
        {**bar, "place": index}
        for index, sensitivity in enumerate(shown)
        for bar in _bars(sensitivity, chosen, planned)
    ]
    room_px = _room_px(bars)
    low, high = _domain([planned, *(bar["usd"] for bar in bars)], planned, room_px)
    axis = alt.Axis(format=",~r", values=_ticks(low, high))
    x = alt.X("usd:Q", title="$/month", scale=alt.Scale(domain=[low, high], nice=False), axis=axis)
    y = alt.Y("place:O", axis=None, scale=alt.Scale(paddingInner=0.2, paddingOuter=0.1))
    tooltip = [
        alt.Tooltip("input:N"),
        alt.Tooltip("at:N", title="value"),
        alt.Tooltip("shown:N", title="$/month"),
        alt.Tooltip("winner:N", title="cheapest offer"),
    ]
    marks = (
        new_chart(bars)
        .mark_bar(size=11, yOffset=7, minBandSize=3)
        .encode(x=x, x2=alt.X2("planned:Q"), y=y, color=alt.Color("colour:N", scale=None, legend=None), tooltip=tooltip)
    )
    rule = new_chart([{"usd": planned}]).mark_rule(color=INK, strokeWidth=1).encode(x=x)
    return [marks, rule, *_names(shown, y), *_ends(bars, y, max(room_px) + 10)]


def _names(shown: list[SensitivityRow], y: alt.Y) -> Iterator[alt.Chart]:
    """Yield the input labels above the bars. A halo keeps the labels readable where the
    planned-cost line crosses them."""
    names = new_chart([{"place": index, "input": sensitivity.input} for index, sensitivity in enumerate(shown)])
    for style in ({"color": PAPER, "stroke": PAPER, "strokeWidth": 4}, {"color": INK}):
        mark: dict[str, Any] = {"align": "left", "dy": -7, "dx": 2, "fontWeight": 600, **style}
        yield names.mark_text(**mark).encode(x=alt.value(0), y=y, text=alt.Text("input:N"))


def _room_px(bars: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the width in pixels reserved for the labels on the left and on the right."""
    left, right = (
        max((min(_MAX_TEXT_PX, _PX_PER_CHAR * len(bar["words"])) for bar in bars if bar["side"] == side), default=0)
        for side in ("left", "right")
    )
    max_px = _MAX_TEXT_PX if left + right <= 1.5 * _MAX_TEXT_PX else _MAX_TEXT_BESIDE_LONG_PX
    return min(left, max_px), min(right, max_px)


def _domain(costs: list[float], planned: float, room_px: tuple[float, float]) -> tuple[float, float]:
    """Return the range of costs on the x axis, extended on both sides by the width of the
    labels."""
    left, right = (side + 12 for side in room_px)
    usd_a_px = ((max(costs) - min(costs)) or planned or 1.0) / (WIDTH - left - right)
    return min(costs) - left * usd_a_px, max(costs) + right * usd_a_px


def _ticks(low: float, high: float) -> list[float]:
    """Return round, non-negative costs within the range, as axis ticks."""
    rough = (high - max(0.0, low)) / _TICKS
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * multiple for multiple in (1, 2, 5, 10) if scale * multiple >= rough)
    return [step * index for index in range(max(0, math.ceil(low / step)), math.floor(high / step) + 1)]


def _bars(sensitivity: SensitivityRow, chosen: OfferRow, planned: float) -> Iterator[dict[str, Any]]:
    """Yield bars from the planned cost to the cost at each end of the input's range, lower cost
    first, with labels outside the bars.

    An end at which no offer fits has a label and no bar.
    """
    ends = (
        (sensitivity.usd_per_month_low, sensitivity.low, sensitivity.winner_low, sensitivity.winner_low_name),
        (sensitivity.usd_per_month_high, sensitivity.high, sensitivity.winner_high, sensitivity.winner_high_name),
    )
    costs = [planned, *(end[0] for end in ends if end[0] is not None)]
    ranked = sorted(ends, key=lambda end: math.inf if end[0] is None else end[0])
    for (usd, at, winner, name), side in zip(ranked, ("left", "right"), strict=True):
        next_winner = None if usd is None else plan_sentences.other_cheapest(winner, chosen)
        yield {
            "input": sensitivity.input,
            "at": at,
            "usd": planned if usd is None else usd,
            "winner": winner or formatting.NOT_AVAILABLE,
            "planned": planned,
            "edge": min(costs) if side == "left" else max(costs),
            "side": side,
            "colour": ACCENT if usd is not None and usd < planned else SERIES[1],
            "words": f"{at}: no offer fits" if usd is None else f"{at} → {name or next_winner}" if next_winner else at,
            "shown": formatting.NOT_AVAILABLE if usd is None else formatting.format_money(usd),
        }


def _ends(bars: list[dict[str, Any]], y: alt.Y, longest_px: float) -> Iterator[alt.Chart]:
    placements: dict[str, dict[str, Any]] = {"left": {"align": "right", "dx": -5}, "right": {"align": "left", "dx": 5}}
    for side, placement in placements.items():
        if side_bars := [bar for bar in bars if bar["side"] == side]:
            texts = new_chart(side_bars).mark_text(dy=7, limit=longest_px, **placement)
            yield texts.encode(x=alt.X("edge:Q"), y=y, text=alt.Text("words:N"))


def _row(sensitivity: SensitivityRow) -> tuple[str, ...]:
    ends = (
        (sensitivity.low, sensitivity.usd_per_month_low, sensitivity.winner_low),
        (sensitivity.high, sensitivity.usd_per_month_high, sensitivity.winner_high),
    )
    cells = [
        (at, formatting.NOT_AVAILABLE if usd is None else formatting.format_money(usd), winner or "no offer fits")
        for at, usd, winner in ends
    ]
    return (sensitivity.input, *cells[0], *cells[1])


def _alternative(shown: list[SensitivityRow], chosen: OfferRow) -> str:
    descriptions = "; ".join(plan_sentences.format_sensitivity(sensitivity, chosen) for sensitivity in shown)
    return f"Planned: {formatting.format_value_unit(chosen.usd_per_month)}. {descriptions}."
