"""The legend of a chart that is too low for all of its entries."""

from __future__ import annotations

import itertools

from PySide6.QtGui import QImage
from pytestqt.qtbot import QtBot

from app.gui.charts.legend import Legend, LegendEntry
from app.gui.theme import LIGHT

WIDTH = 320
ENTRIES = tuple(LegendEntry(f"accelerator {index}", "points", index) for index in range(12))


def test_legend_of_a_low_chart_ends_with_the_number_of_hidden_entries(qtbot: QtBot) -> None:
    legend = Legend(LIGHT)
    qtbot.addWidget(legend)
    legend.set_entries("", ENTRIES)
    legend.resize(WIDTH, 400)
    row, full = round(legend.row_height()), legend.grab().toImage()
    assert legend.heightForWidth(WIDTH) == legend.full_height(WIDTH) >= 4 * row
    legend.set_max_rows(2)
    assert legend.heightForWidth(WIDTH) == 2 * row
    assert legend.full_height(WIDTH) >= 4 * row, "as exported"
    assert "accelerator 11" in legend.text()
    limited = legend.grab().toImage()
    assert count_ink_rows(limited) == 2
    assert limited.copy(0, 0, WIDTH, row) == full.copy(0, 0, WIDTH, row)
    assert limited.copy(0, row, WIDTH, row) != full.copy(0, row, WIDTH, row), (
        "the second row ends with the number of the others"
    )


def count_ink_rows(image: QImage) -> int:
    """Number of rows of the legend in which something is drawn."""
    blank = image.pixel(image.width() - 1, image.height() - 1)
    ink = [y for y in range(image.height()) if any(image.pixel(x, y) != blank for x in range(image.width()))]
    return 1 + sum(later - earlier > 1 for earlier, later in itertools.pairwise(ink))
