"""Lookup of the samples at a position in a chart, and of the neighbors of a sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPointF

from app.gui.charts.axes import Axis
from app.gui.charts.series import Series
from app.gui.formatting import NOT_AVAILABLE, format_number, with_unit

HIT_RADIUS_PX = 14.0
_MAX_CANDIDATES = 500

Direction = Literal["left", "right", "up", "down"]
Point = tuple[str, int]
"""Key of a series, and index of a sample in that series."""


class Reading(msgspec.Struct, frozen=True):
    key: str
    label: str
    index: int
    text: str


def read_samples(series: Iterable[Series], x: float, y_axis: Axis, point: Point | None) -> tuple[Reading, ...]:
    """Return the readings at `x`: the nearest sample of each line that covers `x`, and the selected
    point, if any."""
    readings = []
    for data_series in series:
        if data_series.kind == "points":
            index = point[1] if point is not None and point[0] == data_series.key else None
        else:
            index = data_series.nearest_index(x) if data_series.covers(x) else None
        if index is not None:
            readings.append(
                Reading(data_series.key, data_series.label, index, format_sample(data_series, index, y_axis))
            )
    return tuple(readings)


def format_sample(series: Series, index: int, y_axis: Axis) -> str:
    value = float(series.y[index])
    text = NOT_AVAILABLE if math.isnan(value) else with_unit(format_number(value), y_axis.unit)
    return f"{series.names[index]}: {text}" if series.names else text


def nearest_point(
    series: Iterable[Series], target: QPointF, to_pixel: Callable[[float, float], QPointF], x_range: tuple[float, float]
) -> Point | None:
    """Return the sample nearest to a pixel, or None if there is none within `HIT_RADIUS_PX`. Only
    samples with x values within `x_range` are considered."""
    nearest = (HIT_RADIUS_PX, "", -1)
    for candidate in series:
        for index in _find_candidates(candidate, *x_range):
            pixel = to_pixel(float(candidate.x[index]), float(candidate.y[index]))
            distance = math.hypot(pixel.x() - target.x(), pixel.y() - target.y())
            if distance < nearest[0]:
                nearest = distance, candidate.key, int(index)
    return None if nearest[2] < 0 else nearest[1:]


def next_x(series: Iterable[Series], x: float, *, is_after: bool) -> float | None:
    """Return the x value of the closest sample after `x`, or before `x` if `is_after` is false.
    Return None if there is no such sample."""
    neighbors = [
        neighbor for data_series in series if (neighbor := data_series.neighbor_x(x, is_after=is_after)) is not None
    ]
    return (min(neighbors) if is_after else max(neighbors)) if neighbors else None


def next_point(series: Sequence[Series], current: Point | None, direction: Direction) -> Point | None:
    """Return the next point in x order (left and right) or in y order (up and down). If no point is
    selected, return the first or the last point. Return None if there are no points."""
    keyed_points = [(points.key, points) for points in series if points.kind == "points"]
    entries = [
        (float(points.x[index]), float(points.y[index]), key, int(index))
        for key, points in keyed_points
        for index in np.flatnonzero(np.isfinite(points.x) & np.isfinite(points.y))
    ]
    if not entries:
        return None
    is_horizontal = direction in ("left", "right")
    ordered_points = [
        entry[2:] for entry in sorted(entries, key=lambda entry: entry[:2] if is_horizontal else (entry[1], entry[0]))
    ]
    step = 1 if direction in ("right", "up") else -1
    if current not in ordered_points:
        return ordered_points[0 if step > 0 else -1]
    return ordered_points[min(max(ordered_points.index(current) + step, 0), len(ordered_points) - 1)]


def _find_candidates(series: Series, low: float, high: float) -> npt.NDArray[np.int64]:
    indices = np.flatnonzero((series.x >= low) & (series.x <= high) & np.isfinite(series.y))
    return indices[:: 1 + len(indices) // _MAX_CANDIDATES]
