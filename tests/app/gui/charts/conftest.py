from __future__ import annotations

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.theme import ThemeController

TIME, LATENCY = Axis("Time", "s"), Axis("Latency", "ms")


@pytest.fixture
def chart(qtbot: QtBot, theme: ThemeController) -> Chart:
    """A visible chart of a line with y = 2x."""
    chart = Chart("Latency", TIME, LATENCY, theme)
    qtbot.addWidget(chart)
    chart.resize(640, 320)
    chart.set_line("p50", "p50", np.arange(10.0), np.arange(10.0) * 2)
    with qtbot.waitExposed(chart):
        chart.show()
    chart.apply_changes()
    return chart


@pytest.fixture
def offers(qtbot: QtBot, theme: ThemeController) -> Chart:
    """A scatter on logarithmic axes."""
    chart = Chart("Offers", Axis("Cost", "USD", is_log=True), Axis("p95", "ms", is_log=True), theme)
    qtbot.addWidget(chart)
    chart.resize(640, 400)
    chart.set_points("l4", "L4", [100.0, 1000.0], [50.0, 5.0], hollow_flags=[False, True], names=("L4 ×1", "L4 ×2"))
    chart.set_points("a10", "A10", [300.0], [20.0], style_index=1, names=("A10 ×1",))
    with qtbot.waitExposed(chart):
        chart.show()
    chart.apply_changes()
    return chart
