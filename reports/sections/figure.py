"""Describe a figure of lines, which the page and the window draw alike."""

from __future__ import annotations

from typing import Literal

import msgspec


class FigureAxis(msgspec.Struct, frozen=True):
    """Axis of a figure. Without `bounds`, its ends follow from the data, and it is logarithmic if the
    values differ by more than a factor of 20."""

    label: str
    unit: str = ""
    bounds: tuple[float, float] | None = None
    is_percentile: bool = False
    """True if the axis expands the tail, so that p90, p99 and p99.9 are equally far apart."""

    @property
    def text(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label


class FigureLine(msgspec.Struct, frozen=True):
    """Line of a figure. `key` is the metric or the source, which decides its style in the window."""

    key: str
    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    short_name: str = ""
    """Name at the end of the line in the window, where there is little room; empty if it is `name`."""


class LineFigure(msgspec.Struct, frozen=True, kw_only=True):
    """Figure of a section. `alternative` is its text alternative, and `columns` and `rows` are its data
    as a formatted table."""

    title: str
    x: FigureAxis
    y: FigureAxis
    lines: tuple[FigureLine, ...]
    is_stepped: bool = False
    """True if each value is in effect until the next x."""
    has_points: bool = False
    series_label: str = "Series"
    limit: float | None = None
    limit_axis: Literal["x", "y"] = "y"
    """Axis of the limit of the SLO. The window draws only a limit on the y axis."""
    limit_label: str = ""
    alternative: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str | None = None
