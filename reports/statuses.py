"""Mark statuses such as PASS in a string, so that a terminal can color them without searching the string for words.

Marking replaces each letter with a private-use Unicode character. The length stays the same, and wrapping and padding
preserve the characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from string import ascii_uppercase

_FIRST = 0x10F000  # in a private-use plane of Unicode, whose characters occur in no message
_MARKS = {ord(letter): chr(_FIRST + ord(letter)) for letter in ascii_uppercase}
_MARKED = re.compile(f"[{''.join(_MARKS.values())}]+")


def mark_status(status: str) -> str:
    return status.translate(_MARKS)


def write_statuses(text: str, write_status: Callable[[str], str] = str) -> str:
    """Replace each marked status in `text` with the result of `write_status`, by default the plain status."""
    return _MARKED.sub(lambda match: write_status("".join(chr(ord(mark) - _FIRST) for mark in match[0])), text)
