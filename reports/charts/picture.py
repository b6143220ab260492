"""One chart of a report: its specification, its static picture, its words and its numbers."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from reports.charts.renderer import chart_renderer
from reports.charts.style import WIDTH


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """`title` says what to see, `alternative` says it without seeing; `columns` and `rows` are the data as text."""

    key: str
    title: str
    alternative: str
    spec: dict[str, Any]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str | None = None


def static_svg(drawing: Drawing) -> str:
    """Raises ChartError where it cannot be drawn."""
    svg = chart_renderer().svg_of({**drawing.spec, "width": WIDTH})
    numbers: dict[str, int] = {}

    def renumbered(found: re.Match[str]) -> str:
        return f"{found[1]}{drawing.key}-clip-{numbers.setdefault(found[2], len(numbers))}"

    # the renderer counts clip paths through the whole process: unique in a page, and the same every time, is wanted
    return re.sub(r'(id="|url\(#)clip(\d+)', renumbered, svg)
