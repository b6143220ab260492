from __future__ import annotations

import pytest
from PySide6.QtWidgets import QSplitter
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.theme import ThemeController


def test_key_and_buttons_grow_with_the_text(qtbot: QtBot, look: ThemeController) -> None:
    """And have grown when the layout, which folds then, has moved the chart."""
    chart, before, after = Chart("Rates", Axis("time", "s"), Axis("requests"), look), QSplitter(), QSplitter()
    for splitter in (before, after):
        qtbot.addWidget(splitter)
    before.addWidget(chart)
    before.show()
    small = [one.font().pointSizeF() for one in (chart.legend, chart.table_button, chart.export_button)]
    look.scale_text(2.0)
    after.addWidget(chart)
    after.show()
    grown = [one.font().pointSizeF() for one in (chart.legend, chart.table_button, chart.export_button)]
    assert grown == pytest.approx([2 * one for one in small], rel=0.02)
