from __future__ import annotations

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.theme import ThemeController

TIME, LATENCY = Axis("Time", "s"), Axis("Latency", "ms")


@pytest.fixture
def chart(qtbot: QtBot, look: ThemeController) -> Chart:
    """On screen, with twice the seconds as milliseconds."""
    made = Chart("Latency", TIME, LATENCY, look)
    qtbot.addWidget(made)
    made.resize(640, 320)
    made.set_line("p50", "p50", np.arange(10.0), np.arange(10.0) * 2)
    with qtbot.waitExposed(made):
        made.show()
    made.apply_changes()
    return made


@pytest.fixture
def offers(qtbot: QtBot, look: ThemeController) -> Chart:
    """A scatter on logarithmic axes."""
    made = Chart("Offers", Axis("Cost", "USD", is_log=True), Axis("p95", "ms", is_log=True), look)
    qtbot.addWidget(made)
    made.resize(640, 400)
    made.set_points("l4", "L4", [100.0, 1000.0], [50.0, 5.0], hollow_flags=[False, True], names=("L4 ×1", "L4 ×2"))
    made.set_points("a10", "A10", [300.0], [20.0], style_index=1, names=("A10 ×1",))
    with qtbot.waitExposed(made):
        made.show()
    made.apply_changes()
    return made
