"""Heat map of counts by time and value, which shows how a distribution changes over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QKeyEvent

from app.gui.charts.axes import Axis, Floats
from app.gui.charts.legend import LegendEntry
from app.gui.charts.panel import Panel
from app.gui.charts.pens import solid_pen
from app.gui.formatting import format_count, format_number, with_unit
from app.gui.theme import Theme, ThemeController
from reports.sections.figure import HeatFigure

if TYPE_CHECKING:
    import pandas as pd

_SHADE_COUNT = 64


def list_scale_counts(max_count: int) -> list[int]:
    """Return the counts of the color scale: a cell with a count of 1, the darkest cells, and cells of
    a third and two thirds of their shade, which grows with the square root of the count."""
    shades = (round(max_count / 9), round(4 * max_count / 9))
    return sorted({count for count in (1, *shades, max_count) if 0 < count <= max_count})


class HeatMap(Panel):
    """Heat map in which cells with higher counts are darker (brighter in a dark theme). Empty cells
    have the background color."""

    def __init__(self, title: str, x_axis: Axis, y_axis: Axis, theme_controller: ThemeController) -> None:
        self._start_s, self._bin_s = 0.0, 1.0
        self._edges: Floats = np.empty(0)
        self._counts: Floats = np.zeros((0, 0))
        self._selected_column: int | None = None
        self._colors = np.zeros((_SHADE_COUNT, 3), dtype=np.uint8)
        super().__init__(title, x_axis, y_axis, theme_controller)
        self._image = pg.ImageItem()
        self._line = pg.InfiniteLine(angle=90)
        self._line.hide()
        for item in (self._image, self._line):
            self.plot.box.addItem(item, ignoreBounds=True)
        self.plot.hovered.connect(self._hover)
        self.plot.mouse_left.connect(self._on_mouse_left)
        self.restyle(theme_controller.theme)

    def show_figure(self, figure: HeatFigure | None, missing_text: str) -> None:
        """Show the counts of a figure, or a text if there is none."""
        self.set_message("" if figure is not None else missing_text)
        if figure is not None:
            self.set_counts(figure.starts[0], figure.width, figure.edges, np.transpose(figure.counts))

    def set_counts(self, start_s: float, bin_s: float, edges: npt.ArrayLike, counts: npt.ArrayLike) -> None:
        """Set the counts of all cells. `counts` has one row per time bin of `bin_s` seconds, from
        `start_s`, and one column per interval between adjacent y `edges`."""
        count_array, edge_array = np.array(counts, dtype=np.float64), np.array(edges, dtype=np.float64)
        if count_array.ndim != 2 or (count_array.size and count_array.shape[1] != len(edge_array) - 1):
            raise ValueError("counts need one column per interval between edges")
        self._start_s, self._bin_s, self._edges, self._counts = start_s, bin_s, edge_array, count_array
        self.apply_changes()

    def apply_changes(self) -> None:
        self._select_column(
            None
            if self._selected_column is None or self._selected_column >= len(self._counts)
            else self._selected_column
        )
        max_count = self._counts.max() if self._counts.size else 0.0
        if max_count == 0:
            self._image.clear()
            return
        positions = self.y_axis.to_view(self._edges)
        row_edges = np.linspace(positions[0], positions[-1], max(2 * len(positions), 2))
        row_centers = (row_edges[:-1] + row_edges[1:]) / 2
        bin_of_row = np.clip(np.searchsorted(positions, row_centers, side="right") - 1, 0, self._counts.shape[1] - 1)
        intensities = np.sqrt(self._counts[:, bin_of_row] / max_count)
        self._image.setImage(intensities, levels=(0.0, 1.0), autoLevels=False)
        end_s = self._start_s + self._bin_s * len(self._counts)
        self._image.setRect(QRectF(self._start_s, positions[0], end_s - self._start_s, positions[-1] - positions[0]))
        self.plot.set_ranges((self._start_s, end_s), (float(positions[0]), float(positions[-1])))
        self.refresh_table()

    def restyle(self, theme: Theme) -> None:
        low_color, high_color = QColor(theme.paper), QColor(theme.series[0])
        fractions = np.linspace(0.0, 1.0, _SHADE_COUNT)[:, None]
        low_rgb, high_rgb = (
            np.array([color.red(), color.green(), color.blue()], dtype=float) for color in (low_color, high_color)
        )
        lookup_table = np.round(low_rgb + (high_rgb - low_rgb) * (0.15 + 0.85 * fractions))
        lookup_table[0] = low_rgb
        self._colors = lookup_table.astype(np.uint8)
        self._image.setLookupTable(self._colors)
        self._line.setPen(solid_pen(theme.ink))
        self._show_scale()

    def frame(self) -> pd.DataFrame:
        """Return a DataFrame with one row per non-empty cell."""
        import pandas as pd

        time_bins, value_bins = np.nonzero(self._counts)
        unit = f" ({self.y_axis.unit})" if self.y_axis.unit else ""
        return pd.DataFrame(
            {
                self.x_axis.text: self._start_s + self._bin_s * time_bins,
                "From" + unit: self._edges[value_bins],
                "To" + unit: self._edges[value_bins + 1] if len(value_bins) else np.empty(0),
                "Count": self._counts[time_bins, value_bins].astype(np.int64),
            }
        )

    def describe(self) -> str:
        if not self._counts.size:
            return f"{self.y_axis.text} over {self.x_axis.text}: no data yet"
        if self._selected_column is not None:
            return f"At {self._format_column(self._selected_column)}"
        total_text = format_count(int(self._counts.sum()))
        return (
            f"The heat map shows {self.y_axis.text} over {self.x_axis.text}, with a total count of {total_text}. "
            "Use the arrow keys to read values. Press T to show a table."
        )

    def _format_column(self, column: int) -> str:
        counts = self._counts[column]
        start_s = self._start_s + self._bin_s * column
        interval_text = with_unit(
            f"{format_number(start_s)} to {format_number(start_s + self._bin_s)}", self.x_axis.unit
        )
        total_text = f"total count {format_count(int(counts.sum()))}"
        if not counts.any():
            return f"{interval_text}: {total_text}"
        peak_bin = int(counts.argmax())
        low, high = (format_number(float(self._edges[peak_bin + side])) for side in (0, 1))
        max_text = f"max count {format_count(int(counts[peak_bin]))} from {low} to {with_unit(high, self.y_axis.unit)}"
        return f"{interval_text}: {total_text}, {max_text}"

    def _select_column(self, column: int | None) -> None:
        self._selected_column = column
        self._line.setVisible(column is not None)
        if column is not None:
            self._line.setPos(self._start_s + self._bin_s * (column + 0.5))
        self._show_scale()
        self.refresh_description()

    def _show_scale(self) -> None:
        """Show the color scale in the legend or, while a column is selected, its counts."""
        if self._selected_column is not None:
            self.legend.set_entries(self._format_column(self._selected_column), ())
            return
        max_count = int(self._counts.max()) if self._counts.size else 0
        steps = tuple(
            LegendEntry(format_count(count), "bars", 0, color=QColor(*self._get_color(count, max_count)).name())
            for count in list_scale_counts(max_count)
        )
        self.legend.set_entries(f"{self.y_axis.text}; count per cell:" if steps else self.y_axis.text, steps)
        self.place_legend()

    def _get_color(self, count: int, max_count: int) -> tuple[int, int, int]:
        red, green, blue = self._colors[round(math.sqrt(count / max_count) * (_SHADE_COUNT - 1))].tolist()
        return red, green, blue

    def _hover(self, x: float, _: float) -> None:
        column = math.floor((x - self._start_s) / self._bin_s)
        self._select_column(column if 0 <= column < len(self._counts) else None)

    def _on_mouse_left(self) -> None:
        if not self.hasFocus():
            self._select_column(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        last_column = len(self._counts) - 1
        column = {
            Qt.Key.Key_Right: 0 if self._selected_column is None else min(self._selected_column + 1, last_column),
            Qt.Key.Key_Left: last_column if self._selected_column is None else max(self._selected_column - 1, 0),
            Qt.Key.Key_End: last_column,
        }.get(Qt.Key(event.key()))
        if column is None or last_column < 0 or not self.is_plot_shown:
            super().keyPressEvent(event)
        else:
            self._select_column(column)
