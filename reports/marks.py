"""Mark the parts of a string that a terminal shows in color, so that no code searches the string
for words such as PASS.

A status such as PASS is marked by replacing each letter with a private-use Unicode character, which
does not change the length. A percentile of too few samples is marked by one such character, without
display width, at each end. Marks must be replaced or dropped before the string is printed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from string import ascii_uppercase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.quantity import Quantity

_FIRST_CODE_POINT = 0x10F000  # in a private-use plane of Unicode, whose characters occur in no message
_MARKED_LETTERS = {ord(letter): chr(_FIRST_CODE_POINT + ord(letter)) for letter in ascii_uppercase}
_MARKED_PATTERN = re.compile(f"[{''.join(_MARKED_LETTERS.values())}]+")
DIM_START, DIM_END = "\ue000", "\ue001"


def mark_status(status: str) -> str:
    return status.translate(_MARKED_LETTERS)


def dim_undersampled(quantity: Quantity, text: str) -> str:
    """Mark a formatted quantity as dimmed if it is a percentile of too few samples; otherwise
    return it unchanged."""
    return f"{DIM_START}{text}{DIM_END}" if quantity.is_undersampled else text


def replace_marks(text: str, write_status: Callable[[str], str], dim_start: str, dim_end: str) -> str:
    """Replace each marked status by the result of `write_status`, and the marks around dimmed
    strings by `dim_start` and `dim_end`."""
    text_with_statuses = _MARKED_PATTERN.sub(
        lambda match: write_status("".join(chr(ord(mark) - _FIRST_CODE_POINT) for mark in match[0])), text
    )
    return text_with_statuses.replace(DIM_START, dim_start).replace(DIM_END, dim_end)


def drop_marks(text: str) -> str:
    """Return the text without the private-use characters that mark colored parts."""
    return replace_marks(text, str, "", "")


def pad_text(text: str, width: int) -> str:
    """Pad the text with spaces to the given display width. Marks do not count."""
    return text + " " * (width - compute_display_width(text))


def compute_display_width(text: str) -> int:
    return len(drop_marks(text))
