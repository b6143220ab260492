"""The same requests by other tools' definitions, as plain text: numbers side by side, then why they differ."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from reports import formatting
from reports.formatting import printable
from reports.model import DefinitionRow, Definitions, DefinitionTable, Quantity

NOT_PRINTED = "–"
_INVALID = "This measurement is INVALID: no number of it is to be relied on, whichever tool's definition it is by."
_MOST_TABLES = 8


def render_definitions(section: Definitions, width: int = 100) -> str:
    """Without a line break at the end. Lines of numbers are as long as they are; all others keep to the width."""
    blocks = definition_blocks(printable(section), width)
    return "\n\n".join("\n".join(block) for block in blocks).replace(formatting.THIN, " ")


def definition_blocks(section: Definitions, width: int) -> list[list[str]]:
    names = [tool.name for tool in section.tools]
    remark = textwrap.wrap(section.remark or "", width)
    tables = [_table(one, names, width) for one in section.tables[:_MOST_TABLES]]
    left_out = len(section.tables) - _MOST_TABLES
    return [
        ["The same requests by other tools' definitions", *remark],
        *tables,
        *([[f"… and {left_out} more stages in the report"]] if left_out > 0 else []),
        ["Why they differ", *_why(section, width)],
        ["What holds for all of a tool's numbers", *_about(section, width)],
    ]


def _table(table: DefinitionTable, names: Sequence[str], width: int) -> list[str]:
    rows = [[label(row), *map(_cell, row.quantities)] for row in table.rows]
    header = [f"{table.stage}, times in ms", *names]
    counts = ["requests it times", *map(formatting.count, table.answers)]
    widths = [max(map(len, column)) for column in zip(header, counts, *rows, strict=True)]
    lines = [_aligned(one, widths) for one in (header, counts, *rows)]
    missing = [part for line in missing_reasons(table, names) for part in textwrap.wrap(line, width)]
    doubt = [_INVALID] if any(one.trust == "INVALID" for row in table.rows for one in row.quantities if one) else []
    return [*doubt, *lines, f"{NOT_PRINTED} it prints none", *missing]


def label(row: DefinitionRow) -> str:
    return f"{row.metric} {row.aggregate}" if row.aggregate else row.metric


def missing_reasons(table: DefinitionTable, names: Sequence[str]) -> list[str]:
    """Why numbers are n/a: once a tool and a reason, with all that it keeps back."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        for name, one in zip(names, row.quantities, strict=True):
            if one is not None and one.value is None:
                found.setdefault((name, one.reason or "not available"), []).append(label(row))
    return [f"n/a by {name}: {', '.join(rows)}: {reason}" for (name, reason), rows in found.items()]


def _cell(one: Quantity | None) -> str:
    return NOT_PRINTED if one is None else formatting.value(one)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(size) for cell, size in zip(cells[1:], widths[1:], strict=True))
    return "  ".join((cells[0].ljust(widths[0]), *numbers))


def _why(section: Definitions, width: int) -> Iterator[str]:
    indent = max(len(tool.name) for tool in section.tools) + 4
    metric = None
    for one in section.why:
        if one.metric != metric:
            metric = one.metric
            yield metric
        yield from _hanging(f"  {one.tool}", one.why, indent, width)


def _about(section: Definitions, width: int) -> Iterator[str]:
    for tool in section.tools:
        yield f"{tool.name}, as in {tool.read_from}"
        for note in tool.notes:
            yield from _hanging("  -", note, 4, width)


def _hanging(head: str, text: str, indent: int, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=head.ljust(indent), subsequent_indent=" " * indent)
