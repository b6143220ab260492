from __future__ import annotations

import csv
import io

from app.cli.tables import TableFormat, format_cell, format_table
from reports.sections.section import Cell, Column

Row = tuple[Cell, ...]


def column_at(index: int) -> Column[Row]:
    return Column(f"column_{index}", f"column {index}", lambda row: row[index])


def test_table_aligns_numbers_right_and_text_left() -> None:
    columns = (Column[Row]("name", "name", lambda row: row[0]), Column[Row]("rate_per_s", "rate", lambda row: row[1]))
    assert format_table(columns, [("a", 1.5), ("long", 12345.6)]).splitlines() == [
        "name    rate",
        "----  ------",
        "a        1.5",
        "long  12,346",
    ]


def test_unavailable_cell_is_na() -> None:
    assert format_cell(None) == "n/a"
    assert format_table((column_at(0),), [(None,), (2,)]).splitlines()[2:] == ["     n/a", "       2"]


def test_cells_have_no_control_characters() -> None:
    assert not {"\x1b", "\n", "\x9b"} & set(format_cell("\x1b[2Jtwo\nlines\x9b"))


def test_empty_table_has_its_header() -> None:
    columns = (Column[Row]("a", "a", lambda row: row[0]), Column[Row]("b", "b", lambda row: row[1]))
    assert format_table(columns, []).splitlines() == ["a  b", "-  -"]
    assert format_table(columns, [], "csv") == '"a","b"'


def test_csv_has_full_precision_empty_unavailable_cells_and_no_formulas() -> None:
    rows: list[Row] = [(1 / 3, None, True), (12345.6789, "=1+1", False)]
    text = format_table([column_at(index) for index in range(3)], rows, "csv")
    header, *cells = csv.reader(io.StringIO(text))
    assert header == ["column_0", "column_1", "column_2"]
    assert cells == [["0.3333333333333333", "", "true"], ["12345.6789", "'=1+1", "false"]]


def test_markdown_cells_cannot_break_the_table() -> None:
    lines = format_table((column_at(0), column_at(1)), [("a|b", 12345.6), ("two\nlines", True)], "md").splitlines()
    assert lines[:2] == ["| column 0 | column 1 |", "| --- | --- |"]
    assert [line.replace("\\|", "").count("|") for line in lines[2:]] == [3, 3]
    assert "12,346" in lines[2]
    assert "yes" in lines[3]


def test_columns_can_have_text_for_readers_and_a_number_for_csv() -> None:
    columns = (Column[Row]("", "capacity", lambda row: f"≥ {row[0]}"), Column[Row]("per_s", "", lambda row: row[0]))
    expected: dict[TableFormat, str] = {
        "table": "capacity\n--------\n≥ 9",
        "md": "| capacity |\n| --- |\n| ≥ 9 |",
        "csv": '"per_s"\n9',
    }
    assert {output_format: format_table(columns, [(9,)], output_format) for output_format in expected} == expected
