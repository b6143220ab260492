"""Standard streams: missing ones are replaced, control characters are escaped, and a closed pipe is ignored."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
"""Control characters other than tabs and line ends. Every escape sequence starts with one of them."""


def replace_missing_streams() -> None:
    """Open the null device on each standard stream that the caller closed, as in `2>&-`.

    Call this before anything else opens a file. Otherwise that file would get the number of the missing stream, and
    receive whatever Python or a child process prints.
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


def escape_controls(text: str) -> str:
    """Replace each control character by its JSON escape, which is valid in JSON and harmless elsewhere."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class _EscapingStream:
    """A text stream that escapes control characters, for output that may quote untrusted files."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(escape_controls(text))

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def escape_output() -> Iterator[None]:
    """Escape control characters in everything printed inside, which may quote names, sentences and labels of files.

    Output to `sys.stdout.buffer` is not escaped.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _EscapingStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unescaped_stream(stream: TextIO) -> TextIO:
    """Return the unescaped stream, for output that moves the cursor on purpose.

    Texts of files must be passed through `escape_controls` first.
    """
    return stream.stream if isinstance(stream, _EscapingStream) else stream


class PipeState:
    is_closed = False


@contextmanager
def ignore_broken_pipe() -> Iterator[PipeState]:
    """Ignore a broken pipe: output inside and afterwards is discarded once the reader is gone, for example after
    `head`.
    """
    reader = PipeState()
    try:
        yield reader
        sys.stdout.flush()
    except BrokenPipeError:
        reader.is_closed = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(sentence: str) -> None:
    print(f"warning: {escape_controls(sentence)}", file=sys.stderr)
