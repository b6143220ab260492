"""Format tables for a terminal, and as CSV and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

from app.cli.streams import print_whole
from app.records.result import Environment
from reports.formatting import format_value_unit
from reports.marks import mark_status
from reports.sections import section as sections
from reports.sections.section import Cell, Column, Output, RowT, Section, Table
from reports.shortening import shorten

TableFormat = Literal["table", "csv", "md"]
_MAX_CELL_CHARS = 500


def format_table(columns: Sequence[Column[RowT]], rows: Sequence[RowT], table_format: TableFormat = "table") -> str:
    """Format rows as aligned text, CSV or Markdown, without a trailing newline.

    Numbers in CSV have full precision, texts are whole, and unavailable values are empty cells. For
    readers, numbers are rounded, long texts are shortened, and unavailable values are n/a.
    """
    if table_format == "csv":
        from reports.tables import format_rows

        return format_rows([column for column in columns if column.key], rows).removesuffix("\n")
    titled_columns = [column for column in columns if column.label]
    texts = [[format_cell(column.read_cell(row)) for column in titled_columns] for row in rows]
    if table_format == "md":
        from reports.markdown import build_table, escape_text

        titles = [escape_text(column.label) for column in titled_columns]
        return "\n".join(build_table(titles, [[*map(escape_text, row_texts)] for row_texts in texts]))
    return _align(titled_columns, texts)


def format_section(section: Section[RowT], rows: Sequence[RowT], table_format: TableFormat) -> str:
    """Format rows with the columns that a section declares for the format."""
    groups = section.list_groups(Table(rows=rows), _OUTPUTS[table_format])
    return format_table([*chain(*groups)], rows, table_format)


_OUTPUTS: dict[TableFormat, Output] = {"table": "text", "csv": "csv", "md": "markdown"}


def _align(columns: Sequence[Column[Any]], texts: Sequence[Sequence[str]]) -> str:
    """Align text columns, which are as wide as their widest cell, numbers to the right."""
    cells = [
        [mark_status(text) if column.is_status else text for column, text in zip(columns, row_texts, strict=True)]
        for row_texts in texts
    ]
    numeric_column_flags = [
        bool(cells) and all(_is_number(row[index]) for row in cells) for index in range(len(columns))
    ]
    widths = [max([len(column.label), *(len(row[index]) for row in cells)]) for index, column in enumerate(columns)]

    def format_line(line_texts: Sequence[str]) -> str:
        padded_texts = (
            text.rjust(width) if is_right_aligned else text.ljust(width)
            for text, width, is_right_aligned in zip(line_texts, widths, numeric_column_flags, strict=True)
        )
        return "  ".join(padded_texts).rstrip()

    header = [column.label for column in columns]
    return "\n".join(
        [format_line(header), format_line(["-" * width for width in widths]), *(format_line(row) for row in cells)]
    )


def print_json(document: object) -> None:
    """Print a record as indented JSON to standard output."""
    import msgspec

    print_whole(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def format_cell(cell: Cell) -> str:
    if cell is None:
        return "n/a"
    if isinstance(cell, str):  # strings may come from an untrusted run: long, or with control characters
        return shorten("".join(map(_replace_unprintable, cell)), _MAX_CELL_CHARS)
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
    return sections.format_cell(cell, format_value_unit)


def _replace_unprintable(character: str) -> str:
    """Return a printable character unchanged, a space for any other white space, and otherwise the
    replacement character."""
    return character if character.isprintable() else " " if character.isspace() else "\ufffd"


def format_environment(environment: Environment) -> list[str]:
    gpus_text = ", ".join(
        f"{gpu.name} ({format_cell(gpu.memory_gib)} GiB)" for gpu in environment.gpus
    )  # the GPU UUID is not shown; the run data contains its hash
    return [
        f"machine     {environment.host}, {environment.os}, Python {environment.python}",
        f"CPU         {format_cell(environment.cpu_model)}, {environment.logical_cores} logical cores, "
        f"{environment.cpu_architecture}, governor {format_cell(environment.cpu_governor)}",
        f"memory      {environment.memory_gib:.1f} GiB",
        f"GPUs        {gpus_text or 'none detected by NVML'}",
        f"inference   ONNX Runtime {format_cell(environment.onnxruntime)}, available providers: "
        f"{', '.join(environment.providers) or 'none'}",
        f"clock       resolution {environment.clock_resolution_ns} ns",
    ]


def _is_number(text: str) -> bool:
    return text == "n/a" or text.replace(",", "").replace(".", "", 1).replace("e+", "").lstrip("-").isdigit()
