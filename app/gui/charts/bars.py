"""Chart of horizontal bars in groups, side by side with intervals or stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QKeyEvent, QPainter

from app.gui.charts.axes import Axis
from app.gui.charts.layer import Layer
from app.gui.charts.legend import LegendEntry
from app.gui.charts.panel import Panel
from app.gui.charts.pens import fill_bar, solid_pen
from app.gui.theme import Theme, ThemeController
from reports.sections.figure import BarFigure, FigureBar

if TYPE_CHECKING:
    import pandas as pd

_GROUP_GAP = 0.14
"""Gap on either side of a group, as a fraction of its height."""
_BAR_HEIGHT, _MIN_BAR_HEIGHT = 1.25, 0.95
"""Height of a bar in text lines: the preferred height, and the minimum with many bars."""
_MANY_BARS = 12
_TEXT_GAP_PX, _CAP_PX = 6.0, 3.0


class BarChart(Panel):
    """Chart of horizontal bars. The bars of a group are side by side, or stacked. Without a color,
    series differ in their pattern.

    The arrow keys read one bar after another.
    """

    def __init__(
        self, title: str, value_axis: Axis, group_name: str, series_name: str, theme_controller: ThemeController
    ) -> None:
        self._bars: tuple[FigureBar, ...] = ()
        self._group_texts: Mapping[str, str] = {}
        self._is_stacked = False
        self._selected_index: int | None = None
        self._group_name, self._series_name = group_name, series_name
        super().__init__(title, value_axis, Axis(group_name), theme_controller)
        self._layer = _BarLayer(self, theme_controller.theme)
        self.plot.add_layer(self._layer, 0)
        self.plot.hovered.connect(self._hover)
        self.plot.mouse_left.connect(self._on_mouse_left)
        self.plot.resized.connect(self._fit_ranges)
        self.restyle(theme_controller.theme)

    @property
    def bars(self) -> tuple[FigureBar, ...]:
        return self._bars

    def show_figure(self, figure: BarFigure | None) -> None:
        """Show the bars of a figure, or hide the chart if there is none."""
        self.setVisible(figure is not None)
        if figure is not None:
            self.set_bars(figure.bars, is_stacked=figure.is_stacked, group_texts=figure.group_texts)

    def set_bars(
        self, bars: Sequence[FigureBar], *, is_stacked: bool = False, group_texts: Mapping[str, str] | None = None
    ) -> None:
        """Set all bars; groups and series are shown in the order in which they first appear.
        `group_texts` are drawn beside the stacks of the groups, instead of the texts of the bars."""
        self._bars, self._is_stacked, self._group_texts = tuple(bars), is_stacked, group_texts or {}
        self._selected_index = None
        self.plot.y_axis.set_names(self.groups())
        self._fit_height()
        self.apply_changes()

    def groups(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(bar.group for bar in self._bars))

    def series_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(bar.series for bar in self._bars))

    def list_spans(self) -> list[tuple[FigureBar, QRectF]]:
        """Return each bar with its rectangle in view coordinates, whose y values ascend upward."""
        groups, names = self.groups(), self.series_names()
        ends: dict[str, float] = {}
        slot = (1 - 2 * _GROUP_GAP) / (1 if self._is_stacked else max(1, len(names)))
        spans = []
        for bar in self._bars:
            position = 0 if self._is_stacked else names.index(bar.series)
            top = -groups.index(bar.group) + 0.5 - _GROUP_GAP - position * slot
            start = ends.get(bar.group, bar.start) if self._is_stacked else 0.0
            ends[bar.group] = start + bar.value
            spans.append((bar, QRectF(start, top - slot, bar.value, slot)))
        return spans

    def list_end_texts(self) -> list[tuple[float, float, str]]:
        """Return the texts beside the bars: the value after which a text begins, the y value of its
        center, and the text."""
        spans = self.list_spans()
        if not self._is_stacked:
            return [
                (max(bar.value, bar.interval[1] if bar.interval else 0.0), span.center().y(), bar.text)
                for bar, span in spans
            ]
        last_spans = {bar.group: span for bar, span in spans}
        return [
            (span.right(), span.center().y(), self._group_texts.get(group, "")) for group, span in last_spans.items()
        ]

    @property
    def selected_bar(self) -> FigureBar | None:
        return None if self._selected_index is None else self._bars[self._selected_index]

    def apply_changes(self) -> None:
        self._fit_ranges()
        self._update_legend()
        self.refresh_table()

    def restyle(self, theme: Theme) -> None:
        self._layer.theme, self._layer.font = theme, self.small_font()
        self._fit_ranges()
        self._layer.update()

    def frame(self) -> pd.DataFrame:
        """Return a DataFrame with one row per bar."""
        import pandas as pd

        columns: dict[str, object] = {
            self._group_name: [bar.group for bar in self._bars],
            self._series_name: [bar.series for bar in self._bars],
            self.x_axis.text: [bar.value for bar in self._bars],
        }
        if any(bar.interval for bar in self._bars):
            for side, name in enumerate(("95 % CI, low", "95 % CI, high")):
                columns[name] = [None if bar.interval is None else bar.interval[side] for bar in self._bars]
        return pd.DataFrame(columns)

    def describe(self) -> str:
        if not self._bars:
            return f"{self.x_axis.text}: no data yet"
        if self.selected_bar is not None:
            return _format_bar(self.selected_bar)
        largest = max(self._bars, key=lambda bar: bar.value)
        return (
            f"The chart shows {self.x_axis.text} by {self._group_name} and {self._series_name}: {len(self._bars)} "
            f"bars. The longest is {_format_bar(largest)}. Use the arrow keys to read values. Press T to show a table."
        )

    def _update_legend(self) -> None:
        names = self.series_names()
        shown_names = () if names == self.groups() else names  # the axis names the groups already
        entries = tuple(LegendEntry(name, "bars", names.index(name)) for name in shown_names)
        self.legend.set_entries("" if self.selected_bar is None else _format_bar(self.selected_bar), entries)
        self.place_legend()
        self.refresh_description()

    def _fit_ranges(self) -> None:
        """Fit the value axis to the bars with their intervals and the texts beside them."""
        width_px = float(self.plot.box.width())
        metrics = self.fontMetrics()
        ends = [1e-9]
        for end, _, text in self.list_end_texts():
            free_px = width_px - metrics.horizontalAdvance(text) - 2 * _TEXT_GAP_PX
            ends.append(end * width_px / free_px if free_px > 0.3 * width_px else end / 0.3)
        self.plot.set_ranges((0.0, max(ends)), (0.5 - max(1, len(self.groups())), 0.5))
        self._layer.update()

    def _fit_height(self) -> None:
        rows = 1 if self._is_stacked else max(1, len(self.series_names()))
        bar_count = rows * max(1, len(self.groups()))
        line_px = self.fontMetrics().height() * (_BAR_HEIGHT if bar_count <= _MANY_BARS else _MIN_BAR_HEIGHT)
        height_px = bar_count * line_px / (1 - 2 * _GROUP_GAP) + 2 * self.fontMetrics().height()
        self.plot.setMinimumHeight(max(self.plot.minimumHeight(), round(height_px)))

    def _on_font_changed(self) -> None:
        super()._on_font_changed()
        self._fit_height()

    def _select(self, index: int | None) -> None:
        if index != self._selected_index:
            self._selected_index = index
            self._update_legend()
            self._layer.update()

    def _hover(self, x: float, y: float) -> None:
        point = QPointF(x, y)
        index = next((index for index, (_, span) in enumerate(self.list_spans()) if span.contains(point)), None)
        self._select(index)

    def _on_mouse_left(self) -> None:
        if not self.hasFocus():
            self._select(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        last_index = len(self._bars) - 1
        key, current = Qt.Key(event.key()), self._selected_index
        index = {
            Qt.Key.Key_Down: 0 if current is None else min(current + 1, last_index),
            Qt.Key.Key_Right: 0 if current is None else min(current + 1, last_index),
            Qt.Key.Key_Up: last_index if current is None else max(current - 1, 0),
            Qt.Key.Key_Left: last_index if current is None else max(current - 1, 0),
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: last_index,
        }.get(key)
        if index is None or last_index < 0 or not self.is_plot_shown:
            super().keyPressEvent(event)
        else:
            self._select(index)


class _BarLayer(Layer):
    """Layer that paints the bars of a chart, their intervals and the texts beside them."""

    def __init__(self, chart: BarChart, theme: Theme) -> None:
        super().__init__(chart.plot.x_axis, chart.plot.y_axis, theme)
        self._chart = chart

    def draw(self, painter: QPainter, area: QRectF) -> None:
        names = self._chart.series_names()
        for bar, span in self._chart.list_spans():
            rect = self._to_pixels(area, span)
            fill_bar(painter, rect.adjusted(0, 0.5, 0, -0.5), self.theme, names.index(bar.series))
            if bar is self._chart.selected_bar:
                painter.setPen(solid_pen(self.theme.ink))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRect(rect)
            if bar.interval is not None:
                self._draw_interval(painter, area, bar.interval, rect.center().y())
        painter.setPen(QColor(self.theme.ink))
        metrics = painter.fontMetrics()
        for end, y, text in self._chart.list_end_texts():
            left = self.x_to_pixel(area, end, area.left()) + _TEXT_GAP_PX
            baseline = self.y_to_pixel(area, y, area.top()) + (metrics.ascent() - metrics.descent()) / 2
            elided_text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, round(area.right() - left))
            painter.drawText(QPointF(left, baseline), elided_text)

    def _draw_interval(self, painter: QPainter, area: QRectF, interval: tuple[float, float], y: float) -> None:
        painter.setPen(solid_pen(self.theme.ink))
        low, high = (self.x_to_pixel(area, end, area.left()) for end in interval)
        painter.drawLine(QPointF(low, y), QPointF(high, y))
        for x in (low, high):
            painter.drawLine(QPointF(x, y - _CAP_PX), QPointF(x, y + _CAP_PX))

    def _to_pixels(self, area: QRectF, span: QRectF) -> QRectF:
        left, right = (self.x_to_pixel(area, x, area.left()) for x in (span.left(), span.right()))
        bottom, top = (self.y_to_pixel(area, y, area.top()) for y in (span.top(), span.bottom()))
        return QRectF(left, top, right - left, bottom - top)


def _format_bar(bar: FigureBar) -> str:
    name = bar.group if bar.group == bar.series else f"{bar.group}, {bar.series}"
    return f"{name}: {bar.text}"
