"""Color verdicts such as PASS and INVALID in texts for a terminal."""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

from app.cli.streams import escape_controls, unescaped_stream

_GREEN, _YELLOW, _RED = "32", "33", "31"
_COLORS = {"PASS": _GREEN, "WARN": _YELLOW, "FAIL": _RED, "FAILED": _RED, "INVALID": _RED}
_VERDICT = re.compile(rf"(?<![\w-])({'|'.join(_COLORS)})(?![\w-])")


def print_with_colors(text: str, stream: TextIO | None = None) -> None:
    """Print a text to the stream, by default to standard output. Verdicts are colored if the stream is a terminal."""
    stream = sys.stdout if stream is None else stream
    if is_colored(stream):
        print(color_verdicts(escape_controls(text)), file=unescaped_stream(stream))
    else:
        print(text, file=stream)


def is_colored(stream: TextIO) -> bool:
    """Return whether colors may be written: to a terminal that is not dumb, unless NO_COLOR is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def color_verdicts(text: str) -> str:
    """Return the text with an escape sequence around each verdict that is a word of its own."""
    return _VERDICT.sub(lambda match: f"\x1b[{_COLORS[match[0]]}m{match[0]}\x1b[0m", text)
