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


def list_colors(image: QImage) -> set[str]:
    columns, rows = range(0, image.width(), 3), range(0, image.height(), 3)
    return {QColor(image.pixel(column, row)).name() for column in columns for row in rows}


def list_texts(path: Path) -> set[str]:
    root = ElementTree.parse(path).getroot()
    return {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}


def test_exported_png_is_1920_x_1080_with_paper_line_and_ink_colors(chart: Chart, tmp_path: Path) -> None:
    export.save_png(chart, tmp_path / "latency.png")
    image = QImage(str(tmp_path / "latency.png"))
    assert image.width() > 2 * chart.plot.width()
    assert (image.width(), image.height()) == (1920, 1080)
    assert {LIGHT.paper, LIGHT.series[0], LIGHT.ink} <= list_colors(image)


def test_exported_svg_has_text_elements_and_no_raster_image(chart: Chart, tmp_path: Path) -> None:
    chart.set_limit(9.0, "<b>p99</b> & more")
    export.save_svg(chart, tmp_path / "latency.svg")
    assert {"Latency", "p50", "Time (s)", "<b>p99</b> & more"} <= list_texts(tmp_path / "latency.svg")
    assert "<image" not in (tmp_path / "latency.svg").read_text()


def test_exported_svg_is_light_with_a_run_caption_while_the_chart_stays_dark(
    chart: Chart, theme: ThemeController, qtbot: QtBot, tmp_path: Path
) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    export.set_export_caption(
        parent, export.ExportCaption("chat", "yesterday", ("p95 latency < 50 ms", "errors < 1 %"))
    )
    chart.setParent(parent)
    theme.set_choice("dark")
    geometry = chart.plot.box.geometry()
    try:
        export.save_svg(chart, tmp_path / "latency.svg")
        assert {"chat · yesterday", "SLO: p95 latency < 50 ms, errors < 1 %"} <= list_texts(tmp_path / "latency.svg")
        assert list_colors(export.render_image(chart)).isdisjoint({DARK.paper, DARK.series[0]})
        assert (theme.theme, chart.legend.theme, chart.plot.box.geometry()) == (DARK, DARK, geometry)
        assert {DARK.paper} <= list_colors(chart.plot.grab().toImage())
    finally:
        theme.set_choice("light")
        chart.setParent(None)


def test_exported_csv_equals_the_frame_of_the_chart(chart: Chart, tmp_path: Path) -> None:
    export.save_csv(chart, tmp_path / "latency.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "latency.csv"), chart.frame())


def test_upper_linked_chart_is_exported_with_its_time_axis(
    theme: ThemeController, qtbot: QtBot, tmp_path: Path
) -> None:
    chart, below = (Chart(title, TIME, LATENCY, theme) for title in ("p50", "p99"))
    linked = LinkedCharts([chart, below])
    qtbot.addWidget(linked)
    with qtbot.waitExposed(linked):
        linked.show()
    assert not chart.plot.x_axis.has_labels
    height = chart.plot.box.height()
    export.save_svg(chart, tmp_path / "p50.svg")
    assert "Time" in list_texts(tmp_path / "p50.svg")
    assert not chart.plot.x_axis.has_labels
    assert chart.plot.box.height() == height


def test_export_menu_saves_to_the_chosen_paths_and_copies_the_image(
    chart: Chart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposed_names: list[str] = []

    def choose_path(_: object, __: str, name: str, ___: str) -> tuple[str, str]:
        proposed_names.append(name)
        return str(tmp_path / "mine"), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose_path)
    for action in chart.export_button.menu().actions():
        action.trigger()
    assert proposed_names == ["Latency.png", "Latency.svg", "Latency.csv"]
    assert {path.name for path in tmp_path.glob("mine*")} == {"mine.png", "mine.svg", "mine.csv"}
    assert not QGuiApplication.clipboard().image().isNull()


def test_unwritable_export_path_is_reported(chart: Chart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing_path = str(tmp_path / "no" / "such" / "folder.png")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (missing_path, ""))
    chart.export_button.menu().actions()[0].trigger()
    assert "The chart cannot be saved as" in chart.notice_text()
