from __future__ import annotations

import pytest
from PySide6.QtWidgets import QStackedWidget
from pytestqt.qtbot import QtBot

from app.gui.charts.figures import LineCharts, create_chart
from app.gui.theme import ThemeController
from reports.sections.figure import BarFigure, Figure, FigureAxis, FigureBar, FigureLine, HeatFigure, LineFigure

LINES = LineFigure(
    title="Wait by rate",
    x=FigureAxis("Rate", "req/s"),
    y=FigureAxis("Wait", "ms"),
    lines=(FigureLine("run-2", "third run", (1.0, 2.0), (3.0, None), style_index=2),),
)
BARS = BarFigure(
    title="Wait by test",
    value=FigureAxis("Wait", "ms"),
    series_label="Test",
    bars=(FigureBar("batch 1", "a", 3.0, "3 ms"), FigureBar("batch 1", "b", 4.0, "4 ms")),
)
HEAT = HeatFigure(
    title="Waits over time",
    x=FigureAxis("Time", "s"),
    y=FigureAxis("Wait", "ms"),
    starts=(0.0, 5.0),
    width=5.0,
    edges=(1.0, 10.0, 100.0),
    counts=((4, 0), (0, 9)),
)


@pytest.mark.parametrize(
    ("figure", "values"),
    [
        (LINES, {"third run (ms)": [3.0]}),
        (BARS, {"Wait (ms)": [3.0, 4.0]}),
        (HEAT, {"Count": [4, 9], "To (ms)": [10.0, 100.0]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_figure_has_a_chart_with_its_title_and_values(
    qtbot: QtBot, theme: ThemeController, figure: Figure, values: dict[str, list[float]]
) -> None:
    chart = create_chart(figure, theme)
    qtbot.addWidget(chart)
    frame = chart.frame()
    assert chart.title == figure.title
    assert {name: frame[name].dropna().tolist() for name in values} == values


def test_line_charts_are_reused_by_title_and_axes(qtbot: QtBot, theme: ThemeController) -> None:
    pages = QStackedWidget()
    qtbot.addWidget(pages)
    charts = LineCharts(theme, pages.addWidget)
    first, other = charts.draw(LINES), charts.draw(LineFigure(title="Waits", x=LINES.x, y=LINES.y, lines=LINES.lines))
    assert [pages.widget(index) for index in range(pages.count())] == [first, other]
    again = charts.draw(LineFigure(title=LINES.title, x=LINES.x, y=LINES.y, lines=()))
    assert again is first
    assert first.series() == ()
    assert [series.style_index for series in other.series()] == [2]
