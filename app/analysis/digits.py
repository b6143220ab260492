"""Numbers in sentences and names."""

from __future__ import annotations


def digits(value: float, count: int = 4) -> str:
    """So many digits that count, never in powers of ten, with commas between thousands: "71.52", "3.5", "200,000"."""
    return f"{float(f'{value:.{count}g}'):,.15g}"
