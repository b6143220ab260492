"""Render metrics as defined by several tools as plain text: the numbers side by side, then why the
numbers differ."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from reports import formatting
from reports.formatting import sanitize
from reports.model import DefinitionRow, Definitions, DefinitionTable, Quantity

NOT_PRINTED = "–"
_INVALID = "This measurement is INVALID: do not use these numbers, whichever tool's definition they follow."
_MAX_TABLES = 8


def render_definitions(section: Definitions, width: int = 100) -> str:
    """Render the comparison of metric definitions without a trailing newline. Tables have their
    natural width; all other lines are wrapped at `width`."""
    blocks = definition_blocks(sanitize(section), width)
    return "\n\n".join("\n".join(block) for block in blocks).replace(formatting.THIN, " ")


def definition_blocks(section: Definitions, width: int) -> list[list[str]]:
    names = [tool.name for tool in section.tools]
    remark = textwrap.wrap(section.remark or "", width)
    tables = [_table(table, names, width) for table in section.tables[:_MAX_TABLES]]
    omitted = len(section.tables) - _MAX_TABLES
    return [
        ["Metrics by other tools' definitions", *remark],
        *tables,
        *([[f"… and {omitted} more stages in the report"]] if omitted > 0 else []),
        ["Why they differ", *_reason_lines(section, width)],
        ["Notes by tool", *_tool_lines(section, width)],
    ]


def _table(table: DefinitionTable, names: Sequence[str], width: int) -> list[str]:
    rows = [[format_label(row), *map(_cell, row.quantities)] for row in table.rows]
    header = [f"{table.stage}, times in ms", *names]
    counts = ["requests included", *map(formatting.format_count, table.requests)]
    widths = [max(map(len, column)) for column in zip(header, counts, *rows, strict=True)]
    lines = [_align_cells(line_cells, widths) for line_cells in (header, counts, *rows)]
    missing = [part for line in missing_reasons(table, names) for part in textwrap.wrap(line, width)]
    invalid_note = (
        [_INVALID]
        if any(line_cells.validity == "INVALID" for row in table.rows for line_cells in row.quantities if line_cells)
        else []
    )
    return [*invalid_note, *lines, f"{NOT_PRINTED} not reported by the tool", *missing]


def format_label(row: DefinitionRow) -> str:
    return f"{row.metric} {row.aggregate}" if row.aggregate else row.metric


def missing_reasons(table: DefinitionTable, names: Sequence[str]) -> list[str]:
    """Explain which numbers of a table are n/a: one line per tool and reason, with all affected
    rows."""
    rows_by_reason: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        for name, quantity in zip(names, row.quantities, strict=True):
            if quantity is not None and quantity.value is None:
                rows_by_reason.setdefault((name, quantity.reason or "not available"), []).append(format_label(row))
    return [f"n/a for {name}: {', '.join(rows)}: {reason}" for (name, reason), rows in rows_by_reason.items()]


def _cell(quantity: Quantity | None) -> str:
    return NOT_PRINTED if quantity is None else formatting.format_value(quantity)


def _align_cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(size) for cell, size in zip(cells[1:], widths[1:], strict=True))
    return "  ".join((cells[0].ljust(widths[0]), *numbers))


def _reason_lines(section: Definitions, width: int) -> Iterator[str]:
    indent = max(len(tool.name) for tool in section.tools) + 4
    metric = None
    for definition in section.explanations:
        if definition.metric != metric:
            metric = definition.metric
            yield metric
        yield from _hanging(f"  {definition.tool}", definition.explanation, indent, width)


def _tool_lines(section: Definitions, width: int) -> Iterator[str]:
    for tool in section.tools:
        yield f"{tool.name}, based on {tool.source}"
        for note in tool.notes:
            yield from _hanging("  -", note, 4, width)


def _hanging(head: str, text: str, indent: int, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=head.ljust(indent), subsequent_indent=" " * indent)
