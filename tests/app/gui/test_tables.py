from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtTest import QAbstractItemModelTester
from pytestqt.qtbot import QtBot

from app.gui.tables import RAW_VALUE_ROLE, FrameModel, FrameTable
from app.gui.theme import ThemeController

FRAME = pd.DataFrame({"stage": ["b", "a", "c"], "p95_ms": [12.34, None, 3.0], "count": [1000, 2, 30]})


@pytest.fixture
def model() -> FrameModel:
    return FrameModel(FRAME, headers={"p95_ms": "p95 (ms)"})


def list_column(model: FrameModel, number: int) -> list[object]:
    return [model.data(model.index(row, number)) for row in range(model.rowCount())]


def test_frame_model_passes_the_item_model_tester(model: FrameModel) -> None:
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    model.sort(1, Qt.SortOrder.DescendingOrder)
    model.set_filter(np.array([True, False, True]))
    model.set_frame(FRAME.iloc[:1])
    model.set_frame(pd.DataFrame())
    assert tester.model() is model


def test_frame_model_formats_values_and_provides_raw_values(model: FrameModel) -> None:
    assert list_column(model, 1) == ["12.3", "n/a", "3.00"]
    assert list_column(model, 2) == ["1,000", "2", "30"]
    assert model.data(model.index(0, 1), RAW_VALUE_ROLE) == 12.34
    assert model.headerData(1, Qt.Orientation.Horizontal) == "p95 (ms)"


def test_long_cell_text_has_a_plain_text_tooltip(model: FrameModel) -> None:
    text = "<b>a name</b> that a narrow column elides"
    model.set_frame(pd.DataFrame({"name": ["short", text]}))
    tooltips = [model.data(model.index(row, 0), Qt.ItemDataRole.ToolTipRole) for row in (0, 1)]
    assert tooltips[0] is None
    assert "&lt;b&gt;a name&lt;/b&gt; that a narrow column elides" in str(tooltips[1])


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Qt.SortOrder.AscendingOrder, ["3.00", "12.3", "n/a"]),
        (Qt.SortOrder.DescendingOrder, ["12.3", "3.00", "n/a"]),
    ],
)
def test_frame_model_sorts_by_value_with_missing_values_last(
    model: FrameModel, order: Qt.SortOrder, expected: list[str]
) -> None:
    model.sort(1, order)
    assert list_column(model, 1) == expected


def test_frame_model_does_not_sort_twice_in_the_same_order(model: FrameModel) -> None:
    changes: list[object] = []
    model.layoutChanged.connect(lambda *_: changes.append(None))
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        model.sort(1, order)
    assert len(changes) == 2


def test_selected_table_row_is_the_same_row_when_sorted(model: FrameModel) -> None:
    from PySide6.QtCore import QPersistentModelIndex

    selected = QPersistentModelIndex(model.index(0, 0))
    model.sort(0)
    assert (selected.row(), selected.data()) == (1, "b")


def test_row_filter_does_not_change_the_sort_order(model: FrameModel) -> None:
    model.sort(0)
    model.set_filter(np.array([True, False, True]))
    assert list_column(model, 0) == ["b", "c"]
    assert model.frame_row(1) == 2
    model.set_filter(None)
    assert list_column(model, 0) == ["a", "b", "c"]


TABLES_FRAME = pd.DataFrame({"name": ["alpha", "beta", None], "price": [1.5, None, 2.25], "tags": ["x", None, "y z"]})


@pytest.fixture
def table(qtbot: QtBot) -> FrameTable:
    table = FrameTable(FrameModel(), "Things", max_column_characters=10)
    qtbot.addWidget(table)
    table.set_frame(TABLES_FRAME)
    return table


@pytest.mark.parametrize(
    ("words", "rows"),
    [("", [0, 1, 2]), ("ALPHA x", [0]), ("2.25", [2]), ("beta", [1]), ("a x y", []), ("beta|2.25", [1, 2])],
)
def test_table_filter_finds_rows_with_all_words_despite_missing_values(
    table: FrameTable, words: str, rows: list[int]
) -> None:
    table.set_filter(words)
    assert table.frame_model.visible_frame().index.tolist() == rows


def test_rows_and_columns_of_a_table_grow_with_the_font(table: FrameTable) -> None:
    sizes_px = table.verticalHeader().defaultSectionSize(), table.columnWidth(0)
    font = QFont(table.font())
    font.setPointSizeF(2 * font.pointSizeF())
    table.setFont(font)
    assert table.verticalHeader().defaultSectionSize() > 1.5 * sizes_px[0]
    assert table.columnWidth(0) > sizes_px[1]
    assert table.columnWidth(0) <= 10 * table.fontMetrics().averageCharWidth()


def test_numeric_columns_have_the_number_font(table: FrameTable) -> None:
    fonts = QFont("monospace"), QFont("serif")
    for font in fonts:
        table.frame_model.number_font = font
        row = [table.frame_model.index(0, number) for number in range(3)]
        assert [index.data(Qt.ItemDataRole.FontRole) for index in row] == [None, font, None]


def test_columns_fit_the_current_text_size(table: FrameTable, theme: ThemeController, qtbot: QtBot) -> None:
    table.show()
    table.fit_columns()
    width_px = table.columnWidth(1)
    theme.scale_text(2)
    qtbot.waitUntil(lambda: table.columnWidth(1) > 1.5 * width_px)
    theme.scale_text(1)
    qtbot.waitUntil(lambda: table.columnWidth(1) == width_px)
