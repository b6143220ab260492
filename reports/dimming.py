"""Marks around texts that a terminal shows dimmed: percentiles of too few samples.

The marks are two characters for private use. They take no width, and are replaced or removed before the text is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.quantity import Quantity

START, END = "\ue000", "\ue001"


def dim_undersampled(quantity: Quantity, text: str) -> str:
    """Mark the text of a quantity if it is a percentile of too few samples."""
    return f"{START}{text}{END}" if quantity.is_undersampled else text


def replace_marks(text: str, start: str = "", end: str = "") -> str:
    """Replace the marks, by default by nothing."""
    return text.replace(START, start).replace(END, end)


def pad(text: str, width: int) -> str:
    """Pad the text with spaces to the width at which it is shown."""
    return text + " " * (width - shown_width(text))


def shown_width(text: str) -> int:
    return len(replace_marks(text))
