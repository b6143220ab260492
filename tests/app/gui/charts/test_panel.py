from __future__ import annotations

import pytest
from PySide6.QtWidgets import QSplitter
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.theme import ThemeController


def test_chart_legend_and_buttons_scale_with_the_text_when_the_chart_is_moved(
    qtbot: QtBot, theme: ThemeController
) -> None:
    """The layout changes with the text size and moves the chart to another parent."""
    chart, before, after = Chart("Rates", Axis("time", "s"), Axis("requests"), theme), QSplitter(), QSplitter()
    for splitter in (before, after):
        qtbot.addWidget(splitter)
    before.addWidget(chart)
    before.show()
    sizes = [widget.font().pointSizeF() for widget in (chart.legend, chart.table_button, chart.export_button)]
    theme.scale_text(2.0)
    after.addWidget(chart)
    after.show()
    scaled_sizes = [widget.font().pointSizeF() for widget in (chart.legend, chart.table_button, chart.export_button)]
    assert scaled_sizes == pytest.approx([2 * widget for widget in sizes], rel=0.02)
