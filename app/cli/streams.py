"""Standard streams: replace missing streams, characters that the encoding lacks, and control characters, shorten long
lines for readers, and ignore closed pipes."""

from __future__ import annotations

import codecs
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from reports.shortening import shorten_lines, shorten_message

_CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
"""Control characters other than tabs and line breaks. Every escape sequence starts with a control
character."""


def replace_missing_streams() -> None:
    """Open the null device for each standard stream that the caller closed, as in `2>&-`.

    This must run before any file is opened. Otherwise a file would get the descriptor of the
    missing stream, and receive the output of Python or of a child process.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null_device_descriptor = os.open(os.devnull, os.O_RDWR)
            if null_device_descriptor != descriptor:
                os.dup2(null_device_descriptor, descriptor)
                os.close(null_device_descriptor)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


_PLAIN_CHARACTERS = str.maketrans({
    "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u2011": "-", "\u2026": "...", "\u00d7": "x", "\u00b7": "|",
    "\u00b1": "+/-", "\u2248": "~", "\u2264": "<=", "\u2265": ">=", "\u2192": "->", "\u2190": "<-", "\u00a0": " ",
    "\u202f": " ", "\u2009": " ", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00b5": "u",
    "\u03bc": "u", "\u00b0": " deg ", "\u00b2": "2", "\u20ac": "EUR",
})  # fmt: skip
"""Plain text for the characters that Sizewise prints beyond ASCII."""
_PLAIN_TEXT_ERRORS = "sizewise.plain_text"


def _encode_plainly(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks: known ones by plain text, others by their JSON escape, so that JSON
    stays valid. Error handler for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN_CHARACTERS)
    units = text.encode("utf-16-be", "surrogatepass")
    escaped = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "".join(chr(unit) if unit < 0x80 else f"\\u{unit:04x}" for unit in escaped), error.end


def replace_unencodable_characters() -> None:
    """Configure standard output and error so that characters that their encoding lacks, such as \u2264 in ASCII, are
    replaced instead of ending the command."""
    codecs.register_error(_PLAIN_TEXT_ERRORS, _encode_plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(
                OSError
            ):  # the position of a pipe that replaced the stream's file is unknown, and unimportant
                stream.reconfigure(errors=_PLAIN_TEXT_ERRORS)


def escape_controls(text: str) -> str:
    """Replace each control character with its JSON escape, which is valid in JSON and harmless
    elsewhere."""
    return _CONTROL_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def format_for_readers(text: str) -> str:
    """Escape the control characters of text that may quote untrusted files, and shorten its long lines."""
    return escape_controls(shorten_lines(text))


class _EscapingStream:
    """Text stream that escapes control characters and shortens long lines, for output that may quote untrusted
    files."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(format_for_readers(text))

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def escape_output() -> Iterator[None]:
    """Escape control characters and shorten long lines in all output within the context, since names and messages may
    come from untrusted files. Output through `sys.stdout.buffer` is not changed; `print_whole` only escapes."""
    previous_streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _EscapingStream(stream)) for stream in previous_streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = previous_streams


def get_unescaped_stream(stream: TextIO) -> TextIO:
    """Return the underlying stream without escaping, for output that moves the cursor. The caller
    must pass strings from files through `format_for_readers` first."""
    return stream.stream if isinstance(stream, _EscapingStream) else stream


def print_whole(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print JSON, CSV or another document whose lines must stay whole, by default to standard output. Control
    characters are escaped."""
    print(escape_controls(text), end=end, file=get_unescaped_stream(sys.stdout if stream is None else stream))


_TEXT_WIDTH, _MIN_TEXT_WIDTH, _MAX_TEXT_WIDTH = 100, 72, 120


def get_text_width(stream: TextIO) -> int:
    """Return the width at which text for a stream is wrapped: that of the terminal within limits,
    otherwise 100."""
    if not stream.isatty():
        return _TEXT_WIDTH
    return min(max(shutil.get_terminal_size((_TEXT_WIDTH, 24)).columns, _MIN_TEXT_WIDTH), _MAX_TEXT_WIDTH)


class PipeState:
    is_closed = False


@contextmanager
def ignore_broken_pipe() -> Iterator[PipeState]:
    """Ignore a broken pipe within the context. Once the reader has closed the pipe, as `head` does,
    all further output is discarded."""
    pipe_state = PipeState()
    try:
        yield pipe_state
        sys.stdout.flush()
    except BrokenPipeError:
        pipe_state.is_closed = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(message: str) -> None:
    print(f"warning: {escape_controls(shorten_message(message))}", file=sys.stderr)
