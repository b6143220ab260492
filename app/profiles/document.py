"""Read the subset of YAML that profiles use: plain values, each with its line number.

The module rejects anchors, aliases, tags, duplicate keys, files with several documents, and
documents that are larger than 1 MiB or nested deeper than 64 levels. Scalars follow YAML 1.2 (`no`
is a string, `1e6` is a number), unlike in PyYAML, which follows YAML 1.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from app.errors import ProfileError

KeyPath = tuple[str | int, ...]
MAX_BYTES = 1 << 20
MAX_DEPTH = 64
# libyaml parses a file of the maximum size in less than a second; the pure Python loader takes many
# seconds.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTANTS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_MAX_QUOTED = 100
_POSSIBLE_SECRET = re.compile(
    r"(?i)key|token|secret|passw|auth|bearer|cookie|credential|session|header|\bx-|://[^\s/]*@|[a-z0-9+/_=-]{24,}"
)
"""Names that secrets often have, credentials in a URL, and long words such as tokens."""
_QUOTES = ('"', "'")
_OPENING_NAMES = {"[": "bracket", "{": "brace", **dict.fromkeys(_QUOTES, "quotation mark")}
_INTEGER = re.compile(r"[-+]?\d{1,300}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?", re.ASCII)


class _Position(msgspec.Struct, frozen=True):
    """Position of a character in a text, and its line; both are counted from 0."""

    index: int
    line: int


class Document(msgspec.Struct, frozen=True):
    """A parsed document. `lines` maps the path of each key or item to its line number, counted from
    1."""

    value: Any
    lines: dict[KeyPath, int]


def read_truncated(path: Path) -> bytes:
    """Return the content of a file, truncated to one byte more than the maximum size, so that
    callers can detect larger files.

    Raises ProfileError if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(error.strerror or "the file cannot be read", path=str(path)) from error


def read_document(content: bytes, source: str) -> Document:
    """Parse a document. Raises ProfileError with `source` and the line of the error."""
    text = _decode(content, source)
    reader = _Reader(source, yaml.parse(text, Loader=_LOADER))
    try:
        return reader.read()
    except yaml.YAMLError as error:
        position = _get_position(getattr(error, "problem_mark", None))
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "the text is not valid YAML"
        if position is None:
            raise ProfileError(problem, path=source) from error
        opening = _find_unclosed(reader, error, text, position)
        character = "" if opening is None else text[opening.index]
        if opening is None or character not in _OPENING_NAMES:
            raise _build_syntax_error(problem, position.line, text, source) from error
        problem = f"the {_OPENING_NAMES[character]} {character} is not closed"
        raise _build_syntax_error(problem, opening.line, text, source) from error


def _find_unclosed(reader: _Reader, error: yaml.YAMLError, text: str, position: _Position) -> _Position | None:
    """Return the position of the bracket, brace or quotation mark that is not closed and caused the
    error at `position`; `None` if there is no such character."""
    context = _get_position(getattr(error, "context_mark", None))
    if isinstance(error, yaml.scanner.ScannerError) and context is not None and text[context.index :][:1] in _QUOTES:
        return context
    start, end = reader.last_quoted
    if (
        start is not None
        and end is not None
        and end.line == position.line
        and any(_is_outdented(text, start, line) for line in range(start.line + 1, end.line + 1))
    ):
        return start  # the text ended at the next quotation mark, on a later line
    return next((opening for opening in reversed(reader.open_brackets) if _is_unclosed(text, opening, position)), None)


def _is_unclosed(text: str, opening: _Position, position: _Position) -> bool:
    """Return whether a bracket or brace is not closed, although the parser reports a later line:
    the end of the text, or a line that is not indented deeper than the line of the bracket."""
    if position.line <= opening.line:
        return False
    is_at_end = not any(line.strip() for line in text.splitlines()[position.line :])
    return is_at_end or _is_outdented(text, opening, position.line)


def _is_outdented(text: str, opening: _Position, line_index: int) -> bool:
    """Return whether a line is not indented deeper than the line of a position."""
    lines = text.splitlines()
    indents = [len(line) - len(line.lstrip()) for line in (lines[opening.line], lines[line_index])]
    return bool(lines[line_index].strip()) and indents[1] <= indents[0]


def _get_position(mark: Any) -> _Position | None:
    return None if mark is None else _Position(mark.index, mark.line)


