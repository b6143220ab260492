"""What the month's cost hangs on: each input from one end of its range to the other, the widest swing on top."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt

from reports import formatting, plan_words
from reports.charts.picture import Drawing
from reports.charts.style import ACCENT, INK, MUTED, SERIES, chart_of, styled
from reports.plan_section import OfferRow, PlanSection, SwingRow

_MOST_ROWS = 8
_ROOM = 0.55
"""Of the costs' range, on either side, for the words at the ends of the bars."""
_LONGEST_PX = 150


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
        columns=("input", "at", "USD/month", "cheapest", "at", "USD/month", "cheapest"),
        rows=tuple(_row(one) for one in plan.swings),
        note=" ".join(part for part in (_NOTE, plan_words.unmoved(plan)) if part),
    )


_NOTE = "Sized anew by formula, one input at a time. An arrow names the offer that would then be the cheapest."


def _layers(drawn: list[SwingRow], chosen: OfferRow, planned: float) -> list[alt.Chart]:
    bars = [bar for one in drawn for bar in _bars(one, chosen, planned)]
    order = [one.input for one in drawn]
    costs = [planned, *(bar["usd"] for bar in bars)]
    room = _ROOM * ((max(costs) - min(costs)) or planned or 1.0)
    low, high = min(costs) - room, max(costs) + room
    ticks = alt.Axis(format=",~r", tickCount=5, labelExpr="datum.value < 0 ? '' : datum.label")
    x = alt.X("usd:Q", title="USD/month", scale=alt.Scale(domain=[low, high], nice=False), axis=ticks)
    y = alt.Y("input:N", sort=order, axis=None, scale=alt.Scale(paddingInner=0.2, paddingOuter=0.1))
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
    names = chart_of([{"input": name} for name in order]).mark_text(align="left", dy=-7, dx=2, fontWeight=600)
    rule = chart_of([{"usd": planned}]).mark_rule(color=INK, strokeWidth=1).encode(x=x)
    return [marks, rule, names.encode(x=alt.value(0), y=y, text="input:N"), *_ends(bars, y)]


def _bars(one: SwingRow, chosen: OfferRow, planned: float) -> Iterator[dict[str, Any]]:
    """From the planned cost to that at each end, the cheaper one first; its words stand outside both."""
    both = ((one.usd_per_month_low, one.low, one.winner_low), (one.usd_per_month_high, one.high, one.winner_high))
    ends = sorted((usd, place) for place, (usd, _, _) in enumerate(both) if usd is not None)
    costs = [planned, *(usd for usd, _ in ends)]
    for rank, (usd, place) in enumerate(ends):
        _, at, winner = both[place]
        other = plan_words.other_winner(winner, chosen)
        is_left = rank == 0 and (len(ends) > 1 or usd < planned)
        yield {
            "input": one.input,
            "at": at,
            "usd": usd,
            "winner": winner,
            "planned": planned,
            "edge": min(costs) if is_left else max(costs),
            "side": "left" if is_left else "right",
            "colour": ACCENT if usd < planned else SERIES[1] if usd > planned else MUTED,
            "words": f"{at} → {_short(other)}" if other else at,
            "shown": formatting.money(usd),
        }


def _short(offer: str) -> str:
    """Without the region, for which a picture has no room."""
    return offer.partition("@")[0]


def _ends(bars: list[dict[str, Any]], y: alt.Y) -> Iterator[alt.Chart]:
    places: dict[str, dict[str, Any]] = {"left": {"align": "right", "dx": -5}, "right": {"align": "left", "dx": 5}}
    for side, place in places.items():
        if some := [bar for bar in bars if bar["side"] == side]:
            texts = chart_of(some).mark_text(dy=7, limit=_LONGEST_PX, **place)
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
