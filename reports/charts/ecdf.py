"""The share of answers that took at most so long: every one of them, without the slow end stretched."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Drawing
from reports.charts.style import DRAWN_TIMES, chart_of, fitted, limit_mark, series_scales, styled
from reports.model import Report, Spectrum


def share_answered(report: Report) -> Drawing | None:
    """None when the answer rests on fewer than two successful requests."""
    drawn = [one for one in report.distributions if one.n > 1]
    if not drawn:
        return None
    limit = report.curve.limit if report.curve.metric in DRAWN_TIMES else None
    points = [point for one in drawn for point in _points(one)]
    widths = [point["ms"] for point in points] + ([] if limit is None else [limit.value])
    x = alt.X("ms:Q", title="ms", **fitted(widths, 20))
    y = alt.Y("percent:Q", title="answered within, %", scale=alt.Scale(domain=[0, 100]))
    tooltip = [
        alt.Tooltip("series:N", title="what"),
        alt.Tooltip("ms:Q", format=",.3~r"),
        alt.Tooltip("percent:Q", title="answered, %", format=",.4~r"),
    ]
    lines = (
        chart_of(points)
        .mark_line(interpolate="step-after", strokeWidth=1.7)
        .encode(x=x, y=y, tooltip=tooltip, **series_scales([one.label for one in drawn]))
    )
    mark = [] if limit is None else limit_mark(limit.value, f"SLO {formatting.limit(limit)}")
    return Drawing(
        key="ecdf",
        title="What share was answered how soon",
        alternative=" ".join(map(_sentence, drawn)),
        spec=styled([lines, *mark], "ecdf"),
        columns=("what", "share", "within, ms"),
        rows=tuple(row for one in drawn for row in _rows(one)),
        note=f"The empirical distribution of {formatting.count(drawn[0].n)} requests, the same as in the percentiles.",
    )


def _points(one: Spectrum) -> list[dict[str, Any]]:
    """From nothing, just before the first."""
    start = [{"series": one.label, "ms": one.ms[0], "percent": 0.0}]
    return start + [
        {"series": one.label, "ms": ms, "percent": round(100 * share, 4)}
        for share, ms in zip(one.share, one.ms, strict=True)
    ]


def _rows(one: Spectrum) -> list[tuple[str, ...]]:
    """A twentieth apart: of each, the first step that reaches it."""
    places = dict.fromkeys(bisect_right(one.share, mark / 20 - 1e-9) for mark in range(1, 21))
    return [
        (one.label, formatting.percent(one.share[place]), formatting.number(one.ms[place]))
        for place in places
        if place < len(one.ms)
    ]


def _sentence(one: Spectrum) -> str:
    half_ms = one.ms[bisect_right(one.share, 0.5 - 1e-9)]
    least, half, most = (formatting.number(ms) for ms in (one.ms[0], half_ms, one.ms[-1]))
    return f"{one.label[:1].upper()}{one.label[1:]}: from {least} ms to {most} ms, half of them at most {half} ms."
