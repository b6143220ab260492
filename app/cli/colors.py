"""Color marked statuses such as PASS and INVALID on a terminal, and dim marked percentiles that are
based on too few samples."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TextIO

from app.cli.streams import escape_controls, get_unescaped_stream, print_whole
from reports.marks import drop_marks, replace_marks

_GREEN, _YELLOW, _RED = "32", "33", "31"
_COLORS = {"PASS": _GREEN, "WARN": _YELLOW, "FAIL": _RED, "FAILED": _RED, "INVALID": _RED}
_DIM, _DIM_OFF = "\x1b[2m", "\x1b[22m"


ColorMode = Literal["auto", "always", "never"]
_color_mode: ContextVar[ColorMode] = ContextVar("color_mode", default="auto")


@contextmanager
def use_colors(mode: ColorMode) -> Iterator[None]:
    """Set the color mode of all output within the context: `auto` (see `is_colored`), `always` or
    `never`."""
    token = _color_mode.set(mode)
    try:
        yield
    finally:
        _color_mode.reset(token)


def print_with_colors(text: str, stream: TextIO | None = None) -> None:
    """Print text with marks to a stream, by default standard output.

    If `is_colored` returns true for the stream, marked statuses are colored and marked percentiles
    are dimmed. Otherwise, the marks are removed. Lines stay whole, because reports and tables have
    shortened values already.
    """
    stream = sys.stdout if stream is None else stream
    if is_colored(stream):
        print(color_text(escape_controls(text)), file=get_unescaped_stream(stream))
    else:
        print_whole(drop_marks(text), stream)


def color_text(text: str) -> str:
    """Replace the marks in the text with escape sequences, which color statuses and dim percentiles
    that are based on too few samples."""
    return replace_marks(
        text, lambda status: f"\x1b[{_COLORS[status]}m{status}\x1b[0m" if status in _COLORS else status, _DIM, _DIM_OFF
    )


def is_colored(stream: TextIO) -> bool:
    """Return whether output to the stream is colored.

    `--color always` or `--color never` takes precedence. Otherwise, only terminals are colored,
    unless NO_COLOR is set or TERM is dumb.
    """
    mode = _color_mode.get()
    if mode != "auto":
        return mode == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
