"""Color marked statuses such as PASS and INVALID on a terminal."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from app.cli.streams import escape_controls, unescaped_stream
from reports.statuses import write_statuses

_GREEN, _YELLOW, _RED = "32", "33", "31"
_COLORS = {"PASS": _GREEN, "WARN": _YELLOW, "FAIL": _RED, "FAILED": _RED, "INVALID": _RED}


def print_with_colors(text: str, stream: TextIO | None = None) -> None:
    """Print a text to the stream, by default to standard output. Its marked statuses are colored if the stream is a
    terminal."""
    stream = sys.stdout if stream is None else stream
    if is_colored(stream):
        print(color_statuses(escape_controls(text)), file=unescaped_stream(stream))
    else:
        print(write_statuses(text), file=stream)


def is_colored(stream: TextIO) -> bool:
    """Return whether colors may be written: to a terminal that is not dumb, unless NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def color_statuses(text: str) -> str:
    """Return the text with its marked statuses in their colors."""
    return write_statuses(
        text, lambda status: f"\x1b[{_COLORS[status]}m{status}\x1b[0m" if status in _COLORS else status
    )
