"""Align the cells of a table as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from reports.marks import compute_display_width, pad_text


def format_text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows as aligned text columns. Empty columns are omitted."""
    if not rows:
        return []
    widths = [max(map(compute_display_width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(pad_text(cell, width) for cell, width in zip(row, widths, strict=True) if width).rstrip()
        for row in rows
    ]
