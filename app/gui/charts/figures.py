"""Charts of figures, with the title and the axes of the figure."""

from __future__ import annotations

from collections.abc import Callable

from app.gui.charts.axes import Axis
from app.gui.charts.bars import BarChart
from app.gui.charts.chart import Chart
from app.gui.charts.heat_map import HeatMap
from app.gui.charts.panel import Panel
from app.gui.theme import ThemeController
from reports.sections.figure import BarFigure, Figure, FigureAxis, HeatFigure, LineFigure


class LineCharts:
    """Charts of figures of lines, one for each title with its axes, because the axes of a chart cannot be
    changed. `add` adds a new chart to the window."""

    def __init__(self, theme_controller: ThemeController, add: Callable[[Chart], object]) -> None:
        self._theme_controller, self._add = theme_controller, add
        self._charts: dict[tuple[str, FigureAxis, FigureAxis], Chart] = {}

    @property
    def charts(self) -> tuple[Chart, ...]:
        return tuple(self._charts.values())

    def get(self, title: str, x: FigureAxis, y: FigureAxis) -> Chart:
        """Return the chart with a title and axes, which is created on first use."""
        key = title, x, y
        if key not in self._charts:
            self._charts[key] = Chart(title, _convert_axis(x), _convert_axis(y), self._theme_controller)
            self._add(self._charts[key])
        return self._charts[key]

    def draw(self, figure: LineFigure) -> Chart:
        """Draw a figure in the chart with its title and axes."""
        chart = self.get(figure.title, figure.x, figure.y)
        chart.show_figure(figure, "")
        return chart


def create_chart(figure: Figure, theme_controller: ThemeController) -> Panel:
    """Create the chart of a figure."""
    if isinstance(figure, LineFigure):
        return LineCharts(theme_controller, lambda _: None).draw(figure)
    if isinstance(figure, BarFigure):
        labels = figure.group_label, figure.series_label
        bar_chart = BarChart(figure.title, _convert_axis(figure.value), *labels, theme_controller)
        bar_chart.set_bars(figure.bars, is_stacked=figure.is_stacked, group_texts=figure.group_texts)
        return bar_chart
    assert isinstance(figure, HeatFigure)
    y_axis = Axis(figure.y.label, figure.y.unit, is_log=figure.edges[0] > 0)
    heat_map = HeatMap(figure.title, _convert_axis(figure.x), y_axis, theme_controller)
    heat_map.show_figure(figure, "")
    return heat_map


def _convert_axis(axis: FigureAxis) -> Axis:
    return Axis(axis.label, axis.unit, is_percentile=axis.is_percentile)
