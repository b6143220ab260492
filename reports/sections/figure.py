"""Describe the figures of sections, which the page and the window draw alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from reports.formatting import format_quantity
from reports.quantity import Quantity

MAX_SERIES, MAX_GROUPS = 6, 12
"""Maximum numbers of lines and of groups of bars in a figure. Its table has the others."""


class FigureAxis(msgspec.Struct, frozen=True):
    """Axis of a figure. Without `bounds` and with the scale `auto`, its ends follow from the data, and it
    is logarithmic if the ratio of the highest to the lowest value exceeds `max_linear_ratio`. A scale of
    `time` ends with the data, and `round` begins at 0 and ends with a round number. The other scales have
    a tick at each value of the data."""

    label: str
    unit: str = ""
    bounds: tuple[float, float] | None = None
    scale: Literal["auto", "time", "round", "linear", "log2"] = "auto"
    max_linear_ratio: float = 20.0
    is_from_zero: bool = True
    is_percentile: bool = False
    """True if the axis expands the tail, so that p90, p99 and p99.9 are equally far apart."""

    @property
    def text(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label


class FigureLine(msgspec.Struct, frozen=True):
    """Line of a figure. `key` is the metric or the source, which decides its style in the window. A `y` of
    `None` is a gap."""

    key: str
    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    short_name: str = ""
    """Name at the end of the line in the window, where there is little room; empty if it is `name`."""
    texts: tuple[str, ...] = ()
    """Values as text, with their intervals; empty if the page formats them."""
    intervals: tuple[tuple[float, float] | None, ...] = ()
    """Intervals of the values, which the window shades; empty if there are none."""
    style_index: int | None = None
    """Style in the window; `None` for that of `key`."""


def build_line(name: str, quantities: Iterable[tuple[float, Quantity]]) -> FigureLine:
    """Build a line of the known quantities by x, with their texts and intervals."""
    points = [(x, quantity, quantity.value) for x, quantity in quantities if quantity.value is not None]
    return FigureLine(
        name,
        name,
        tuple(x for x, _, _ in points),
        tuple(value for _, _, value in points),
        texts=tuple(format_quantity(quantity) for _, quantity, _ in points),
        intervals=tuple(quantity.ci95 for _, quantity, _ in points),
    )


def describe_hidden(count: int, noun: str) -> str | None:
    """Return the note about what only the table of a figure has; `None` if there is nothing."""
    return f"{count} more {noun} are only in the table." if count else None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Figure of a section. `alternative` is its text alternative, and `columns` and `rows` are its data
    as a formatted table."""

    title: str
    alternative: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str | None = None


class LineFigure(Figure, frozen=True, kw_only=True):
    """Figure of lines. A section with such a figure needs no code of its own in the window."""

    x: FigureAxis
    y: FigureAxis
    lines: tuple[FigureLine, ...]
    is_stepped: bool = False
    """True if each value is in effect until the next x."""
    has_points: bool = False
    series_label: str = "Series"
    markers: tuple[tuple[float, str], ...] = ()
    """Values of x that are marked, with their labels."""
    limit: float | None = None
    limit_axis: Literal["x", "y"] = "y"
    """Axis of the limit of the SLO. The window draws only a limit on the y axis."""
    limit_label: str = ""


class FigureBand(msgspec.Struct, frozen=True):
    """Stage of a run on the time axis, in s since the start."""

    start_s: float
    end_s: float
    stage: str
    kind: str = ""


class TimelineFigure(LineFigure, frozen=True, kw_only=True):
    """Figure of lines over the run, whose values are those of time bins and are shown together when the
    user points at a bin."""

    bin_s: float
    stages: tuple[FigureBand, ...] = ()
    steady_states: tuple[FigureBand, ...] = ()
    unplotted_lines: tuple[FigureLine, ...] = ()
    """Values that are only shown when the user points at a bin."""


class FigureBar(msgspec.Struct, frozen=True):
    """Bar of one series in one group. `text` is its value as text. `start` is the value at which the
    stack of a group begins, if it is the first bar of the stack."""

    group: str
    series: str
    value: float
    text: str
    interval: tuple[float, float] | None = None
    start: float = 0.0


class BarFigure(Figure, frozen=True, kw_only=True):
    """Figure of horizontal bars, whose groups and series are in the order in which they first appear."""

    value: FigureAxis
    group_label: str = "Variant"
    series_label: str
    bars: tuple[FigureBar, ...]
    is_stacked: bool = False
    """True if the bars of a group are stacked, not side by side."""
    group_texts: Mapping[str, str] = {}
    """Texts beside the stacks of the groups in the window."""
    rest: str = ""
    """Series of what belongs to no other series, which has a muted color on the page."""


class HeatFigure(Figure, frozen=True, kw_only=True):
    """Figure of counts by x and y. A bin begins at one of the `starts` and is `width` wide; row k of
    `counts` has the values from `edges[k]` to below `edges[k + 1]`, and the header of its column in the
    table names this range. The limit of the SLO is on the y axis, and the window does not draw it."""

    x: FigureAxis
    y: FigureAxis
    starts: tuple[float, ...]
    width: float
    edges: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    limit: float | None = None
    limit_label: str = ""
