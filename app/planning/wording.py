"""Numbers as the plan's sentences say them."""

from __future__ import annotations

import math


def amount(number: float) -> str:
    """Whole from 100 on, else three significant digits, never with an exponent."""
    if abs(number) >= 100 or number == 0:
        return f"{number:,.0f}"
    decimals = max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def usd(number: float) -> str:
    return f"{amount(number)} USD"


def share(number: float) -> str:
    """A percentage that does not round up to certainty."""
    return "over 99.9%" if 0.9995 <= number < 1 else f"{number * 100:.1f}".removesuffix(".0") + "%"
