"""Text descriptions of a chart, read by screen readers and shown beside the table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.gui.charts.axes import Axis
from app.gui.charts.decorations import Decorations
from app.gui.charts.reading import Reading
from app.gui.charts.series import Bounds, Series
from app.gui.charts.tick_axis import TickAxis
from app.gui.formatting import format_number, with_unit


def describe_position(x: float, decorations: Decorations, tick_axis: TickAxis, tolerance: float) -> str:
    """Describe a position on the x axis: the x value, the bands that contain the value, and the
    markers at most `tolerance` away, in view coordinates."""
    position = float(tick_axis.axis.to_view(x))
    parts = [with_unit(tick_axis.format_value(x), "" if tick_axis.is_clock else tick_axis.axis.unit)]
    parts += [band.label for band in decorations.bands if band.start <= x < band.end]
    parts += [
        marker.label
        for marker in decorations.markers
        if abs(float(tick_axis.axis.to_view(marker.x)) - position) <= tolerance
    ]
    return ", ".join(filter(None, parts))


def describe_readings(position: str, readings: Sequence[Reading]) -> str:
    values = ", ".join(f"{reading.label} {reading.text}" for reading in readings)
    return f"At {position}: {values}"


def describe_chart(series: Sequence[Series], x_axis: Axis, y_axis: Axis, bounds: Bounds, notes: str) -> str:
    labels = ", ".join(data_series.label for data_series in series) or "no data yet"
    sentences = [f"The chart shows {y_axis.text} over {x_axis.text}: {labels}."]
    if math.isfinite(bounds.x0) and math.isfinite(bounds.y0):
        template = "{x} ranges from {x0} to {x1}, and {y} from {y0} to {y1}."
        data_ends = (
            x_axis.from_view(bounds.x0),
            x_axis.from_view(bounds.x1),
            y_axis.from_view(bounds.y0),
            y_axis.from_view(bounds.y1),
        )
        x0, x1, y0, y1 = (format_number(end) for end in data_ends)
        sentences.append(template.format(x=x_axis.label, x0=x0, x1=x1, y=y_axis.label, y0=y0, y1=y1))
    sentences += [notes, "Use the arrow keys to read values. Press T to show a table."]
    return " ".join(sentence for sentence in sentences if sentence)


def describe_decorations(decorations: Decorations, axis: TickAxis) -> str:
    """Describe the limit, bands, markers and region, which are drawn but are not part of a
    series."""
    parts = []
    if decorations.limit is not None:
        parts.append(f"Limit: {decorations.limit_label or format_number(decorations.limit)}")
    for band in decorations.bands:
        start, end = axis.format_value(band.start), axis.format_value(band.end)
        parts.append(f"{band.label} from {start} to {end}")
    labeled_markers = [marker for marker in decorations.markers if marker.label]
    parts += [f"{marker.label} at {axis.format_value(marker.x)}" for marker in labeled_markers]
    if decorations.intervals:
        parts.append("Shaded along lines: 95 % CI")
    if decorations.region is not None and decorations.region_label:
        parts.append(f"Shaded: {decorations.region_label}")
    if decorations.spans:
        labels = dict.fromkeys(text for _, _, text in decorations.spans)
        parts.append(f"Shaded: {', '.join(labels)}")
    return "; ".join(parts) + "." if parts else ""
