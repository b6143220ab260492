from __future__ import annotations

import pytest
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QImage
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.bars import BarChart
from app.gui.theme import LIGHT, ThemeController
from reports.sections.figure import FigureBar

BARS = (
    FigureBar("batch 1", "tg16", 40.0, "40 tok/s", (30.0, 50.0)),
    FigureBar("batch 1", "pp8", 10.0, "10 tok/s"),
    FigureBar("batch 4", "tg16", 20.0, "20 tok/s"),
)


@pytest.fixture
def chart(qtbot: QtBot, theme: ThemeController) -> BarChart:
    chart = BarChart("Decode throughput", Axis("Decode throughput", "tok/s"), "Variant", "Test", theme)
    qtbot.addWidget(chart)
    chart.resize(600, 300)
    with qtbot.waitExposed(chart):
        chart.show()
    chart.set_bars(BARS)
    return chart


def test_chart_bars_of_a_group_are_adjacent_beside_the_group_name(chart: BarChart) -> None:
    spans = [span for _, span in chart.list_spans()]
    assert [span.width() for span in spans] == [40.0, 10.0, 20.0]
    assert spans[0].top() == pytest.approx(spans[1].bottom()), "the second series is below the first"
    assert spans[2].bottom() < spans[1].top() < 0.5
    assert chart.plot.y_axis.format_ticks(chart.plot.y_axis.tick_positions()) == ["batch 1", "batch 4"]
    image = chart.plot.grab().toImage()
    inside, outside = (chart.plot.view_to_pixel(x, spans[2].center().y()).toPoint() for x in (5.0, 45.0))
    assert QColor(image.pixel(inside)).name() == LIGHT.series[0]
    assert QColor(image.pixel(outside)).name() == LIGHT.paper


def test_bar_texts_are_beside_bars_or_intervals_and_within_the_plot(chart: BarChart) -> None:
    assert [(end, text) for end, _, text in chart.list_end_texts()] == [
        (50.0, "40 tok/s"), (10.0, "10 tok/s"), (20.0, "20 tok/s")
    ]  # fmt: skip
    text_end_px = chart.plot.view_to_pixel(50.0, 0.0).x() + chart.fontMetrics().horizontalAdvance("40 tok/s")
    assert text_end_px < chart.plot.width()


def test_stacked_bars_start_where_the_previous_bar_ends(chart: BarChart) -> None:
    chart.set_bars(BARS, is_stacked=True, group_texts={"batch 1": "50 in all"})
    assert [(span.left(), span.right()) for _, span in chart.list_spans()] == [(0.0, 40.0), (40.0, 50.0), (0.0, 20.0)]
    assert [(end, text) for end, _, text in chart.list_end_texts()] == [(50.0, "50 in all"), (20.0, "")]


def test_waterfall_bars_start_at_their_own_values_without_a_legend(chart: BarChart) -> None:
    names = [f"part {index}" for index in range(7)]
    bars = [FigureBar(name, name, 10.0, "10 ms", start=10.0 * index) for index, name in enumerate(names)]
    chart.set_bars(bars, is_stacked=True, group_texts=dict.fromkeys(names, "10 ms"))
    assert [(span.left(), span.right()) for _, span in chart.list_spans()] == [
        (10.0 * i, 10.0 * i + 10) for i in range(7)
    ]
    assert chart.list_end_texts()[-1][0] == 70.0
    assert chart.legend.entries == (), "the axis names the bars"
    assert "The longest is part 0: 10 ms." in chart.accessibleDescription()
    image = chart.plot.grab().toImage()
    pixels = [_list_pixels(chart, image, span) for _, span in chart.list_spans()]
    assert len(pixels[0]) == 1, "the first series is plain"
    assert len(pixels[6]) > 1, "the same color has a pattern when it is used again"


def _list_pixels(chart: BarChart, image: QImage, span: QRectF) -> set[int]:
    """The colors along the center line of a bar."""
    left, right = (chart.plot.view_to_pixel(x, span.center().y()).toPoint() for x in (span.left(), span.right()))
    return {image.pixel(x, left.y()) for x in range(left.x() + 3, right.x() - 3)}


def test_bar_chart_is_readable_by_keyboard_description_and_table(chart: BarChart, qtbot: QtBot) -> None:
    assert "The longest is batch 1, tg16: 40 tok/s." in chart.accessibleDescription()
    qtbot.keyClick(chart, Qt.Key.Key_End)
    qtbot.keyClick(chart, Qt.Key.Key_Up)
    assert chart.accessibleDescription() == "batch 1, pp8: 10 tok/s"
    assert chart.legend.axis_text == "batch 1, pp8: 10 tok/s"
    frame = chart.frame()
    assert frame["Decode throughput (tok/s)"].tolist() == [40.0, 10.0, 20.0]
    assert [frame["95 % CI, low"].tolist()[0], frame["95 % CI, high"].tolist()[0]] == [30.0, 50.0]
    chart.set_bars(())
    assert chart.frame().empty
    qtbot.keyClick(chart, Qt.Key.Key_Down)
    assert chart.selected_bar is None
