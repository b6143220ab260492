"""Render metrics as defined by several tools as plain text: the numbers side by side, then why
they differ."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from reports import formatting
from reports.formatting import sanitize
from reports.model import DefinitionRow, Definitions, DefinitionTable, Quantity

NOT_REPORTED = "–"
_INVALID_NOTE = "This measurement is INVALID. Do not use these numbers, whichever tool's definition they follow."
_MAX_TABLES = 8


def render_definitions(section: Definitions, width: int = 100) -> str:
    """Render the comparison of metric definitions without a trailing newline. Tables have their
    natural width; all other lines are wrapped at `width` characters."""
    blocks = build_definition_blocks(sanitize(section), width)
    return "\n\n".join("\n".join(block) for block in blocks).replace(formatting.THIN_SPACE, " ")


def build_definition_blocks(section: Definitions, width: int) -> list[list[str]]:
    tool_names = [tool.name for tool in section.tools]
    remark_lines = textwrap.wrap(section.remark or "", width)
    tables = [_build_table(table, tool_names, width) for table in section.tables[:_MAX_TABLES]]
    omitted_count = len(section.tables) - _MAX_TABLES
    return [
        ["Metrics by other tools' definitions", *remark_lines],
        *tables,
        *([[f"… and {omitted_count} more stages in the report"]] if omitted_count > 0 else []),
        ["Reasons for differences", *_build_reason_lines(section, width)],
        ["Notes by tool", *_build_tool_lines(section, width)],
    ]


def _build_table(table: DefinitionTable, tool_names: Sequence[str], width: int) -> list[str]:
    rows = [[format_label(row), *map(_format_cell, row.quantities)] for row in table.rows]
    header = [f"{table.stage}, times in ms", *tool_names]
    counts = ["included requests", *map(formatting.format_count, table.requests)]
    widths = [max(map(len, column)) for column in zip(header, counts, *rows, strict=True)]
    lines = [_align_cells(quantity, widths) for quantity in (header, counts, *rows)]
    missing_lines = [
        wrapped_line for line in list_missing_reasons(table, tool_names) for wrapped_line in textwrap.wrap(line, width)
    ]
    invalid_note = (
        [_INVALID_NOTE]
        if any(quantity.validity == "INVALID" for row in table.rows for quantity in row.quantities if quantity)
        else []
    )
    return [*invalid_note, *lines, f"{NOT_REPORTED} not reported by the tool", *missing_lines]


def format_label(row: DefinitionRow) -> str:
    return f"{row.aggregate} {row.metric}" if row.aggregate else row.metric


def list_missing_reasons(table: DefinitionTable, tool_names: Sequence[str]) -> list[str]:
    """Explain which numbers of a table are n/a, with one line per tool and reason that lists all
    affected rows."""
    labels_by_reason: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        for name, quantity in zip(tool_names, row.quantities, strict=True):
            if quantity is not None and quantity.value is None:
                labels_by_reason.setdefault((name, quantity.reason or "not available"), []).append(format_label(row))
    return [f"n/a for {name}: {', '.join(labels)}: {reason}" for (name, reason), labels in labels_by_reason.items()]


def _format_cell(quantity: Quantity | None) -> str:
    return NOT_REPORTED if quantity is None else formatting.format_value(quantity)


def _align_cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    number_texts = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join((cells[0].ljust(widths[0]), *number_texts))


def _build_reason_lines(section: Definitions, width: int) -> Iterator[str]:
    indent = max(len(tool.name) for tool in section.tools) + 4
    current_metric = None
    for definition in section.explanations:
        if definition.metric != current_metric:
            current_metric = definition.metric
            yield current_metric
        yield from _wrap_hanging(f"  {definition.tool}", definition.explanation, indent, width)


def _build_tool_lines(section: Definitions, width: int) -> Iterator[str]:
    for tool in section.tools:
        yield f"{tool.name}, based on {tool.source}"
        for note in tool.notes:
            yield from _wrap_hanging("  -", note, 4, width)


def _wrap_hanging(label: str, text: str, indent: int, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=label.ljust(indent), subsequent_indent=" " * indent)
