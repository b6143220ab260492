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
def heat_map(qtbot: QtBot, look: ThemeController) -> HeatMap:
    made = HeatMap("Latency over time", Axis("Time", "s"), Axis("Latency", "ms", is_log=True), look)
    qtbot.addWidget(made)
    made.resize(600, 300)
    with qtbot.waitExposed(made):
        made.show()
    made.set_counts(10.0, 5.0, [1.0, 10.0, 100.0], [[4, 0], [0, 9]])
    return made


def test_its_table_has_a_row_a_cell(heat_map: HeatMap) -> None:
    assert heat_map.frame().to_dict("list") == {
        "Time (s)": [10.0, 15.0],
        "From (ms)": [1.0, 10.0],
        "To (ms)": [10.0, 100.0],
        "Count": [4, 9],
    }


def test_more_is_stronger_and_nothing_is_paper(heat_map: HeatMap) -> None:
    image = heat_map.plot.grab().toImage()
    most, none = (heat_map.plot.view_to_pixel(17.5, row).toPoint() for row in (1.5, 0.5))
    assert QColor(image.pixel(most)).name() == LIGHT.series[0]
    assert QColor(image.pixel(none)).name() == LIGHT.paper
    least = QColor(image.pixel(heat_map.plot.view_to_pixel(12.5, 0.5).toPoint())).name()
    scale = {entry.label: entry.color for entry in heat_map.legend.entries}
    assert list(scale) == ["1", "4", "9"]
    assert (scale["4"], scale["9"]) == (least, LIGHT.series[0])


@pytest.mark.parametrize(("most", "counts"), [(0, []), (1, [1]), (3, [1, 3]), (900, [1, 100, 400, 900])])
def test_the_scale_has_steps_of_even_shades(most: int, counts: list[int]) -> None:
    assert list_scale_counts(most) == counts


def test_it_is_read_by_keys_and_in_words(heat_map: HeatMap, qtbot: QtBot) -> None:
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


def test_no_counts_are_no_picture(heat_map: HeatMap) -> None:
    heat_map.set_counts(0.0, 1.0, [1.0, 2.0], np.zeros((0, 1)))
    assert heat_map.frame().empty
    heat_map.set_counts(0.0, 1.0, [1.0, 2.0], np.zeros((3, 1)))
    assert heat_map.frame().empty
    with pytest.raises(ValueError, match="one column per interval"):
        heat_map.set_counts(0.0, 1.0, [1.0, 2.0], np.zeros((3, 4)))
