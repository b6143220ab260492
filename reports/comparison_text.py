"""Render a comparison as plain text: environment differences, headline metrics, then other
changes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from itertools import chain

from reports import formatting
from reports.formatting import sanitize
from reports.sections.comparison import (
    CHANGES,
    DIFFERENCES,
    ChangeRow,
    ComparisonReport,
    ComparisonSection,
    DifferenceRow,
    format_effect,
)
from reports.sections.section import RowT, Section, Table, format_cell, format_dimmed
from reports.shortening import shorten
from reports.text_table import format_text_table

_MAX_ROWS = 20
_MAX_OTHER_ROWS = 8
_MAX_CELL_CHARS = 48


def render_comparison(section: ComparisonSection, width: int = 100) -> str:
    """Render a comparison as plain text without a trailing newline. Tables have their natural
    width; all other lines are wrapped at `width` characters."""
    section = sanitize(section)
    blocks = [
        textwrap.wrap(section.headline, width),
        _build_run_lines(section, width),
        textwrap.wrap(section.banner or "", width),
        _build_difference_table(section.differences),
        *_build_tables(section),
        [line for note in section.notes for line in textwrap.wrap(note, width, subsequent_indent="  ")],
    ]
    text = "\n\n".join("\n".join(block) for block in blocks if block)
    return text.replace(formatting.THIN_SPACE, " ")


def render_comparison_report(report: ComparisonReport) -> str:
    return render_comparison(report.comparison)


def build_comparison_summary_lines(section: ComparisonSection) -> list[str]:
    """Return the lines about a comparison for the summary of a run: the outcome, and the headline
    metrics that changed."""
    changed_rows = [row for row in section.rows if row.is_headline and row.verdict in ("worse", "better")]
    return [
        section.headline,
        *([section.banner] if section.banner else []),
        *(
            f"{row.verdict} {row.metric} in {row.stage}: {format_effect(row.ratio)}"
            for row in changed_rows[:_MAX_OTHER_ROWS]
        ),
    ]


def _build_run_lines(section: ComparisonSection, width: int) -> list[str]:
    return [
        line
        for name, runs in (("baseline", section.baseline), ("candidate", section.candidate))
        for line in textwrap.wrap(f"{name:9}  {', '.join(runs)}", width, subsequent_indent=" " * 11)
    ]


def _build_difference_table(rows: Sequence[DifferenceRow]) -> list[str]:
    return _build_table(DIFFERENCES, Table(rows=rows)) if rows else ["Environment: no differences"]


def _build_tables(section: ComparisonSection) -> list[list[str]]:
    headline_rows = [row for row in section.rows if row.is_headline]
    changed_rows = [row for row in section.rows if not row.is_headline and row.verdict in ("better", "worse")]
    same_count = len(section.rows) - len(headline_rows) - len(changed_rows)
    tables = [
        _build_change_table(headline_rows, _MAX_ROWS),
        _build_change_table(changed_rows, _MAX_OTHER_ROWS, "informational"),
    ]
    return [
        *tables,
        [f"{formatting.format_count(same_count)} other metrics without a significant change"] if same_count else [],
    ]


def _build_change_table(rows: Sequence[ChangeRow], max_rows: int, title: str = "metric") -> list[str]:
    if not rows:
        return []
    verdict_order = {"worse": 0, "better": 1, "inconclusive": 2, "same": 3}
    sorted_rows = sorted(rows, key=lambda row: verdict_order[row.verdict])
    return [
        *_build_table(CHANGES, Table(rows=sorted_rows[:max_rows], first_label=title)),
        *([f"… and {len(rows) - max_rows} more in the JSON report"] if len(rows) > max_rows else []),
    ]


def _build_table(section: Section[RowT], table: Table[RowT]) -> list[str]:
    columns = [*chain(*section.list_groups(table, "text"))]
    headers = [column.label for column in columns]
    cells = [
        [
            format_cell(column.read_cell(row), format_dimmed, partial(shorten, max_chars=_MAX_CELL_CHARS))
            for column in columns
        ]
        for row in table.rows
    ]
    return format_text_table([headers, *cells])
