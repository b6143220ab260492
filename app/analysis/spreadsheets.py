"""Escape texts in CSV files that a spreadsheet would execute as a formula."""

from __future__ import annotations

_FORMULA_PREFIXES = tuple("=+-@\t\r\n＝＋－＠")
"""First characters of a text that a spreadsheet may execute as a formula, with full-width variants,
tabs and line breaks."""


def escape_formula(text: str) -> str:
    """Return the text with an apostrophe in front if a spreadsheet may execute it as a formula."""
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text
