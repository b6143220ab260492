"""Read and parse untrusted result files of other tools, within limits. Each error message is one
sentence."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from app.errors import UsageError
from loadgen.regular_files import open_regular
from reports.shortening import shorten

MAX_BYTES = 128 * 2**20
MAX_TABLE_BYTES = 16 * 2**20
MAX_VALUES = 1_000_000
MAX_CONTAINERS = 4_000_000  # lists and objects, which need far more memory than their two characters
_MAX_NAME_CHARACTERS = 80
_WHITESPACE = re.compile(r"[ \t\r\n]*")


class ForeignDocument(msgspec.Struct, frozen=True):
    """Content of one result file.

    `values` holds the JSON values of a JSON file, in order. `header` and `lines` hold the stripped
    cells of a CSV table. `text` holds the content of any other file.
    """

    name: str
    folder: Path
    values: tuple[object, ...] = ()
    header: tuple[str, ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()
    text: str = ""

    @property
    def value(self) -> object:
        """JSON value of the file; `None` unless the file contains exactly one JSON value."""
        return self.values[0] if len(self.values) == 1 else None

    def rows(self) -> list[dict[str, str]]:
        """Return the rows of a table as mappings from column name to cell. Raises UsageError if a
        row does not match the header.

        Rows are checked in this method instead of when the file is opened, so that tables of
        unsupported tools can be ignored.
        """
        duplicate = _find_duplicate(column for column in self.header if column)
        if duplicate is not None:
            raise build_file_error(self.name, f'the column "{printable(duplicate)}" is duplicated')
        return [_build_row(self.header, line, self.name) for line in self.lines]


def build_file_error(name: str, reason: str, hint: str | None = None) -> UsageError:
    return UsageError(f"{name} cannot be read as a curve: {reason}", hint=hint)


def printable(text: str, max_characters: int = _MAX_NAME_CHARACTERS) -> str:
    """Return a string from a file, shortened to `max_characters` and without characters that are
    unsafe on a terminal."""
    clean_text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shorten(clean_text, max_characters)


def open_document(path: Path) -> ForeignDocument:
    """Read and parse a file. Raises UsageError if the file is too large, is not text, or is invalid
    JSON or CSV."""
    name = printable(path.name)
    text = _read_text(path, name)
    first_character = text.lstrip()[:1]
    if not first_character:
        raise build_file_error(name, "it is empty")
    if first_character in "{[":
        return ForeignDocument(name, path.parent, values=_parse_json_values(text, name))
    header = text.lstrip().partition("\n")[0]
    if "," in header and ":" not in header and not header.startswith("#"):
        return _parse_table(text, name, path.parent)
    return ForeignDocument(name, path.parent, text=text)


def _read_text(path: Path, name: str) -> str:
    if path.exists() and not path.is_file():
        raise build_file_error(name, "it is not a file")
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise build_file_error(name, f"{error.strerror or 'it cannot be opened'}") from error
    if len(content) > MAX_BYTES:
        hint = "Leave the request texts out of the report; most tools have an option for this."
        raise build_file_error(name, f"it is larger than {MAX_BYTES >> 20} MiB", hint)
    if content.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise build_file_error(name, "it is compressed", "Decompress it first.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise build_file_error(name, "it is not UTF-8 text") from error
    if "\0" in text:
        raise build_file_error(name, "it is not text")
    return text


def _parse_json_values(text: str, name: str) -> tuple[object, ...]:
    decoder = json.JSONDecoder(object_pairs_hook=_reject_duplicates)
    values: list[object] = []
    position = _skip_whitespace(text, 0)
    if text.count("[") + text.count("{") > MAX_CONTAINERS:
        raise build_file_error(name, f"its JSON has more than {MAX_CONTAINERS:,} lists and objects")
    try:
        while position < len(text):
            if len(values) == MAX_VALUES:
                raise build_file_error(name, f"it has more than {MAX_VALUES:,} concatenated JSON values")
            value, position = decoder.raw_decode(text, position)
            values.append(value)
            position = _skip_whitespace(text, position)
    except json.JSONDecodeError as error:
        line = text.count("\n", 0, error.pos) + 1
        raise build_file_error(name, f"line {line} is not JSON ({error.msg}): it may be truncated") from error
    except (RecursionError, MemoryError) as error:
        raise build_file_error(name, "its JSON is nested too deeply") from error
    except ValueError as error:
        raise build_file_error(name, printable(str(error), 200)) from error
    return tuple(values)


def _skip_whitespace(text: str, position: int) -> int:
    match = _WHITESPACE.match(text, position)
    return match.end() if match else position


def _reject_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    json_object = dict(pairs)
    if len(json_object) != len(pairs):
        raise ValueError(
            f'the key "{printable(_find_duplicate(key for key, _ in pairs) or "")}" is duplicated in an object'
        )
    return json_object


def _find_duplicate(names: Iterable[str]) -> str | None:
    previous_names: set[str] = set()
    for name in names:
        if name in previous_names:
            return name
        previous_names.add(name)
    return None


def _parse_table(text: str, name: str, folder: Path) -> ForeignDocument:
    if len(text) > MAX_TABLE_BYTES:
        raise build_file_error(name, f"it is a table larger than {MAX_TABLE_BYTES >> 20} MiB")
    try:
        reader = csv.reader(io.StringIO(text), strict=True)
        header, *lines = [tuple(cell.strip() for cell in line) for line in reader if line]
    except csv.Error as error:
        raise build_file_error(name, f"it is not a CSV table ({error})") from error
    return ForeignDocument(name, folder, header=header, lines=tuple(lines))


def _build_row(header: Sequence[str], line: Sequence[str], name: str) -> dict[str, str]:
    """Build a table row. Empty cells beyond the header are dropped, because some tools end each
    line with a comma."""
    if len(line) < len(header) or any(line[len(header) :]):
        raise build_file_error(
            name, f"a line has {len(line)} cells, but the header has {len(header)}; it may be truncated"
        )
    return {column: cell for column, cell in zip(header, line, strict=False) if column}
