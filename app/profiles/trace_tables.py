"""A trace file as a table: CSV with a header, or one JSON object a line; either may be compressed with gzip.

Nothing in it is trusted: 1 GiB of text, 50 million rows of CSV and 5 million JSON lines are the most that is read.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from app.errors import ProfileError
from loadgen.decoding import decode_json

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 2**30
MOST_ROWS = 50_000_000
MAX_JSON_LINES = 5_000_000
"""Lower than for CSV: JSON lines are decoded one by one, 5 million in about 10 s."""
_GZIP = b"\x1f\x8b"
_JSON_LINES = (".jsonl", ".ndjson")
_LONGEST_LINE = 1 << 20


class TraceTable(msgspec.Struct, frozen=True):
    """`first_line` is the file's line of row 0."""

    table: pa.Table
    first_line: int


def is_json_lines(path: Path) -> bool:
    return _kind(path) in _JSON_LINES


def is_trace(path: Path) -> bool:
    """By its name."""
    return _kind(path) in (".csv", *_JSON_LINES)


def _kind(path: Path) -> str:
    name = path.name.casefold().removesuffix(".gz")
    return Path(name).suffix


def read_table(path: Path, wanted: frozenset[str]) -> TraceTable:
    """Raises ProfileError. `wanted` are the case-folded names of the columns that are kept of JSON lines."""
    try:
        content = _content(path)
    except OSError as error:
        raise ProfileError(error.strerror or "cannot be read", path=str(path)) from error
    most = MAX_JSON_LINES if is_json_lines(path) else MOST_ROWS
    if content.count(b"\n") > most + 1:
        raise ProfileError(f"has more than {most:,} rows", path=str(path), hint="Cut a part out of the trace.")
    if is_json_lines(path):
        return TraceTable(_json_lines(path, content, wanted), 1)
    return TraceTable(_csv(path, content), 2)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        content = _unzipped(path, file) if is_gzip else file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ProfileError("larger than 1 GiB", path=str(path))
    return content


def _unzipped(path: Path, file: BinaryIO) -> bytes:
    """No further than one byte past the limit."""
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            return unzipped.read(MAX_BYTES + 1)
    except EOFError as error:
        raise ProfileError("ends inside its gzip stream", path=str(path), hint="Copy the file again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ProfileError("not a gzip file, though it begins like one", path=str(path)) from error


def _csv(path: Path, content: bytes) -> pa.Table:
    import pyarrow as pa  # late: checking a profile without a trace need not wait for it
    from pyarrow import csv

    try:
        table = csv.read_csv(pa.BufferReader(content))
        _ = table.column_names  # decoded only now
        return table
    except (pa.ArrowException, UnicodeDecodeError) as error:
        what = "".join(one for one in str(error).splitlines()[0] if one.isprintable() and one.isascii())[:100]
        raise ProfileError(f"not a CSV file of numbers: {what}", path=str(path)) from error


def _json_lines(path: Path, content: bytes, wanted: frozenset[str]) -> pa.Table:
    """The wanted columns of the first row; rows may leave one out, which is a null then."""
    import pyarrow as pa

    lines = content.removeprefix(b"\xef\xbb\xbf").rstrip().split(b"\n")
    keys = [key for key in _decoded(path, lines[0], 1, dict[str, Any]) if key.strip().casefold() in wanted]
    columns: list[list[object]] = [[] for _ in keys]
    if keys:
        fields = [f"c{place}" for place in range(len(keys))]
        row = msgspec.defstruct(
            "Row",
            [(field, float | str | list[msgspec.Raw] | None, None) for field in fields],
            rename=dict(zip(fields, keys, strict=True)),
        )
        for number, line in enumerate(lines, start=1):
            values = _decoded(path, line, number, row)
            for column, field in zip(columns, fields, strict=True):
                value = getattr(values, field)
                column.append(None if isinstance(value, list) else value)
    try:
        return pa.table([pa.array(column) for column in columns], names=keys)
    except pa.ArrowException as error:
        raise ProfileError("has a column of numbers and text", path=str(path)) from error


def _decoded(path: Path, line: bytes, number: int, kind: Any) -> Any:
    if len(line) > _LONGEST_LINE:
        raise ProfileError("this line is longer than 1 MiB", path=str(path), line=number)
    try:
        return decode_json(line, kind)
    except msgspec.DecodeError as error:
        what = "".join(one for one in str(error) if one.isprintable() and one.isascii())[:100]
        raise ProfileError(f"not a JSON object of a request: {what}", path=str(path), line=number) from error