def _build_syntax_error(problem: str, line_index: int, text: str, source: str) -> ProfileError:
    """Build the error for a line, counted from 0, that is not valid YAML. The hint quotes the line,
    unless it may contain a secret."""
    lines = text.splitlines()
    line = lines[line_index] if line_index < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return ProfileError(
            "the line is indented with a tab", path=source, line=line_index + 1, hint="Use spaces instead of tabs."
        )
    is_quoted = line.strip() and not _POSSIBLE_SECRET.search(line)
    hint = f"The line is: {line.strip()[:_MAX_QUOTED]}" if is_quoted else None
    return ProfileError(problem, path=source, line=line_index + 1, hint=hint)


def read_text(path: Path) -> str:
    """Return the text of a file, which need not be valid YAML.

    Raises ProfileError if the file is too large or not UTF-8.
    """
    return _decode(read_truncated(path), str(path))


def _decode(content: bytes, source: str) -> str:
    if len(content) > MAX_BYTES:
        raise ProfileError("the file is larger than 1 MiB", path=source)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProfileError("the file is not UTF-8 text", path=source, line=line) from error


def parse_scalar(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted YAML scalar."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


class PlainDumper(yaml.SafeDumper):
    """YAML dumper that quotes strings that YAML 1.2 would otherwise parse as another type."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML defines the signature
        return True


def _represent_text(dumper: PlainDumper, text: str) -> yaml.ScalarNode:
    is_plain = parse_scalar(text) == text and "\n" not in text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


PlainDumper.add_representer(str, _represent_text)


def format_document(document: dict[str, Any]) -> str:
    """Format a document as YAML with every key on a separate line."""
    text: str = yaml.dump(document, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Reader:
    def __init__(self, source: str, events: Iterator[yaml.Event]) -> None:
        self._source = source
        self._events = events
        self._lines: dict[KeyPath, int] = {}
        self.open_brackets: list[_Position] = []
        """Positions of the brackets and braces that were not closed yet."""
        self.last_quoted: tuple[_Position | None, _Position | None] = (None, None)
        """Start and end of the last text if it was in quotation marks."""

    def read(self) -> Document:
        value: Any = None
        document_count = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                document_count += 1
                if document_count > 1:
                    raise self._build_error("the text contains more than one YAML document", event)
                value = self._read_value(next(self._events), (), 0)
        return Document(value, self._lines)

    def _read_value(self, event: yaml.Event, path: KeyPath, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._build_error("anchors and aliases are not supported", event)
        if (tag := getattr(event, "tag", None)) is not None:
            raise self._build_error(f"tags are not supported: {tag}", event)
        if depth > MAX_DEPTH:
            raise self._build_error(f"nesting is deeper than {MAX_DEPTH} levels", event)
        if isinstance(event, yaml.ScalarEvent):
            is_quoted = event.style in _QUOTES
            self.last_quoted = (
                (_get_position(event.start_mark), _get_position(event.end_mark)) if is_quoted else (None, None)
            )
            return parse_scalar(event.value) if event.implicit[0] else event.value
        is_flow = isinstance(event, yaml.CollectionStartEvent) and event.flow_style
        if is_flow:
            opening = _get_position(event.start_mark)
            self.open_brackets += [opening] if opening is not None else []
        collection = (
            self._read_sequence(path, depth)
            if isinstance(event, yaml.SequenceStartEvent)
            else self._read_mapping(path, depth)
        )
        if is_flow:
            del self.open_brackets[-1:]
        return collection

    def _read_sequence(self, path: KeyPath, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item_path = (*path, len(items))
            self._lines[item_path] = _get_line_number(event)
            items.append(self._read_value(event, item_path, depth + 1))
        return items

    def _read_mapping(self, path: KeyPath, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or event.anchor is not None:
                raise self._build_error("a key must be plain text", event)
            key = event.value
            if key in mapping:
                raise self._build_error(f"the key {key!r} is duplicated", event)
            value_path = (*path, key)
            self._lines[value_path] = _get_line_number(event)
            mapping[key] = self._read_value(next(self._events), value_path, depth + 1)
        return mapping

    def _build_error(self, message: str, event: yaml.Event) -> ProfileError:
        return ProfileError(message, path=self._source, line=_get_line_number(event))


def _get_line_number(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1
