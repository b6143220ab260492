"""A chosen stretch of x over a chart, with edges to drag."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import QObject, Signal

from app.gui.charts.chart import Chart
from app.gui.charts.pens import clear_colour, solid_pen
from app.gui.theme import Theme


class Span(QObject):
    moved = Signal(float, float, bool)

    def __init__(self, chart: Chart) -> None:
        super().__init__(chart)
        self._chart = chart
        self._item = pg.LinearRegionItem(movable=True, swapMode="sort")
        self._item.setZValue(10)
        self._item.hide()
        chart.plot.box.addItem(self._item, ignoreBounds=True)
        self._item.sigRegionChangeFinished.connect(self._let_go)
        self._is_set = False
        self._put_on(chart.look.theme)
        chart.look.changed.connect(self._put_on)

    def show(self, start: float, end: float) -> None:
        places = self._chart.x_axis.to_view([start, end])
        self._is_set = True
        self._item.setRegion((float(places[0]), float(places[1])))
        self._is_set = False
        self._item.show()

    def hide(self) -> None:
        self._item.hide()

    def _let_go(self) -> None:
        if not self._is_set:
            start, end = self._item.getRegion()
            self.moved.emit(self._chart.x_axis.from_view(start), self._chart.x_axis.from_view(end), True)

    def _put_on(self, theme: Theme) -> None:
        self._item.setBrush(clear_colour(theme.accent, 36))
        self._item.setHoverBrush(clear_colour(theme.accent, 50))
        for line in self._item.lines:
            line.setPen(solid_pen(theme.accent))
