"""Chart with handles that can be dragged with the mouse or moved with the keyboard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPointF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.pens import solid_pen
from app.gui.charts.series import Bounds
from app.gui.formatting import format_number, with_unit
from app.gui.theme import Theme, ThemeController

DragAxis = Literal["x", "y", "both"]
_HIT_RADIUS_PX = 16.0
_HANDLE_PX = 11
_STEP, _LONG_STEP = 0.01, 0.1
_HEADROOM = 1.25
"""Factor by which the upper end of the y range exceeds the data, so that there is space to drag
upward."""


class Handle(msgspec.Struct, frozen=True):
    """Draggable point, in data values. `name` is the accessible name, and `drag_axis` is the axis
    along which the handle can move."""

    x: float
    y: float
    name: str
    drag_axis: DragAxis = "both"


class DraggableChart(Chart):
    """Chart whose handles can be moved with the mouse or the keyboard.

    Page Up and Page Down select a handle, the arrow keys move the selected handle (with Shift ten
    times as far), and Escape deselects the handle.

    `handle_moved` is emitted with the index of the handle, the requested x and y values, and
    whether the move is complete; the receiver must update the chart. The axis ranges are frozen
    while the mouse button is down.
    """

    handle_moved = Signal(int, float, float, bool)

    def __init__(self, title: str, x_axis: Axis, y_axis: Axis, theme_controller: ThemeController) -> None:
        self._handles: tuple[Handle, ...] = ()
        self._selected_index: int | None = None
        self._handle_item = pg.ScatterPlotItem(pxMode=True)
        self._handle_item.setZValue(40)
        super().__init__(title, x_axis, y_axis, theme_controller)
        self.plot.box.addItem(self._handle_item, ignoreBounds=True)
        self.plot.viewport().setMouseTracking(True)
        self.plot.viewport().installEventFilter(self)

    def set_handles(self, handles: Sequence[Handle]) -> None:
        """Replace the handles. The keyboard cycles through the handles in the given order."""
        self._handles = tuple(handles)
        if self._selected_index is not None and self._selected_index >= len(self._handles):
            self._selected_index = None
        self._draw_handles()

    @property
    def selected_index(self) -> int | None:
        return self._selected_index

    def select(self, index: int | None) -> None:
        """Select the handle that the arrow keys move. If `index` is `None`, the arrow keys move the
        crosshair again."""
        self._selected_index = index
        self._draw_handles()
        self.setAccessibleDescription(self.describe())

    def handle_pixel(self, index: int) -> QPointF:
        """Return the position of a handle, in pixels of the plot's viewport."""
        return self.data_to_pixel(self._handles[index].x, self._handles[index].y)

    def describe(self) -> str:
        if self._selected_index is None:
            return super().describe() + (" Page Down selects a point." if self._handles else "")
        handle = self._handles[self._selected_index]
        x, y = (
            with_unit(format_number(handle.x), self.x_axis.unit),
            with_unit(format_number(handle.y), self.y_axis.unit),
        )
        return f"{handle.name} is at {x}, {y}. Press the arrow keys to move it, or Escape to deselect it."

    def data_bounds(self) -> Bounds:
        bounds = super().data_bounds()
        if not math.isfinite(bounds.x1 + bounds.y1):
            return bounds
        return Bounds(bounds.x0, bounds.x0 + (bounds.x1 - bounds.x0) * 1.08, bounds.y0, bounds.y1 * _HEADROOM)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._draw_handles()

    def _draw_handles(self) -> None:
        theme, is_empty = self.theme_controller.theme, not self._handles
        x = self.x_axis.to_view([handle.x for handle in self._handles])
        y = self.y_axis.to_view([handle.y for handle in self._handles])
        brushes = [
            pg.mkBrush(theme.accent if index == self._selected_index else theme.paper)
            for index in range(len(self._handles))
        ]
        sizes = [_HANDLE_PX + (4 if index == self._selected_index else 0) for index in range(len(self._handles))]
        self._handle_item.setData(
            x=np.empty(0) if is_empty else x,
            y=np.empty(0) if is_empty else y,
            size=np.array(sizes, dtype=float),
            symbol=["s" if handle.drag_axis == "x" else "o" for handle in self._handles],
            brush=brushes,
            pen=solid_pen(theme.accent),
        )

    # Mouse

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is not self.plot.viewport() or not isinstance(event, QMouseEvent):
            return super().eventFilter(watched, event)
        if event.type() == QEvent.Type.MouseButtonPress and event.button() == Qt.MouseButton.LeftButton:
            return self._press(event.position())
        if event.type() == QEvent.Type.MouseMove:
            return self._drag(event.position(), is_done=False)
        if event.type() == QEvent.Type.MouseButtonRelease and self.view_range.is_frozen:
            self._drag(event.position(), is_done=True)
            return True
        return False

    def _press(self, pixel: QPointF) -> bool:
        index = self._find_handle_near(pixel)
        if index is None:
            return False
        self.view_range.is_frozen = True
        self.select(index)
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        return True

    def _drag(self, mouse_pixel: QPointF, *, is_done: bool) -> bool:
        if not self.view_range.is_frozen or self._selected_index is None:
            is_near_handle = self._find_handle_near(mouse_pixel) is not None
            self.plot.viewport().setCursor(
                Qt.CursorShape.SizeAllCursor if is_near_handle else Qt.CursorShape.ArrowCursor
            )
            return False
        self.view_range.is_frozen = not is_done
        position = self.plot.pixel_to_view(mouse_pixel)
        (x0, x1), (y0, y1) = self.plot.ranges()
        x, y = min(max(position.x(), x0), x1), min(max(position.y(), y0), y1)
        self._move_to(self.x_axis.from_view(x), self.y_axis.from_view(y), is_done=is_done)
        return True

    def _find_handle_near(self, pixel: QPointF) -> int | None:
        nearest = (_HIT_RADIUS_PX, -1)
        for index in range(len(self._handles)):
            handle_pixel = self.handle_pixel(index)
            distance = math.hypot(handle_pixel.x() - pixel.x(), handle_pixel.y() - pixel.y())
            nearest = min(nearest, (distance, index))
        return None if nearest[1] < 0 else nearest[1]

    # Keyboard

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if key in (Qt.Key.Key_PageDown, Qt.Key.Key_PageUp) and self._handles:
            step = 1 if key == Qt.Key.Key_PageDown else -1
            previous_index = self._selected_index if self._selected_index is not None else -1 if step > 0 else 0
            self.select((previous_index + step) % len(self._handles))
        elif key == Qt.Key.Key_Escape and self._selected_index is not None:
            self.select(None)
        elif self._selected_index is not None and (direction := _ARROWS.get(Qt.Key(key))) is not None:
            self._move_selected_handle(direction, is_long=bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))
        else:
            super().keyPressEvent(event)

    def _move_selected_handle(self, direction: tuple[int, int], *, is_long: bool) -> None:
        assert self._selected_index is not None
        handle, step = self._handles[self._selected_index], _LONG_STEP if is_long else _STEP
        (x0, x1), (y0, y1) = self.plot.ranges()
        x = float(self.x_axis.to_view(handle.x)) + direction[0] * step * (x1 - x0)
        y = float(self.y_axis.to_view(handle.y)) + direction[1] * step * (y1 - y0)
        self._move_to(self.x_axis.from_view(x), self.y_axis.from_view(y), is_done=True)

    def _move_to(self, x: float, y: float, *, is_done: bool) -> None:
        assert self._selected_index is not None
        handle = self._handles[self._selected_index]
        self.handle_moved.emit(
            self._selected_index,
            handle.x if handle.drag_axis == "y" else x,
            handle.y if handle.drag_axis == "x" else y,
            is_done,
        )


_ARROWS = {
    Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, 1), Qt.Key.Key_Down: (0, -1),
}  # fmt: skip
