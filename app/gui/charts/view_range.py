"""Visible range of a chart."""

from __future__ import annotations

import math

from PySide6.QtCore import QObject, Signal

from app.gui.charts.axes import Axis
from app.gui.charts.decorations import Decorations
from app.gui.charts.fitting import fit_x_range, fit_y_range
from app.gui.charts.plot import PlotView
from app.gui.charts.series import Bounds

_MIN_EXTENT, _MAX_EXTENT = 1e-7, 20.0
"""Limits of the visible x range, as multiples of the x range of the data. Below the minimum,
floating-point precision is insufficient; above the maximum, the data is too small to see."""


class ViewRange(QObject):
    """Visible range of a chart. The range fits the data until the user pans or zooms, and again
    after `fit`."""

    changed = Signal()
    changed_by_user = Signal()

    def __init__(self, parent: QObject, plot: PlotView, x_axis: Axis, y_axis: Axis, decorations: Decorations) -> None:
        super().__init__(parent)
        self._plot, self._x_axis, self._y_axis, self._decorations = plot, x_axis, y_axis, decorations
        self._bounds = Bounds(math.nan, math.nan, math.nan, math.nan)
        self._fits_x = self._fits_y = True
        self.is_linked = False
        """True if the x range is controlled by linked charts."""
        self.can_move_y = False
        self.is_frozen = False
        """True if the visible range is frozen, for example while a handle is dragged."""
        plot.panned.connect(self.pan)
        plot.zoomed.connect(self.zoom)

    def set_bounds(self, bounds: Bounds) -> None:
        """Set the bounds of the data, in view coordinates. The visible range is fitted to the data
        unless the user has panned or zoomed."""
        self._bounds = bounds
        self._fit_ranges()

    def fit(self) -> None:
        self._fits_x = self._fits_y = True
        self._fit_ranges()
        self.changed.emit()

    def x_range(self) -> tuple[float, float]:
        """Return the visible x range, in data values."""
        low, high = self._plot.ranges()[0]
        return self._x_axis.from_view(low), self._x_axis.from_view(high)

    def set_x_range(self, low: float, high: float) -> None:
        positions = self._x_axis.to_view([low, high])
        target_range = (float(positions[0]), float(positions[1]))
        self._fits_x = False
        if target_range != self._plot.ranges()[0] and all(math.isfinite(end) for end in target_range):
            self._plot.set_ranges(x_range=target_range)
            self.changed.emit()

    def pan(self, dx: float, dy: float) -> None:
        (x0, x1), (y0, y1) = self._plot.ranges()
        self._fits_x = False
        self._plot.set_ranges(x_range=(x0 + dx, x1 + dx))
        if self.can_move_y:
            self._fits_y = False
            self._plot.set_ranges(y_range=(y0 + dy, y1 + dy))
        self._emit_user_change()

    def zoom(self, factor: float, x: float, y: float) -> None:
        """Zoom by `factor` around the point (`x`, `y`) in view coordinates. A factor below 1 zooms
        in. The position of the point on the screen does not change."""
        (x0, x1), (y0, y1) = self._plot.ranges()
        extent = self._bounds.x1 - self._bounds.x0
        if extent > 0 and not _MIN_EXTENT * extent < (x1 - x0) * factor < _MAX_EXTENT * extent:
            return
        self._fits_x = False
        self._plot.set_ranges(x_range=(x + (x0 - x) * factor, x + (x1 - x) * factor))
        if self.can_move_y:
            self._fits_y = False
            self._plot.set_ranges(y_range=(y + (y0 - y) * factor, y + (y1 - y) * factor))
        self._emit_user_change()

    def reveal(self, position: float) -> None:
        """Pan horizontally until `position`, in view coordinates, is visible."""
        (low, high), _ = self._plot.ranges()
        if position < low:
            self.pan(position - low - 0.1 * (high - low), 0.0)
        elif position > high:
            self.pan(position - high + 0.1 * (high - low), 0.0)

    def _fit_ranges(self) -> None:
        if self.is_frozen:
            return
        if self._fits_x and not self.is_linked:
            ends = [end for band in self._decorations.bands for end in (band.start, band.end)]
            self._plot.set_ranges(
                x_range=fit_x_range(self._bounds, self._x_axis, [float(end) for end in self._x_axis.to_view(ends)])
            )
        if self._fits_y:
            limit = None if self._decorations.limit is None else float(self._y_axis.to_view(self._decorations.limit))
            self._plot.set_ranges(y_range=fit_y_range(self._bounds, self._y_axis, limit))

    def _emit_user_change(self) -> None:
        self.changed.emit()
        self.changed_by_user.emit()
