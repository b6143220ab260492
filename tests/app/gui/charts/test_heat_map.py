from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.heat_map import HeatMap, list_scale_counts
from app.gui.theme import LIGHT, ThemeController


@pytest.fixture
def heat_map(qtbot: QtBot, theme: ThemeController) -> HeatMap:
    heat_map = HeatMap("Latency over time", Axis("Time", "s"), Axis("Latency", "ms", is_log=True), theme)
    qtbot.addWidget(heat_map)
    heat_map.resize(600, 300)
    with qtbot.waitExposed(heat_map):
        heat_map.show()
    heat_map.set_counts(10.0, 5.0, [1.0, 10.0, 100.0], [[4, 0], [0, 9]])
    return heat_map


def test_heat_map_table_has_a_row_per_nonempty_cell(heat_map: HeatMap) -> None:
    assert heat_map.frame().to_dict("list") == {
        "Time (s)": [10.0, 15.0],
        "From (ms)": [1.0, 10.0],
        "To (ms)": [10.0, 100.0],
        "Count": [4, 9],
    }


def test_heat_map_color_grows_with_the_count_and_empty_cells_are_paper(heat_map: HeatMap) -> None:
    image = heat_map.plot.grab().toImage()
    full_cell, empty_cell = (heat_map.plot.view_to_pixel(17.5, row).toPoint() for row in (1.5, 0.5))
    assert QColor(image.pixel(full_cell)).name() == LIGHT.series[0]
    assert QColor(image.pixel(empty_cell)).name() == LIGHT.paper
    low_color = QColor(image.pixel(heat_map.plot.view_to_pixel(12.5, 0.5).toPoint())).name()
    scale = {entry.label: entry.color for entry in heat_map.legend.entries}
    assert list(scale) == ["1", "4", "9"]
    assert (scale["4"], scale["9"]) == (low_color, LIGHT.series[0])


@pytest.mark.parametrize(("max_count", "counts"), [(0, []), (1, [1]), (3, [1, 3]), (900, [1, 100, 400, 900])])
def test_heat_map_color_scale_has_steps_of_even_shades(max_count: int, counts: list[int]) -> None:
    assert list_scale_counts(max_count) == counts


def test_heat_map_is_readable_by_keyboard_description_and_table(heat_map: HeatMap, qtbot: QtBot) -> None:
    assert "total count of 13" in heat_map.accessibleDescription()
    qtbot.keyClick(heat_map, Qt.Key.Key_Right)
    qtbot.keyClick(heat_map, Qt.Key.Key_Right)
    assert (
        heat_map.accessibleDescription()
        == "At 15.0 to 20.0\u202fs: total count 9, max count 9 from 10.0 to 100\u202fms"
    )
    qtbot.keyClick(heat_map, Qt.Key.Key_T)
    table = heat_map.table()
    assert table is not None
    assert table.frame_model.rowCount() == 2


def test_heat_map_without_counts_has_no_rows_and_wrong_shape_is_rejected(heat_map: HeatMap) -> None:
    heat_map.set_counts(0.0, 1.0, [1.0, 2.0], np.zeros((0, 1)))
    assert heat_map.frame().empty
    heat_map.set_counts(0.0, 1.0, [1.0, 2.0], np.zeros((3, 1)))
    assert heat_map.frame().empty
    with pytest.raises(ValueError, match="one column per interval"):
        heat_map.set_counts(0.0, 1.0, [1.0, 2.0], np.zeros((3, 4)))
