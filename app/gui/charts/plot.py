"""Plot widget of a chart: two axes, the visible ranges and mouse input. The plot widget is
independent of the plotted series."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, QSizeF, Qt, Signal
from PySide6.QtGui import QFont, QMouseEvent, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QWidget

from app.gui.charts.axes import Axis
from app.gui.charts.layer import Layer
from app.gui.charts.line_labels import LineLabels
from app.gui.charts.tick_axis import TickAxis
from app.gui.theme import Theme

_CLICK_PX = 4.0
_EDGE_PX = 6.0
_ZOOM_PER_NOTCH = 0.85
_RIGHT_MARGIN_PX = 14


class PlotView(pg.GraphicsView):
    """Plot area of a chart. All positions are in view coordinates; on a logarithmic axis, view
    coordinates are exponents."""

    hovered = Signal(float, float)
    mouse_left = Signal()
    clicked = Signal(float, float)
    panned = Signal(float, float)
    zoomed = Signal(float, float, float)
    time_range_drawn = Signal(float, float, bool)
    resized = Signal()

    def __init__(self, x_axis: Axis, y_axis: Axis, theme: Theme) -> None:
        super().__init__(useOpenGL=False, background=theme.paper)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.viewport().setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.box = pg.ViewBox(enableMouse=False, enableMenu=False, defaultPadding=0.0)
        self.box.disableAutoRange()
        self.x_axis, self.y_axis = TickAxis(x_axis, "bottom", self.box), TickAxis(y_axis, "left", self.box)
        layout = self.centralLayout
        layout.setContentsMargins(0, 6, _RIGHT_MARGIN_PX, 0)
        layout.setSpacing(0)
        layout.addItem(self.y_axis, 0, 0)
        layout.addItem(self.box, 0, 1)
        layout.addItem(self.x_axis, 1, 1)
        self.line_labels = LineLabels(self.x_axis, self.y_axis, theme)
        layout.addItem(self.line_labels, 0, 2)
        layout.setColumnStretchFactor(1, 1)
        layout.setRowStretchFactor(0, 1)
        self._layers: list[Layer] = []
        self.is_time_range_mode = False
        self.time_range: tuple[float, float] | None = None
        self._press_position: QPointF | None = None
        self._last_position = QPointF()
        self._anchor: float | None = None
        self._is_dragging = False
        self.apply_theme(theme, QFont())

    def apply_theme(self, theme: Theme, font: QFont) -> None:
        self.setBackground(theme.paper)
        for axis in (self.x_axis, self.y_axis):
            axis.apply_theme(theme.muted, font)
        self.line_labels.apply_theme(theme, font)

    def add_layer(self, layer: Layer, z: float) -> None:
        layer.setZValue(z)
        self.box.addItem(layer, ignoreBounds=True)
        self._layers.append(layer)

    def set_antialiasing(self, is_on: bool) -> None:
        for layer in self._layers:
            layer.is_antialiased = is_on

    def set_x_labels_visible(self, is_visible: bool) -> None:
        """Show or hide the labels of the x axis immediately, without waiting for the next iteration
        of the event loop."""
        if is_visible != self.x_axis.has_labels:
            self.x_axis.set_labels_visible(is_visible)
            self.centralLayout.activate()

    @contextmanager
    def resized_for_rendering(self, size: QSizeF) -> Iterator[QRectF]:
        """Lay out the scene in another size, and return its rectangle. Restore the layout on exit.
        The widget keeps its size, so that nothing on the page moves."""
        geometry, rect = self.centralWidget.geometry(), QRectF(0, 0, size.width(), size.height())
        self._lay_out(rect)
        try:
            yield rect
        finally:
            self._lay_out(geometry)

    def _lay_out(self, rect: QRectF) -> None:
        self.centralWidget.setGeometry(rect)
        self.centralLayout.activate()
        self.box.updateMatrix()

    def repaint_layers(self) -> None:
        for layer in self._layers:
            layer.update()
        if self.line_labels.is_shown:
            self.line_labels.update()

    def sizeHint(self) -> QSize:
        return QSize(240, self.minimumHeight())

    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        (x0, x1), (y0, y1) = self.box.viewRange()
        return (float(x0), float(x1)), (float(y0), float(y1))

    def set_ranges(
        self, x_range: tuple[float, float] | None = None, y_range: tuple[float, float] | None = None
    ) -> None:
        current_x_range, current_y_range = self.ranges()
        new_x_range, new_y_range = (
            (None if x_range == current_x_range else x_range),
            (None if y_range == current_y_range else y_range),
        )
        if new_x_range is not None or new_y_range is not None:
            self.box.setRange(xRange=new_x_range, yRange=new_y_range, padding=0, disableAutoRange=True)
            self.box.updateMatrix()  # pyqtgraph would do this during painting and then repaint

    def pixel_width(self) -> float:
        """Return the width of a pixel in view coordinates of the x axis."""
        return float(self.box.viewPixelSize()[0])

    def pixel_to_view(self, pixel: QPointF) -> QPointF:
        """Convert a pixel position in the viewport to view coordinates. In this widget, scene
        coordinates are identical to viewport pixels."""
        return QPointF(self.box.mapSceneToView(pixel))

    def view_to_pixel(self, x: float, y: float) -> QPointF:
        return QPointF(self.box.mapViewToScene(QPointF(x, y)))

    # Mouse input: dragging pans the view or moves an edge of the time range. With Shift, or while
    # `is_time_range_mode` is set, dragging selects a time range.

    def mousePressEvent(self, event: QMouseEvent) -> None:
        event.ignore()
        pixel = event.position()
        if event.button() != Qt.MouseButton.LeftButton or not self.box.sceneBoundingRect().contains(pixel):
            return
        self._press_position, self._last_position, self._is_dragging = pixel, pixel, False
        edge_index = self._find_edge_index(pixel)
        if edge_index is not None and self.time_range is not None:
            self._anchor = self.time_range[1 - edge_index]
        elif self.is_time_range_mode or event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._anchor = self.pixel_to_view(pixel).x()
        else:
            self._anchor = None
        event.accept()
        self._focus_owner()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        pixel = event.position()
        if self._press_position is None:
            self._hover(pixel)
            return
        self._is_dragging = self._is_dragging or (pixel - self._press_position).manhattanLength() > _CLICK_PX
        if self._is_dragging and self._anchor is not None:
            self.time_range_drawn.emit(self._anchor, self.pixel_to_view(pixel).x(), False)
        elif self._is_dragging:
            offset = self.pixel_to_view(self._last_position) - self.pixel_to_view(pixel)
            self.panned.emit(offset.x(), offset.y())
        self._last_position = pixel

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._press_position is None or event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        self._press_position = None
        position = self.pixel_to_view(event.position())
        if not self._is_dragging:
            self.clicked.emit(position.x(), position.y())
        elif self._anchor is not None:
            self.time_range_drawn.emit(self._anchor, position.x(), True)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.mousePressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom if the chart has the focus or Ctrl is held; otherwise let the page scroll."""
        owner = self._find_focus_owner()
        is_zoom = event.modifiers() & Qt.KeyboardModifier.ControlModifier or (owner is not None and owner.hasFocus())
        if not is_zoom or not event.angleDelta().y() or not self.box.sceneBoundingRect().contains(event.position()):
            event.ignore()
            return
        position = self.pixel_to_view(event.position())
        self.zoomed.emit(_ZOOM_PER_NOTCH ** (event.angleDelta().y() / 120), position.x(), position.y())
        event.accept()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self.mouse_left.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()

    def _hover(self, pixel: QPointF) -> None:
        if not self.box.sceneBoundingRect().contains(pixel):
            return
        is_at_edge = self._find_edge_index(pixel) is not None
        shape = Qt.CursorShape.SplitHCursor if is_at_edge or self.is_time_range_mode else Qt.CursorShape.ArrowCursor
        if self.viewport().cursor().shape() != shape:
            self.viewport().setCursor(shape)
        position = self.pixel_to_view(pixel)
        self.hovered.emit(position.x(), position.y())

    def _find_edge_index(self, pixel: QPointF) -> int | None:
        """Return which edge of the selected time range is at a pixel: 0 for the first, 1 for the
        second, or `None` if neither is near."""
        if self.time_range is None:
            return None
        distances = [abs(self.view_to_pixel(end, 0.0).x() - pixel.x()) for end in self.time_range]
        nearest_index = 0 if distances[0] <= distances[1] else 1
        return nearest_index if distances[nearest_index] <= _EDGE_PX else None

    def _find_focus_owner(self) -> QWidget | None:
        """Return the ancestor widget that receives the keyboard input of this plot."""
        owner: QWidget | None = self.parentWidget()
        while owner is not None and owner.focusPolicy() == Qt.FocusPolicy.NoFocus:
            owner = owner.parentWidget()
        return owner

    def _focus_owner(self) -> None:
        owner = self._find_focus_owner()
        if owner is not None:
            owner.setFocus(Qt.FocusReason.MouseFocusReason)
