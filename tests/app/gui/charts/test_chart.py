from __future__ import annotations

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.theme import Look

TIME, LATENCY = Axis("Time", "s"), Axis("Latency", "ms")


@pytest.fixture
def chart(qtbot: QtBot, look: Look) -> Chart:
    made = Chart("Latency", TIME, LATENCY, look)
    qtbot.addWidget(made)
    made.resize(640, 320)
    made.set_line("p50", "p50", np.arange(10.0), np.arange(10.0) * 2)
    with qtbot.waitExposed(made):
        made.show()
    return made


def test_the_crosshair_reads_the_nearest_sample_of_every_series(chart: Chart) -> None:
    chart.set_range("ci", "95 % interval", np.arange(10.0), np.arange(10.0), np.arange(10.0) * 3)
    chart.settle()
    chart.set_crosshair(4.2)
    assert [(one.label, one.text) for one in chart.readout()] == [
        ("p50", "8.00\u202fms"),
        ("95 % interval", "4.00–12.0\u202fms"),
    ]
    assert chart.accessibleDescription() == "At 4.20\u202fs: p50 8.00\u202fms, 95 % interval 4.00–12.0\u202fms"


def test_the_table_is_what_is_drawn(chart: Chart) -> None:
    frame = chart.frame()
    assert list(frame.columns) == ["Time (s)", "p50 (ms)"]
    assert frame["p50 (ms)"].tolist() == [2.0 * place for place in range(10)]
