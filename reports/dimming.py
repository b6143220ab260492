"""Mark strings that a terminal shows dimmed: percentiles of too few samples.

The marks are two private-use Unicode characters. They have no display width, and must be replaced or removed before the
text is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.quantity import Quantity

START, END = "\ue000", "\ue001"


def dim_undersampled(quantity: Quantity, text: str) -> str:
    """Mark the formatted quantity as dimmed if it is a percentile of too few samples."""
    return f"{START}{text}{END}" if quantity.is_undersampled else text


def replace_marks(text: str, start: str = "", end: str = "") -> str:
    """Replace the marks in `text` with `start` and `end`; by default, remove them."""
    return text.replace(START, start).replace(END, end)


def pad(text: str, width: int) -> str:
    """Pad the text with spaces to the given display width, ignoring marks."""
    return text + " " * (width - shown_width(text))


def shown_width(text: str) -> int:
    return len(replace_marks(text))
