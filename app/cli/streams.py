"""Standard streams that may be missing, that steer no terminal, and whose reader may leave, as `head` does."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
"""Control characters but for tabs and ends of lines: an escape sequence begins with one of them."""


def replace_missing_streams() -> None:
    """Open the null device on each standard stream that the caller closed, as in `2>&-`.

    Call it before anything else opens a file: that file would get the number of the missing stream, and whatever
    Python or a child process prints would end up in it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def without_controls(text: str) -> str:
    """With each control character in the form that JSON has for it: right in JSON, and harmless elsewhere."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _Harmless:
    """A text stream for what may quote a file of anybody's."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(without_controls(text))

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def harmless_output() -> Iterator[None]:
    """Whatever is printed inside, of names, sentences and labels that a file holds, sends no control character to the
    terminal. What is written to `sys.stdout.buffer` is not looked at."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Harmless(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def terminal_of(stream: TextIO) -> TextIO:
    """The stream itself, for what moves the cursor on purpose: text of files goes through `without_controls` first."""
    return stream.stream if isinstance(stream, _Harmless) else stream


class Reader:
    has_left = False


@contextmanager
def leaving_reader() -> Iterator[Reader]:
    """What is printed inside is lost when nobody reads any more, and so is all that is printed later."""
    reader = Reader()
    try:
        yield reader
        sys.stdout.flush()
    except BrokenPipeError:
        reader.has_left = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(sentence: str) -> None:
    print(f"warning: {without_controls(sentence)}", file=sys.stderr)
