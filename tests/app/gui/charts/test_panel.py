from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.theme import ThemeController


def test_key_and_buttons_grow_with_the_text(qtbot: QtBot, look: ThemeController) -> None:
    chart = Chart("Rates", Axis("time", "s"), Axis("requests"), look)
    qtbot.addWidget(chart)
    chart.show()
    small = [one.font().pointSizeF() for one in (chart.legend, chart.table_button, chart.export_button)]
    look.scale_text(2.0)
    grown = [one.font().pointSizeF() for one in (chart.legend, chart.table_button, chart.export_button)]
    assert grown == pytest.approx([2 * one for one in small], rel=0.02)
