"""What the month's cost hangs on: each input from one end of its range to the other, the widest swing on top."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import altair as alt

from reports import formatting, plan_words
from reports.charts.picture import Drawing
from reports.charts.style import ACCENT, INK, PAPER, SERIES, WIDTH, chart_of, styled
from reports.plan_section import OfferRow, PlanSection, SwingRow

_MOST_ROWS = 8
_LONGEST_PX, _LONGEST_BESIDE_LONG_PX = 215, 150
_PX_A_LETTER = 6.4
_TICKS = 5


def tornado(plan: PlanSection | None) -> Drawing | None:
    """None without a plan, or where no input moves anything."""
    chosen = None if plan is None else plan.chosen
    if plan is None or chosen is None or chosen.usd_per_month.value is None:
        return None
    drawn = plan_words.moved(plan)[:_MOST_ROWS]
    if not drawn:
        return None
    return Drawing(
        key="tornado",
        title="What the month's cost hangs on",
        alternative=_alternative(drawn, chosen),
        spec=styled(_layers(drawn, chosen, chosen.usd_per_month.value), "tornado"),
        columns=("input", "one end", "USD/month", "cheapest", "other end", "USD/month", "cheapest"),
        rows=tuple(_row(one) for one in plan.swings),
        note=" ".join(part for part in (_NOTE, plan_words.unmoved(plan)) if part),
    )


_NOTE = "Sized anew by formula, one input at a time. An arrow names the offer that would then be the cheapest."


def _layers(drawn: list[SwingRow], chosen: OfferRow, planned: float) -> list[alt.Chart]:
    bars = [{**bar, "place": place} for place, one in enumerate(drawn) for bar in _bars(one, chosen, planned)]
    room_px = _room_px(bars)
    low, high = _domain([planned, *(bar["usd"] for bar in bars)], planned, room_px)
    axis = alt.Axis(format=",~r", values=_ticks(low, high))
    x = alt.X("usd:Q", title="USD/month", scale=alt.Scale(domain=[low, high], nice=False), axis=axis)
    y = alt.Y("place:O", axis=None, scale=alt.Scale(paddingInner=0.2, paddingOuter=0.1))
    tooltip = [
        alt.Tooltip("input:N"),
        alt.Tooltip("at:N"),
        alt.Tooltip("shown:N", title="USD/month"),
        alt.Tooltip("winner:N", title="cheapest"),
    ]
    marks = (
        chart_of(bars)
        .mark_bar(size=11, yOffset=7, minBandSize=3)
        .encode(x=x, x2="planned:Q", y=y, color=alt.Color("colour:N", scale=None, legend=None), tooltip=tooltip)
    )
    rule = chart_of([{"usd": planned}]).mark_rule(color=INK, strokeWidth=1).encode(x=x)
    return [marks, rule, *_names(drawn, y), *_ends(bars, y, max(room_px) + 10)]


def _names(drawn: list[SwingRow], y: alt.Y) -> Iterator[alt.Chart]:
    """Above their bars, and readable where the rule runs through them."""
    names = chart_of([{"place": place, "input": one.input} for place, one in enumerate(drawn)])
    for look in ({"color": PAPER, "stroke": PAPER, "strokeWidth": 4}, {"color": INK}):
        mark: dict[str, Any] = {"align": "left", "dy": -7, "dx": 2, "fontWeight": 600, **look}
        yield names.mark_text(**mark).encode(x=alt.value(0), y=y, text="input:N")


def _room_px(bars: list[dict[str, Any]]) -> tuple[float, float]:
    """What the words at the left and the right ends take."""
    left, right = (
        max((min(_LONGEST_PX, _PX_A_LETTER * len(bar["words"])) for bar in bars if bar["side"] == side), default=0)
        for side in ("left", "right")
    )
    most = _LONGEST_PX if left + right <= 1.5 * _LONGEST_PX else _LONGEST_BESIDE_LONG_PX
    return min(left, most), min(right, most)


def _domain(costs: list[float], planned: float, room_px: tuple[float, float]) -> tuple[float, float]:
    """The costs, and on either side as much more as the words there take."""
    left, right = (side + 12 for side in room_px)
    usd_a_px = ((max(costs) - min(costs)) or planned or 1.0) / (WIDTH - left - right)
    return min(costs) - left * usd_a_px, max(costs) + right * usd_a_px


def _ticks(low: float, high: float) -> list[float]:
    """Round costs inside, none of them negative."""
    rough = (high - max(0.0, low)) / _TICKS
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * part for part in (1, 2, 5, 10) if scale * part >= rough)
    return [step * place for place in range(max(0, math.ceil(low / step)), math.floor(high / step) + 1)]


def _bars(one: SwingRow, chosen: OfferRow, planned: float) -> Iterator[dict[str, Any]]:
    """From the planned cost to that at each end, the cheaper one first; its words stand outside both. An end where
    nothing fits has words and no bar."""
    both = ((one.usd_per_month_low, one.low, one.winner_low), (one.usd_per_month_high, one.high, one.winner_high))
    costs = [planned, *(usd for usd, _, _ in both if usd is not None)]
    ranked = sorted(both, key=lambda end: math.inf if end[0] is None else end[0])
    for (usd, at, winner), side in zip(ranked, ("left", "right"), strict=True):
        other = None if usd is None else plan_words.other_winner(winner, chosen)
        yield {
            "input": one.input,
            "at": at,
            "usd": planned if usd is None else usd,
            "winner": winner or formatting.NOT_AVAILABLE,
            "planned": planned,
            "edge": min(costs) if side == "left" else max(costs),
            "side": side,
            "colour": ACCENT if usd is not None and usd < planned else SERIES[1],
            "words": f"{at}: nothing fits" if usd is None else f"{at} → {_short(other, chosen.offer)}" if other else at,
            "shown": formatting.NOT_AVAILABLE if usd is None else formatting.money(usd),
        }


def _short(offer: str, chosen: str) -> str:
    """The instance, or the region where it is the same instance: a picture has no room for more."""
    instance, _, region = offer.partition("@")
    if region and instance == chosen.partition("@")[0]:
        return region
    return instance.partition("/")[2] or offer


def _ends(bars: list[dict[str, Any]], y: alt.Y, longest_px: float) -> Iterator[alt.Chart]:
    places: dict[str, dict[str, Any]] = {"left": {"align": "right", "dx": -5}, "right": {"align": "left", "dx": 5}}
    for side, place in places.items():
        if some := [bar for bar in bars if bar["side"] == side]:
            texts = chart_of(some).mark_text(dy=7, limit=longest_px, **place)
            yield texts.encode(x=alt.X("edge:Q"), y=y, text="words:N")


def _row(one: SwingRow) -> tuple[str, ...]:
    ends = ((one.low, one.usd_per_month_low, one.winner_low), (one.high, one.usd_per_month_high, one.winner_high))
    cells = [
        (at, formatting.NOT_AVAILABLE if usd is None else formatting.money(usd), winner or "nothing fits")
        for at, usd, winner in ends
    ]
    return (one.input, *cells[0], *cells[1])


def _alternative(drawn: list[SwingRow], chosen: OfferRow) -> str:
    told = "; ".join(plan_words.swing(one, chosen) for one in drawn)
    return f"Planned: {formatting.value_unit(chosen.usd_per_month)}. {told}."
