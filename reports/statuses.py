"""Mark statuses such as PASS in a text, so that a terminal can color them without searching the text for words.

A mark takes no space: each letter is replaced by a private one, which wrapping and padding leave as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from string import ascii_uppercase

_FIRST = 0x10F000  # in a private plane of Unicode, whose characters occur in no text
_MARKS = {ord(letter): chr(_FIRST + ord(letter)) for letter in ascii_uppercase}
_MARKED = re.compile(f"[{''.join(_MARKS.values())}]+")


def mark_status(status: str) -> str:
    return status.translate(_MARKS)


def write_statuses(text: str, write_status: Callable[[str], str] = str) -> str:
    """Replace each marked status by what `write_status` returns for it, by default the status itself."""
    return _MARKED.sub(lambda match: write_status("".join(chr(ord(mark) - _FIRST) for mark in match[0])), text)
