"""Axis ranges that fit all data."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.gui.charts.axes import Axis
from app.gui.charts.series import Bounds

_PADDING = 0.06
_X_PADDING = 0.01
_BOTTOM_PADDING = 0.02  # keeps a line at zero visible above the axis
_EMPTY_RANGE = (0.0, 1.0)
_MAX_EXTENSION_RATIO, _MIN_EXTENSION = 1.0, 0.3


def fit_x_range(bounds: Bounds, axis: Axis, extra_ends: Sequence[float] = ()) -> tuple[float, float]:
    """Return the x range, in view coordinates, that shows all data and the positions in
    `extra_ends`, such as the edges of bands."""
    ends = [end for end in (bounds.x0, bounds.x1, *extra_ends) if math.isfinite(end)]
    if not ends:
        return _EMPTY_RANGE
    low, high = min(ends), max(ends)
    if low == high:
        return _range_around(low, axis)
    padding = (high - low) * (_PADDING if axis.is_log else _X_PADDING)
    return low - padding, high + padding


def fit_y_range(bounds: Bounds, axis: Axis, limit: float | None) -> tuple[float, float]:
    ends = [bounds.y0, bounds.y1, math.nan if limit is None else limit]
    finite_ends = [end for end in ends if math.isfinite(end)]
    if not finite_ends:
        return _EMPTY_RANGE
    low, high = min(finite_ends), max(finite_ends)
    if axis.is_log and limit is not None and math.isfinite(bounds.y0) and math.isfinite(bounds.y1):
        low, high = _clamp_to_data(bounds, low, high)
    if not axis.is_log and axis.is_from_zero and low >= 0:
        return (-_BOTTOM_PADDING * high, high * (1 + _PADDING)) if high > 0 else (-_BOTTOM_PADDING, 1.0)
    if low == high:
        return _range_around(low, axis)
    padding = (high - low) * _PADDING
    return low - padding, high + padding


def _clamp_to_data(bounds: Bounds, low: float, high: float) -> tuple[float, float]:
    """Return the range from `low` to `high`, shortened so that the range does not extend too far
    beyond the data. All values are in decades of a logarithmic axis."""
    # A limit far outside the data would compress the data; it is marked at the edge of the plot
    # instead.
    extent = bounds.y1 - bounds.y0
    extension, padding = max(_MAX_EXTENSION_RATIO * extent, _MIN_EXTENSION), max(0.0, _MIN_EXTENSION - extent)
    return min(max(low, bounds.y0 - extension), bounds.y0 - padding), max(
        min(high, bounds.y1 + extension), bounds.y1 + padding
    )


def _range_around(position: float, axis: Axis) -> tuple[float, float]:
    half_range = 0.5 if axis.is_log else max(abs(position) * 0.1, 0.5)
    return position - half_range, position + half_range
