"""A chart in words: for who cannot see it, and beside its table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.gui.charts.axes import Axis
from app.gui.charts.marks import Marks
from app.gui.charts.reading import Reading
from app.gui.charts.series import Bounds, Series
from app.gui.charts.tick_axis import TickAxis
from app.gui.formatting import number, with_unit


def place_text(x: float, marks: Marks, axis: TickAxis, near: float) -> str:
    """Of a value of x, with what else is there: stages, throttling, and marks not further than `near` on the axis."""
    place = float(axis.axis.to_view(x))
    said = [with_unit(axis.text_of(x), "" if axis.is_clock else axis.axis.unit)]
    said += [band.label for band in marks.bands if band.start <= x < band.end]
    said += [mark.label for mark in marks.marks if abs(float(axis.axis.to_view(mark.x)) - place) <= near]
    return ", ".join(filter(None, said))


def reading_text(place: str, readings: Sequence[Reading]) -> str:
    said = ", ".join(f"{reading.label} {reading.text}" for reading in readings)
    return f"At {place}: {said}"


def chart_text(series: Sequence[Series], x: Axis, y: Axis, bounds: Bounds, notes: str) -> str:
    drawn = ", ".join(one.label for one in series) or "nothing yet"
    said = [f"{y.text} over {x.text}: {drawn}."]
    if math.isfinite(bounds.x0) and math.isfinite(bounds.y0):
        ranges = "{x} from {x0} to {x1}, {y} from {y0} to {y1}."
        ends = (x.from_view(bounds.x0), x.from_view(bounds.x1), y.from_view(bounds.y0), y.from_view(bounds.y1))
        x0, x1, y0, y1 = (number(end) for end in ends)
        said.append(ranges.format(x=x.label, x0=x0, x1=x1, y=y.label, y0=y0, y1=y1))
    said += [notes, "Arrow keys read values, T shows a table."]
    return " ".join(one for one in said if one)


def notes_text(marks: Marks, axis: TickAxis) -> str:
    """What is drawn and no sample of a series."""
    said = []
    if marks.limit is not None:
        said.append(f"Limit: {marks.limit_label or number(marks.limit)}")
    for band in marks.bands:
        start, end = axis.text_of(band.start), axis.text_of(band.end)
        said.append(f"{band.label} from {start} to {end}")
    named = [mark for mark in marks.marks if mark.label]
    said += [f"{mark.label} at {axis.text_of(mark.x)}" for mark in named]
    if marks.region is not None and marks.region.label:
        said.append(f"Shaded: {marks.region.label}")
    return "; ".join(said) + "." if said else ""
