"""The plot itself: two axes around a view, its mouse. It knows nothing of series."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import QPointF, Qt, Signal
from PySide6.QtGui import QFont, QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QWidget

from app.gui.charts.axes import Axis, TickAxis
from app.gui.charts.pens import solid_pen
from app.gui.theme import Theme

_CLICK_PX = 4.0


class PlotView(pg.GraphicsView):
    """All places are the view's: exponents on a logarithmic axis."""

    hovered = Signal(float, float)
    left = Signal()
    clicked = Signal(float, float)
    panned = Signal(float, float)
    zoomed = Signal(float, float, float)
    span_drawn = Signal(float, float, bool)
    resized = Signal()

    def __init__(self, x: Axis, y: Axis, theme: Theme) -> None:
        super().__init__(useOpenGL=False, background=theme.paper)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.viewport().setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self.box = pg.ViewBox(enableMouse=False, enableMenu=False, defaultPadding=0.0)
        self.box.disableAutoRange()
        self.x_axis, self.y_axis = TickAxis(x, "bottom"), TickAxis(y, "left")
        for axis in (self.x_axis, self.y_axis):
            axis.linkToView(self.box)
            axis.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
        layout = self.centralLayout
        layout.setContentsMargins(0, 4, 12, 0)
        layout.setSpacing(0)
        layout.addItem(self.y_axis, 0, 0)
        layout.addItem(self.box, 0, 1)
        layout.addItem(self.x_axis, 1, 1)
        layout.setColumnStretchFactor(1, 1)
        layout.setRowStretchFactor(0, 1)
        self.draws_spans = False
        self._pressed: QPointF | None = None
        self._last = QPointF()
        self._is_drag = self._is_span = False
        self.put_on(theme, QFont())

    def put_on(self, theme: Theme, font: QFont) -> None:
        self.setBackground(theme.paper)
        for axis in (self.x_axis, self.y_axis):
            axis.setPen(solid_pen(theme.muted))
            axis.setTextPen(theme.muted)
            axis.set_font(font)

    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        (x0, x1), (y0, y1) = self.box.viewRange()
        return (x0, x1), (y0, y1)

    def set_ranges(self, x: tuple[float, float] | None = None, y: tuple[float, float] | None = None) -> None:
        self.box.setRange(xRange=x, yRange=y, padding=0, disableAutoRange=True)

    def place_of(self, pixel: QPointF) -> QPointF:
        return QPointF(self.box.mapSceneToView(self.mapToScene(pixel.toPoint())))

    def pixel_of(self, x: float, y: float) -> QPointF:
        return QPointF(self.mapFromScene(self.box.mapViewToScene(QPointF(x, y))))

    def is_inside(self, pixel: QPointF) -> bool:
        return bool(self.box.sceneBoundingRect().contains(self.mapToScene(pixel.toPoint())))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        event.ignore()
        if event.button() == Qt.MouseButton.LeftButton and self.is_inside(event.position()):
            self._pressed, self._last = event.position(), event.position()
            self._is_drag = False
            shifted = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._is_span = self.draws_spans or shifted
            event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        at = event.position()
        if self._pressed is None:
            if self.is_inside(at):
                place = self.place_of(at)
                self.hovered.emit(place.x(), place.y())
            return
        self._is_drag = self._is_drag or (at - self._pressed).manhattanLength() > _CLICK_PX
        if self._is_drag and self._is_span:
            self.span_drawn.emit(self.place_of(self._pressed).x(), self.place_of(at).x(), False)
        elif self._is_drag:
            moved = self.place_of(self._last) - self.place_of(at)
            self.panned.emit(moved.x(), moved.y())
        self._last = at

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._pressed is None or event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        start, self._pressed = self._pressed, None
        place = self.place_of(event.position())
        if not self._is_drag:
            self.clicked.emit(place.x(), place.y())
        elif self._is_span:
            self.span_drawn.emit(self.place_of(start).x(), place.x(), True)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.mousePressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zooms where the chart has the focus or Ctrl is held; else the page scrolls."""
        owner: QWidget | None = self.parentWidget()
        while owner is not None and owner.focusPolicy() == Qt.FocusPolicy.NoFocus:
            owner = owner.parentWidget()
        is_meant = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier) or (owner and owner.hasFocus())
        if not is_meant or not self.is_inside(event.position()):
            event.ignore()
            return
        place = self.place_of(event.position())
        self.zoomed.emit(0.85 ** (event.angleDelta().y() / 120), place.x(), place.y())
        event.accept()

    def leaveEvent(self, event: object) -> None:
        super().leaveEvent(event)
        self.left.emit()

    def resizeEvent(self, event: object) -> None:
        super().resizeEvent(event)
        self.resized.emit()
