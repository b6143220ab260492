"""What stands at a place of a chart, and what stands next to it."""

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
from app.gui.formatting import NOT_AVAILABLE, number, with_unit

REACH_PX = 14.0
_MOST_TRIED = 500

Way = Literal["left", "right", "up", "down"]
Point = tuple[str, int]
"""The key of a series and the index of its sample."""


class Reading(msgspec.Struct, frozen=True):
    key: str
    label: str
    index: int
    text: str


def read_at(series: Iterable[Series], x: float, y: Axis, point: Point | None) -> tuple[Reading, ...]:
    """The nearest sample of each line and interval that reaches as far as x, and the point looked at."""
    found = []
    for one in series:
        if one.kind == "points":
            index = point[1] if point is not None and point[0] == one.key else None
        else:
            index = one.nearest(x) if one.reaches(x) else None
        if index is not None:
            found.append(Reading(one.key, one.label, index, text_of(one, index, y)))
    return tuple(found)


def text_of(one: Series, index: int, y: Axis) -> str:
    value = float(one.y[index])
    text = NOT_AVAILABLE if math.isnan(value) else with_unit(number(value), y.unit)
    return f"{one.names[index]}: {text}" if one.names else text


def nearest_point(
    series: Iterable[Series], at: QPointF, pixel_of: Callable[[float, float], QPointF], reach: tuple[float, float]
) -> Point | None:
    """What is drawn closest to a pixel, among samples whose x lies in `reach`."""
    best = (REACH_PX, "", -1)
    for one in series:
        for index in _within(one, *reach):
            pixel = pixel_of(float(one.x[index]), float(one.y[index]))
            distance = math.hypot(pixel.x() - at.x(), pixel.y() - at.y())
            if distance < best[0]:
                best = distance, one.key, int(index)
    return None if best[2] < 0 else best[1:]


def next_x(series: Iterable[Series], x: float, *, is_after: bool) -> float | None:
    """The closest sample's on one side of x."""
    found = [beyond for one in series if (beyond := one.beyond(x, is_after=is_after)) is not None]
    return (min(found) if is_after else max(found)) if found else None


def next_point(series: Sequence[Series], now: Point | None, way: Way) -> Point | None:
    """Points in their order across (then up), or up (then across); from the first where there is none now."""
    keys = [(one.key, one) for one in series if one.kind == "points"]
    places = [
        (float(one.x[index]), float(one.y[index]), key, int(index))
        for key, one in keys
        for index in np.flatnonzero(np.isfinite(one.x) & np.isfinite(one.y))
    ]
    if not places:
        return None
    is_across = way in ("left", "right")
    ordered = [place[2:] for place in sorted(places, key=lambda at: at[:2] if is_across else (at[1], at[0]))]
    ahead = 1 if way in ("right", "up") else -1
    if now not in ordered:
        return ordered[0 if ahead > 0 else -1]
    return ordered[min(max(ordered.index(now) + ahead, 0), len(ordered) - 1)]


def _within(one: Series, low: float, high: float) -> npt.NDArray[np.int64]:
    found = np.flatnonzero((one.x >= low) & (one.x <= high) & np.isfinite(one.y))
    return found[:: 1 + len(found) // _MOST_TRIED]
