"""Counts over time and value: how a distribution moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QColor

from app.gui.charts.axes import Axis, Floats
from app.gui.charts.panel import Panel
from app.gui.theme import Look, Theme
from app.gui.words import tr

if TYPE_CHECKING:
    import pandas as pd

_SHADES = 64


class HeatMap(Panel):
    """Darker (in a dark theme brighter) is more; nothing is the paper itself."""

    def __init__(self, title: str, x: Axis, y: Axis, look: Look) -> None:
        self._from_s, self._bin_s = 0.0, 1.0
        self._edges: Floats = np.empty(0)
        self._counts: Floats = np.zeros((0, 0))
        super().__init__(title, x, y, look)
        self._image = pg.ImageItem()
        self.plot.box.addItem(self._image, ignoreBounds=True)
        self.restyle(look.theme)

    def set_counts(self, from_s: float, bin_s: float, edges: npt.ArrayLike, counts: npt.ArrayLike) -> None:
        """`counts`: one row a bin of time, one column a stretch between two neighbouring `edges` of y."""
        numbers, ends = np.array(counts, dtype=np.float64), np.array(edges, dtype=np.float64)
        if numbers.ndim != 2 or (numbers.size and numbers.shape[1] != len(ends) - 1):
            raise ValueError("counts have one column a stretch between edges")
        self._from_s, self._bin_s, self._edges, self._counts = from_s, bin_s, ends, numbers
        self.settle()

    def settle(self) -> None:
        self.key.show_entries(self.y_axis.text, ())
        self.refresh_description()
        if not self._counts.size:
            self._image.clear()
            return
        top = self._counts.max()
        places = self.y_axis.to_view(self._edges)
        rows = np.linspace(places[0], places[-1], max(2 * len(places), 2))
        middles = (rows[:-1] + rows[1:]) / 2
        of_row = np.clip(np.searchsorted(places, middles, side="right") - 1, 0, self._counts.shape[1] - 1)
        shares = np.sqrt(self._counts[:, of_row] / top) if top > 0 else self._counts[:, of_row]
        self._image.setImage(shares, levels=(0.0, 1.0), autoLevels=False)
        end_s = self._from_s + self._bin_s * len(self._counts)
        self._image.setRect(QRectF(self._from_s, places[0], end_s - self._from_s, places[-1] - places[0]))
        self.plot.set_ranges((self._from_s, end_s), (float(places[0]), float(places[-1])))
        self.refresh_table()

    def restyle(self, theme: Theme) -> None:
        low, high = QColor(theme.paper), QColor(theme.series[0])
        share = np.linspace(0.0, 1.0, _SHADES)[:, None]
        start, end = (np.array([each.red(), each.green(), each.blue()], dtype=float) for each in (low, high))
        table = np.round(start + (end - start) * (0.15 + 0.85 * share))
        table[0] = start
        self._image.setLookupTable(table.astype(np.uint8))

    def frame(self) -> pd.DataFrame:
        """One row a cell that has any."""
        import pandas as pd

        times, rows = np.nonzero(self._counts)
        unit = f" ({self.y_axis.unit})" if self.y_axis.unit else ""
        return pd.DataFrame(
            {
                self.x_axis.text: self._from_s + self._bin_s * times,
                tr("From") + unit: self._edges[rows],
                tr("To") + unit: self._edges[rows + 1] if len(rows) else np.empty(0),
                tr("Count"): self._counts[times, rows].astype(np.int64),
            }
        )

    def describe(self) -> str:
        if not self._counts.size:
            return tr("{y} over {x}: nothing yet").format(y=self.y_axis.text, x=self.x_axis.text)
        return tr("{y} over {x}: {count} in all. T shows a table.").format(
            y=self.y_axis.text, x=self.x_axis.text, count=f"{int(self._counts.sum()):,}"
        )
