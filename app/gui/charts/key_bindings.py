"""Key bindings of a chart."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent

from app.gui.charts.axes import Axis
from app.gui.charts.crosshair import Crosshair
from app.gui.charts.plot import PlotView
from app.gui.charts.reading import Direction
from app.gui.charts.view_range import ViewRange

_ZOOM_FACTOR = 0.8
_DIRECTIONS: dict[int, Direction] = {
    Qt.Key.Key_Left: "left",
    Qt.Key.Key_Right: "right",
    Qt.Key.Key_Up: "up",
    Qt.Key.Key_Down: "down",
}


class ChartKeyBindings(QObject):
    """Key bindings of a chart.

    The arrow keys move the crosshair, with Ctrl in larger steps, and End moves the crosshair to the
    last sample. Shift with the left or right arrow key selects a time range. The keys + and − zoom,
    and Home shows all data. M requests a marker, and Enter selects a sample.
    """

    marker_requested = Signal(float)
    fit_requested = Signal()
    time_range_drawn = Signal(float, float, bool)
    """Signal that is emitted while the user selects a time range, with both ends in data values;
    the flag is `True` when the selection is finished."""

    def __init__(
        self, parent: QObject, plot: PlotView, x_axis: Axis, crosshair: Crosshair, view_range: ViewRange
    ) -> None:
        super().__init__(parent)
        self._plot, self._x_axis, self._crosshair, self._view_range = plot, x_axis, crosshair, view_range
        self._anchor: float | None = None

    def handle_press(self, event: QKeyEvent) -> bool:
        """Handle a key press. Return whether the chart has handled the key."""
        key = event.key()
        if key in _DIRECTIONS:
            return self._move_crosshair(_DIRECTIONS[key], event.modifiers())
        if key == Qt.Key.Key_End:
            return self._crosshair.go_to_end() and self._reveal_crosshair()
        if key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
            return self.zoom(is_zooming_in=key != Qt.Key.Key_Minus)
        if key == Qt.Key.Key_Home:
            return self.show_all()
        if key == Qt.Key.Key_M:
            return self.request_marker()
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            return self._crosshair.select_sample()
        return False

    def handle_release(self, event: QKeyEvent) -> bool:
        """Finish the selection of a time range when Shift is released. Return whether a selection
        was in progress."""
        anchor, x = self._anchor, self._crosshair.x
        if event.key() != Qt.Key.Key_Shift or anchor is None:
            return False
        self._anchor = None
        if x is not None and x != anchor:
            self.time_range_drawn.emit(anchor, x, True)
        return True

    def zoom(self, *, is_zooming_in: bool) -> bool:
        """Zoom around the crosshair if the crosshair is visible, otherwise around the center."""
        (x0, x1), (y0, y1) = self._plot.ranges()
        crosshair_x = None if self._crosshair.x is None else float(self._x_axis.to_view(self._crosshair.x))
        x = crosshair_x if crosshair_x is not None and x0 <= crosshair_x <= x1 else (x0 + x1) / 2
        self._view_range.zoom(_ZOOM_FACTOR if is_zooming_in else 1 / _ZOOM_FACTOR, x, (y0 + y1) / 2)
        return True

    def show_all(self) -> bool:
        self._view_range.fit()
        self.fit_requested.emit()
        return True

    def request_marker(self) -> bool:
        if self._crosshair.x is None:
            return False
        self.marker_requested.emit(self._crosshair.x)
        return True

    def _move_crosshair(self, direction: Direction, modifiers: Qt.KeyboardModifier) -> bool:
        previous_x = self._crosshair.x
        is_selecting = bool(modifiers & Qt.KeyboardModifier.ShiftModifier) and direction in ("left", "right")
        if not self._crosshair.step(direction, is_large_step=bool(modifiers & Qt.KeyboardModifier.ControlModifier)):
            return direction in ("left", "right")
        x = self._crosshair.x
        if is_selecting and x is not None:
            if self._anchor is None:
                self._anchor = x if previous_x is None else previous_x
            self.time_range_drawn.emit(self._anchor, x, False)
        return self._reveal_crosshair()

    def _reveal_crosshair(self) -> bool:
        if self._crosshair.x is not None:
            self._view_range.reveal(float(self._x_axis.to_view(self._crosshair.x)))
        return True
