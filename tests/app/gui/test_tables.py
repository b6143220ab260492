from __future__ import annotations

import pandas as pd
import pytest
from PySide6.QtGui import QFont
from pytestqt.qtbot import QtBot

from app.gui.frame_model import FrameModel
from app.gui.tables import FrameTable

FRAME = pd.DataFrame({"name": ["alpha", "beta", None], "price": [1.5, None, 2.25], "tags": ["x", None, "y z"]})


@pytest.fixture
def table(qtbot: QtBot) -> FrameTable:
    made = FrameTable(FrameModel(), "Things", widest=10)
    qtbot.addWidget(made)
    made.set_frame(FRAME)
    return made


@pytest.mark.parametrize(
    ("words", "rows"), [("", [0, 1, 2]), ("ALPHA x", [0]), ("2.25", [2]), ("beta", [1]), ("a x y", [])]
)
def test_a_filter_finds_rows_with_all_words_also_beside_missing_values(
    table: FrameTable, words: str, rows: list[int]
) -> None:
    table.set_filter(words)
    assert table.frame_model.shown().index.tolist() == rows


def test_rows_and_columns_grow_with_the_text(table: FrameTable) -> None:
    before = table.verticalHeader().defaultSectionSize(), table.columnWidth(0)
    font = QFont(table.font())
    font.setPointSizeF(2 * font.pointSizeF())
    table.setFont(font)
    assert table.verticalHeader().defaultSectionSize() > 1.5 * before[0]
    assert table.columnWidth(0) > before[1]
    assert table.columnWidth(0) <= 10 * table.fontMetrics().averageCharWidth()
