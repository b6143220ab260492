"""What stands at a place of a chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPointF

from app.gui.charts.axes import Axis
from app.gui.charts.series import Series
from app.gui.formatting import NOT_AVAILABLE, number, with_unit

REACH_PX = 14.0
_MOST_TRIED = 500


class Reading(msgspec.Struct, frozen=True):
    key: str
    label: str
    index: int
    text: str


def read_at(series: Sequence[Series], x: float, y: Axis) -> tuple[Reading, ...]:
    """The nearest sample of each series."""
    found = []
    for one in series:
        index = one.nearest(x)
        if index is not None:
            found.append(Reading(one.key, one.label, index, text_of(one, index, y)))
    return tuple(found)


def text_of(one: Series, index: int, y: Axis) -> str:
    value = float(one.y[index])
    if one.low is not None:
        low = float(one.low[index])
        text = NOT_AVAILABLE if math.isnan(low + value) else with_unit(f"{number(low)}–{number(value)}", y.unit)
    else:
        text = NOT_AVAILABLE if math.isnan(value) else with_unit(number(value), y.unit)
    return f"{one.names[index]}: {text}" if one.names else text


def nearest_point(
    series: Sequence[Series], at: QPointF, pixel_of: Callable[[float, float], QPointF], reach: tuple[float, float]
) -> tuple[str, int] | None:
    """The key and the index of what is drawn closest to a pixel, among samples whose x lies in `reach`."""
    best = (REACH_PX, "", -1)
    for one in series:
        for index in _within(one, *reach):
            pixel = pixel_of(float(one.x[index]), float(one.y[index]))
            distance = math.hypot(pixel.x() - at.x(), pixel.y() - at.y())
            if distance < best[0]:
                best = distance, one.key, int(index)
    return None if best[2] < 0 else best[1:]


def _within(one: Series, low: float, high: float) -> npt.NDArray[np.int64]:
    if one.kind == "range":
        return np.empty(0, dtype=np.int64)
    found = np.flatnonzero((one.x >= low) & (one.x <= high) & np.isfinite(one.y))
    return found[:: 1 + len(found) // _MOST_TRIED]
