from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pandas as pd
import pytest
from PySide6.QtGui import QColor, QGuiApplication, QImage
from PySide6.QtWidgets import QFileDialog, QWidget
from pytestqt.qtbot import QtBot

from app.gui.charts import export
from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.linked import LinkedCharts
from app.gui.theme import DARK, LIGHT, ThemeController

TIME, LATENCY = Axis("Time", "s"), Axis("Latency", "ms")


def drawn(image: QImage) -> set[str]:
    columns, rows = range(0, image.width(), 3), range(0, image.height(), 3)
    return {QColor(image.pixel(column, row)).name() for column in columns for row in rows}


def texts_of(path: Path) -> set[str]:
    root = ElementTree.parse(path).getroot()
    return {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}


def test_a_picture_is_twice_as_fine_and_holds_the_line(chart: Chart, tmp_path: Path) -> None:
    export.save_png(chart, tmp_path / "latency.png")
    image = QImage(str(tmp_path / "latency.png"))
    assert image.width() > 2 * chart.plot.width()
    assert (image.width(), image.height()) == (1920, 1080)
    assert {LIGHT.paper, LIGHT.series[0], LIGHT.ink} <= drawn(image)


def test_a_drawing_is_lines_and_texts(chart: Chart, tmp_path: Path) -> None:
    chart.set_limit(9.0, "<b>p99</b> & more")
    export.save_svg(chart, tmp_path / "latency.svg")
    assert {"Latency", "p50", "Time (s)", "<b>p99</b> & more"} <= texts_of(tmp_path / "latency.svg")
    assert "<image" not in (tmp_path / "latency.svg").read_text()


def test_a_drawing_has_the_run_on_white_while_the_chart_stays_dark(
    chart: Chart, look: ThemeController, qtbot: QtBot, tmp_path: Path
) -> None:
    around = QWidget()
    qtbot.addWidget(around)
    export.set_export_caption(
        around, export.ExportCaption("chat", "yesterday", ("p95 latency < 50 ms", "errors < 1 %"))
    )
    chart.setParent(around)
    look.set_choice("dark")
    geometry = chart.plot.box.geometry()
    try:
        export.save_svg(chart, tmp_path / "latency.svg")
        assert {"chat · yesterday", "SLO: p95 latency < 50 ms, errors < 1 %"} <= texts_of(tmp_path / "latency.svg")
        assert drawn(export.render_image(chart)).isdisjoint({DARK.paper, DARK.series[0]})
        assert (look.theme, chart.legend.theme, chart.plot.box.geometry()) == (DARK, DARK, geometry)
        assert {DARK.paper} <= drawn(chart.plot.grab().toImage())
    finally:
        look.set_choice("light")
        chart.setParent(None)


def test_a_table_is_the_frame(chart: Chart, tmp_path: Path) -> None:
    export.save_csv(chart, tmp_path / "latency.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "latency.csv"), chart.frame())


def test_a_chart_above_another_has_its_times_when_it_stands_alone(
    look: ThemeController, qtbot: QtBot, tmp_path: Path
) -> None:
    chart, below = (Chart(title, TIME, LATENCY, look) for title in ("p50", "p99"))
    linked = LinkedCharts([chart, below])
    qtbot.addWidget(linked)
    with qtbot.waitExposed(linked):
        linked.show()
    assert not chart.plot.x_axis.has_labels
    height = chart.plot.box.height()
    export.save_svg(chart, tmp_path / "p50.svg")
    assert "Time" in texts_of(tmp_path / "p50.svg")
    assert not chart.plot.x_axis.has_labels
    assert chart.plot.box.height() == height


def test_the_menu_saves_where_the_user_says(chart: Chart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(_: object, __: str, name: str, ___: str) -> tuple[str, str]:
        asked.append(name)
        return str(tmp_path / "mine"), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    for action in chart.export_button.menu().actions():
        action.trigger()
    assert asked == ["Latency.png", "Latency.svg", "Latency.csv"]
    assert {path.name for path in tmp_path.glob("mine*")} == {"mine.png", "mine.svg", "mine.csv"}
    assert not QGuiApplication.clipboard().image().isNull()


def test_a_place_that_cannot_be_written_is_reported(
    chart: Chart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = str(tmp_path / "no" / "such" / "folder.png")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (nowhere, ""))
    chart.export_button.menu().actions()[0].trigger()
    assert "The chart cannot be saved as" in chart.notice_text()
