"""Format numbers for sentences and names."""

from __future__ import annotations


def format_number(value: float, digits: int = 4) -> str:
    """Format a number with `digits` significant digits and thousands separators, without exponent,
    such as "71.52", "3.5" or "200,000"."""
    return f"{float(f'{value:.{digits}g}'):,.15g}"
