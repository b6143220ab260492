"""Series as items of a plot: colours, dashes and markers of the theme; long lines thinned to their peaks."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QPen
from PySide6.QtWidgets import QGraphicsItem

from app.gui.charts.axes import Axis, Floats
from app.gui.charts.pens import MARKER_PX, clear_colour, colour_of, line_pen, marker_of, solid_pen
from app.gui.charts.series import Series
from app.gui.theme import Theme

_MOST_MARKERS = 8
_FEW_SAMPLES = 40
_PX_A_DASHED_SAMPLE = 4.0


class Drawn:
    """The items of one series."""

    def __init__(self, box: pg.ViewBox, x: Axis, y: Axis) -> None:
        self._box, self._x, self._y = box, x, y
        self.is_dashed = True
        self._is_hidden = False
        self._line: pg.PlotDataItem | None = None
        self._markers: pg.ScatterPlotItem | None = None
        self._edges: tuple[pg.PlotDataItem, pg.PlotDataItem] | None = None
        self._fill: pg.FillBetweenItem | None = None
        self._places: tuple[Floats, Floats] = (np.empty(0), np.empty(0))

    def draw(self, series: Series, theme: Theme, *, is_hidden: bool) -> None:
        across, up = self._x.to_view(series.x), self._y.to_view(series.y)
        self._places = across, up
        if series.kind == "range":
            self._draw_range(series, theme, across, up)
        elif series.kind == "line":
            self._draw_line(series, theme, across, up)
        else:
            self._draw_points(series, theme, across, up, np.flatnonzero(np.isfinite(across) & np.isfinite(up)))
        for item in self._items():
            item.setVisible(not is_hidden)
        self._is_hidden = is_hidden

    def remove(self) -> None:
        for item in self._items():
            self._box.removeItem(item)

    def _items(self) -> list[QGraphicsItem]:
        return [item for item in (self._line, self._markers, self._fill, *(self._edges or ())) if item is not None]

    def mark_line(self, series: Series, theme: Theme, low: float, high: float, width_px: float) -> None:
        """Markers on a line: at every sample of few, else at a few of those between `low` and `high`. A line so dense
        that its dashes would read as noise is solid."""
        if series.kind != "line" or self._line is None:
            return
        across, up = self._places
        seen = np.flatnonzero(np.isfinite(across) & np.isfinite(up) & (across >= low) & (across <= high))
        is_dashed = len(seen) * _PX_A_DASHED_SAMPLE <= width_px
        if is_dashed != self.is_dashed:
            self.is_dashed = is_dashed
            self._line.setPen(self._pen(series, theme))
        if len(seen) > _FEW_SAMPLES and series.is_sorted:
            spacing = (high - low) / _MOST_MARKERS
            shift = spacing * (series.series % 4) / 4  # so that lines that lie on each other are told apart
            wanted = (np.ceil((low - shift) / spacing) + np.arange(_MOST_MARKERS)) * spacing + shift
            spots = np.searchsorted(across[seen], wanted[(wanted >= across[seen[0]]) & (wanted <= across[seen[-1]])])
            seen = seen[np.unique(np.minimum(spots, len(seen) - 1))]
        elif len(seen) > _FEW_SAMPLES:
            seen = seen[:: len(seen) // _MOST_MARKERS]
        self._draw_points(series, theme, across, up, seen)

    def _draw_line(self, series: Series, theme: Theme, across: Floats, up: Floats) -> None:
        if self._line is None:
            self._line = pg.PlotDataItem(antialias=False, connect="finite")
            self._box.addItem(self._line, ignoreBounds=True)
        self._line.setDownsampling(ds=None if series.is_sorted else 1, auto=series.is_sorted, method="peak")
        self._line.setClipToView(series.is_sorted)
        self._line.setPen(self._pen(series, theme))
        step = {"stepMode": "left"} if series.is_stepped else {}
        if np.isfinite(up).any():
            self._line.setData(across, up, **step)
        else:
            self._line.setData([], [])

    def _pen(self, series: Series, theme: Theme) -> QPen:
        return line_pen(theme, series.series) if self.is_dashed else solid_pen(colour_of(theme, series.series))

    def _draw_points(self, series: Series, theme: Theme, across: Floats, up: Floats, shown: np.ndarray) -> None:
        if self._markers is None:
            self._markers = pg.ScatterPlotItem(pxMode=True)
            self._markers.setZValue(5)
            self._markers.setVisible(not self._is_hidden)
            self._box.addItem(self._markers, ignoreBounds=True)
        colour = colour_of(theme, series.series)
        full, empty = pg.mkBrush(colour), pg.mkBrush(theme.paper)
        size = MARKER_PX if series.kind == "line" else MARKER_PX + 3
        self._markers.setData(
            x=across[shown],
            y=up[shown],
            symbol=marker_of(series.series),
            size=size,
            pen=solid_pen(colour),
            brush=[empty if series.is_hollow(int(index)) else full for index in shown],
        )

    def _draw_range(self, series: Series, theme: Theme, across: Floats, up: Floats) -> None:
        if self._edges is None or self._fill is None:
            self._edges = (pg.PlotDataItem(connect="finite"), pg.PlotDataItem(connect="finite"))
            for edge in self._edges:
                edge.setPen(None)
                self._box.addItem(edge, ignoreBounds=True)
            self._fill = pg.FillBetweenItem(*self._edges)
            self._fill.setZValue(-5)
            self._box.addItem(self._fill, ignoreBounds=True)
        low = self._y.to_view(series.y if series.low is None else series.low)
        kept = np.isfinite(across) & np.isfinite(up) & np.isfinite(low)
        self._edges[0].setData(across[kept], low[kept])
        self._edges[1].setData(across[kept], up[kept])
        self._fill.setBrush(clear_colour(colour_of(theme, series.series), 45))
