"""Shorten text of external origin for readers, and state how much was cut.

A profile, a response, an imported file or an option can contain a value of any length. All text that
the command line, the window and the reports show is shortened here; JSON, CSV and other files of data
are not."""

from __future__ import annotations

import re

MAX_LINE_CHARS = 2_000
"""Maximum length of a line for readers: enough for a path or a URL of any usual length within a
message."""
MAX_VALUE_CHARS = 200
"""Maximum length of a value in a line that is too long."""
_MAX_TEXT_CHARS = 500
"""Maximum length of a line that is too long, but has no long value: a long text itself."""
MAX_MESSAGE_LINES = 50
"""Maximum number of lines of a message."""
_MIN_CHARS_WITH_LENGTH = 100
"""Minimum of `max_chars` with which a cut value states its length. The cell of a narrow column has no
space for it."""
_VALUE = re.compile(r"""(?<!\w)'(?:[^'\\]|\\.)*+'?|(?<!\w)"(?:[^"\\]|\\.)*+"?|[^\s'"]++""")
"""Quoted value or word. Each character is read once, whatever the text."""


def shorten(text: str, max_chars: int = MAX_VALUE_CHARS) -> str:
    """Return `text` as one line of at most `max_chars` printable characters. Runs of line breaks and
    of other characters that are not printable, such as terminal escapes, become a space.

    A cut text ends with its length, as in "https://a… (100,000 characters)", or if `max_chars` is
    below 100, with "…".
    """
    if len(text) <= max_chars and text.isprintable():
        return text
    excerpt = text if len(text) <= 4 * max_chars else text[: 4 * max_chars]
    line = " ".join("".join(char if char.isprintable() else " " for char in excerpt).split())
    if len(excerpt) == len(text) and len(line) <= max_chars:
        return line
    end = f"… ({len(text):,} characters)" if max_chars >= _MIN_CHARS_WITH_LENGTH else "…"
    return f"{line[: max_chars - len(end)]}{end}"


def shorten_message(text: str) -> str:
    """Return a message with its long lines shortened as by `shorten_lines`, and without the lines after
    the first 50, because a value that it quotes may have line breaks."""
    lines = text.split("\n", MAX_MESSAGE_LINES)
    if len(lines) <= MAX_MESSAGE_LINES:
        return shorten_lines(text)
    omitted_count = lines.pop().count("\n") + 1
    return shorten_lines("\n".join((*lines, f"… ({omitted_count:,} more lines)")))


def shorten_lines(text: str) -> str:
    """Return `text` with each line of more than 2,000 characters shortened. Its longest quoted values
    and words are shortened to 200 characters until the line fits; a line without such values is cut
    at its end, to 500 characters. Shorter lines are returned unchanged, so paths and URLs of usual length stay whole.
    """
    if len(text) <= MAX_LINE_CHARS:
        return text
    return "\n".join(line if len(line) <= MAX_LINE_CHARS else _shorten_line(line) for line in text.split("\n"))


def _shorten_line(line: str) -> str:
    values = sorted(
        (match for match in _VALUE.finditer(line) if len(match[0]) > MAX_VALUE_CHARS),
        key=lambda match: len(match[0]),
        reverse=True,
    )
    excess_count, cuts = len(line) - MAX_LINE_CHARS, []
    for match in values:
        if excess_count <= 0:
            break
        cuts.append(match)
        excess_count -= len(match[0]) - MAX_VALUE_CHARS
    for match in sorted(cuts, key=lambda match: match.start(), reverse=True):
        line = f"{line[: match.start()]}{_shorten_value(match[0])}{line[match.end() :]}"
    if len(line) <= MAX_LINE_CHARS:
        return line
    indentation = line[: len(line) - len(line.lstrip())][:MAX_VALUE_CHARS]
    return indentation + shorten(line, _MAX_TEXT_CHARS)


def _shorten_value(text: str) -> str:
    """Shorten a word or a quoted value, whose quotes remain."""
    quote = text[0] if text[0] in "'\"" and text[0] == text[-1] else ""
    return f"{quote}{shorten(text.strip(quote) if quote else text, MAX_VALUE_CHARS - 2 * len(quote))}{quote}"
