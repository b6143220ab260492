"""A chart of a report: its Vega-Lite specification, static SVG, text alternative and data table."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from reports.charts.renderer import get_chart_renderer
from reports.charts.style import WIDTH


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Chart of a report. `title` states what the chart shows, and `alternative` is the text
    alternative. `columns` and `rows` are the data of the chart as a formatted table."""

    key: str
    title: str
    alternative: str
    spec: dict[str, Any]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str | None = None


def render_svg(chart: Chart) -> str:
    """Render the chart as SVG. Raises ChartError if the chart cannot be drawn."""
    svg = get_chart_renderer().render_svg({**chart.spec, "width": WIDTH})
    clip_numbers: dict[str, int] = {}

    def renumber_clip(match: re.Match[str]) -> str:
        return f"{match[1]}{chart.key}-clip-{clip_numbers.setdefault(match[2], len(clip_numbers))}"

    # The renderer numbers clip paths per process. The IDs must be unique in a page and
    # reproducible.
    return re.sub(r'(id="|url\(#)clip(\d+)', renumber_clip, svg)
