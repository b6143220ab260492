"""The ranges that show everything."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.gui.charts.axes import Axis
from app.gui.charts.series import Bounds

_ROOM = 0.06
_ROOM_ACROSS = 0.01
_ROOM_BELOW = 0.02  # so that a line at zero does not hide in the axis
_NOTHING = (0.0, 1.0)
_FARTHEST, _LEAST_REACH = 1.0, 0.3


def fitted_x(bounds: Bounds, axis: Axis, others: Sequence[float] = ()) -> tuple[float, float]:
    """`others`: the ends of bands, which are shown too."""
    ends = [end for end in (bounds.x0, bounds.x1, *others) if math.isfinite(end)]
    if not ends:
        return _NOTHING
    low, high = min(ends), max(ends)
    if low == high:
        return _around(low, axis)
    room = (high - low) * (_ROOM if axis.is_log else _ROOM_ACROSS)
    return low - room, high + room


def fitted_y(bounds: Bounds, axis: Axis, limit: float | None) -> tuple[float, float]:
    ends = [bounds.y0, bounds.y1, math.nan if limit is None else limit]
    known = [end for end in ends if math.isfinite(end)]
    if not known:
        return _NOTHING
    low, high = min(known), max(known)
    if axis.is_log and limit is not None and math.isfinite(bounds.y0) and math.isfinite(bounds.y1):
        low, high = _near(bounds, low, high)
    if not axis.is_log and axis.from_zero and low >= 0:
        return (-_ROOM_BELOW * high, high * (1 + _ROOM)) if high > 0 else (-_ROOM_BELOW, 1.0)
    if low == high:
        return _around(low, axis)
    room = (high - low) * _ROOM
    return low - room, high + room


def _near(bounds: Bounds, low: float, high: float) -> tuple[float, float]:
    """Of decades: a limit far from all data is out of view, so that these are told apart, and marked at the edge."""
    extent = bounds.y1 - bounds.y0
    reach, room = max(_FARTHEST * extent, _LEAST_REACH), max(0.0, _LEAST_REACH - extent)
    return min(max(low, bounds.y0 - reach), bounds.y0 - room), max(min(high, bounds.y1 + reach), bounds.y1 + room)


def _around(place: float, axis: Axis) -> tuple[float, float]:
    half = 0.5 if axis.is_log else max(abs(place) * 0.1, 0.5)
    return place - half, place + half
