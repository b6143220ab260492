"""Read the rows of a dataset (a file or a folder) within a memory limit, and draw the prepared
request for each arrival."""

from __future__ import annotations

import csv
import heapq
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import numpy as np

from loadgen.decoding import decode_json
from loadgen.regular_files import open_regular
from loadgen.workloads import Dataset, Popularity

Row = dict[str, object]

MAX_ROW_BYTES = 16 * 2**20
"""Maximum size in bytes of a JSON line or a CSV row. A larger row indicates an error in the
file."""
MAX_FILES = 100_000
_PARQUET_BATCH_ROWS = 100
_UNQUOTED_JSON_PATTERN = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|true|false|null")


class DatasetError(Exception):
    """Error that is raised when a dataset cannot be read; the message contains the path, and the
    line number if the error is in a line."""


class DatasetRow(NamedTuple):
    """Row of a dataset, with its size in bytes. CSV cells are strings.

    `size_bytes` is the size of the line or file; for Parquet, it is the average size of a row in
    Arrow's memory format. `content` is the unchanged content of a JSON line or of a file in a
    folder. `name` is the name of a file in a folder.
    """

    cells: Row
    size_bytes: int
    content: bytes | None = None
    name: str = ""


class DatasetReader:
    """Iterator over the rows of a dataset, up to a total size of `limit_bytes` bytes.

    After the iteration, `is_truncated` is true if further rows were omitted. In memory, a row takes
    several times its size in the file.
    """

    def __init__(self, dataset: Dataset, limit_bytes: int) -> None:
        self._dataset, self._limit_bytes = dataset, limit_bytes
        self.format = dataset.format
        self.is_truncated = False

    def __iter__(self) -> Iterator[DatasetRow]:
        """Yield the rows of the dataset. Raises DatasetError if the dataset cannot be read, has no
        rows, or has a first row larger than `limit_bytes`."""
        path = self._dataset.path
        row_count = 0
        try:
            for row in self._iterate_limited_rows():
                row_count += 1
                yield row
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
        if row_count == 0:
            raise DatasetError(f"{path} has no rows")

    def _iterate_limited_rows(self) -> Iterator[DatasetRow]:
        if "\0" in self._dataset.path:
            raise DatasetError("the dataset's path contains a null character")
        remaining_bytes = self._limit_bytes
        for row in _READERS[self._dataset.format](Path(self._dataset.path), self._limit_bytes):
            remaining_bytes -= row.size_bytes
            if remaining_bytes < 0:
                if remaining_bytes + row.size_bytes == self._limit_bytes:
                    first_row_name = row.name or "the first row"
                    raise DatasetError(
                        f"{self._dataset.path}: {first_row_name} is larger than the memory limit for datasets "
                        f"({self._limit_bytes / 2**20:g} MiB)"
                    )
                self.is_truncated = True
                return
            yield row


def encode_cell(value: object, *, is_csv: bool) -> bytes:
    """Encode the value of a dataset cell as JSON. CSV cells that are valid as a JSON number, true,
    false or null are not quoted. Raises DatasetError for a value that JSON cannot represent."""
    if is_csv and isinstance(value, str) and _UNQUOTED_JSON_PATTERN.fullmatch(value):
        return value.encode()
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DatasetError(f"a value cannot be encoded as JSON: {error}") from error


def encode_row(row: DatasetRow, *, is_csv: bool) -> bytes:
    """Encode a dataset row as a request body without a template. Return the unchanged content of a
    JSON line or file, otherwise a JSON object with the columns. Raises DatasetError for a value
    that JSON cannot represent."""
    if row.content is not None:
        return row.content
    cells = (msgspec.json.encode(name) + b":" + encode_cell(value, is_csv=is_csv) for name, value in row.cells.items())
    return b"{" + b",".join(cells) + b"}"


def _read_lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    line_number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        line_number += 1
        if len(line) > MAX_ROW_BYTES:
            raise DatasetError(f"{path}, line {line_number}: the line is longer than {MAX_ROW_BYTES // 2**20} MiB")
        yield line_number, line.removeprefix(b"\xef\xbb\xbf") if line_number == 1 else line


def _read_jsonl(path: Path, _limit_bytes: int) -> Iterator[DatasetRow]:
    with open_regular(path) as file:
        for line_number, line in _read_lines(file, path):
            content = line.strip()
            if not content:
                continue
            try:
                value = decode_json(content)
            except msgspec.DecodeError as error:
                raise DatasetError(f"{path}, line {line_number}: the line is not valid JSON: {error}") from error
            yield DatasetRow(value if isinstance(value, dict) else {"value": value}, len(line), content)


_BRACKET_PATTERN = re.compile(rb'\\.|["{}\[\]]', re.DOTALL)
_CHUNK_BYTES = 1 << 20


def _read_json_array(path: Path, _limit_bytes: int) -> Iterator[DatasetRow]:
    """Yield the objects of a JSON array, without reading the whole file at once."""
    with open_regular(path) as file:
        for number, content in enumerate(_split_json_array(file, path), 1):
            try:
                yield DatasetRow(decode_json(content, Row), len(content), content)
            except msgspec.DecodeError as error:
                raise DatasetError(f"{path}: element {number:,} is not a JSON object: {error}") from error


def _split_json_array(file: IO[bytes], path: Path) -> Iterator[bytes]:
    if not file.read(_CHUNK_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        raise DatasetError(f"{path} is not a JSON array of objects")
    file.seek(0)
    element, depth = bytearray(), 0
    for text, bracket in _iterate_brackets(file):
        if depth > 1:
            element += text
        if len(element) > MAX_ROW_BYTES:
            raise DatasetError(f"{path}: an element is longer than {MAX_ROW_BYTES // 2**20} MiB")
        if bracket in (b"[", b"{"):
            depth += 1
            if depth == 2:
                element[:] = bracket
        elif bracket:
            depth -= 1
            if depth == 1:
                yield bytes(element)
            elif depth == 0:
                return
    raise DatasetError(f"{path}: the JSON array is truncated")


def _iterate_brackets(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield each bracket outside of strings, after the text up to and including it. The bracket is
    empty at the end of a chunk."""
    is_in_string, content = False, file.read(_CHUNK_BYTES)
    while content:
        # A backslash and what it escapes are not separated.
        end = len(content) - (len(content) - len(content.rstrip(b"\\"))) % 2
        start = 0
        for match in _BRACKET_PATTERN.finditer(content, 0, end):
            if match[0] == b'"':
                is_in_string = not is_in_string
            elif not is_in_string and len(match[0]) == 1:
                yield content[start : match.end()], match[0]
                start = match.end()
        yield content[start:end], b""
        chunk = file.read(_CHUNK_BYTES)
        content = content[end:] + chunk if chunk else b""


class _CsvLines:
    """Iterable of decoded lines of a CSV file, for the csv module.

    `line_number` is the number of the last line that was read. `row_bytes` is the size in bytes of
    the current row so far.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._lines, self._path = _read_lines(file, path), path
        self.line_number = 0
        self.row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        for line_number, line in self._lines:
            self.line_number = line_number
            self.row_bytes += len(line)
            if self.row_bytes > MAX_ROW_BYTES:
                raise DatasetError(f"{self._path}, line {self.line_number}: a quoted cell is not closed")
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise DatasetError(f"{self._path}, line {self.line_number}: the line is not valid UTF-8") from error
            yield text


def _read_csv(path: Path, _limit_bytes: int) -> Iterator[DatasetRow]:
    with open_regular(path) as file:
        lines = _CsvLines(file, path)
        rows = csv.reader(lines, strict=True)
        header: list[str] | None = None
        while (cells := _read_next_csv_row(rows, lines, path)) is not None:
            row_bytes, lines.row_bytes = lines.row_bytes, 0
            if not cells:
                continue
            if header is None:
                header = _check_csv_header(cells, path)
            elif len(cells) != len(header):
                raise DatasetError(
                    f"{path}, line {lines.line_number}: the row has {len(cells)} cells, but the header has "
                    f"{len(header)}"
                )
            else:
                yield DatasetRow(dict(zip(header, cells, strict=True)), row_bytes)


def _read_next_csv_row(rows: Iterator[list[str]], lines: _CsvLines, path: Path) -> list[str] | None:
    # The limit applies to the whole process, so it is changed only while a row is read.
    old_limit = csv.field_size_limit(MAX_ROW_BYTES)
    try:
        return next(rows, None)
    except csv.Error as error:
        raise DatasetError(f"{path}, line {lines.line_number}: {error}") from error
    finally:
        csv.field_size_limit(old_limit)


def _check_csv_header(cells: list[str], path: Path) -> list[str]:
    if len(set(cells)) != len(cells):
        raise DatasetError(f"{path}, line 1: the header has two columns with the same name")
    return cells


def _read_parquet(path: Path, _limit_bytes: int) -> Iterator[DatasetRow]:
    # Import pyarrow.parquet only when it is used: the import takes 50 ms.
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_regular(path) as file:
        try:
            for batch in pq.ParquetFile(file).iter_batches(_PARQUET_BATCH_ROWS):
                row_bytes = batch.nbytes // max(batch.num_rows, 1)
                for row in batch.to_pylist():
                    yield DatasetRow(row, row_bytes)
        except (pa.ArrowException, ValueError, OverflowError, MemoryError) as error:
            raise DatasetError(f"{path} cannot be read as Parquet: {_get_first_line(error)}") from error


def _get_first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _read_folder(path: Path, limit_bytes: int) -> Iterator[DatasetRow]:
    """Yield the files of a folder as rows, without hidden files, subfolders and devices. Raises
    DatasetError for a symbolic link to a file outside the folder."""
    root = path.resolve()
    for name in _list_file_names(path):
        file = path / name
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            raise DatasetError(f"{file} is a symbolic link to a file outside the folder")
        if not file.is_file():
            continue
        with open_regular(file) as stream:
            content = stream.read(limit_bytes + 1)
        yield DatasetRow({"file": content}, len(content), content, name)


def _list_file_names(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        names = heapq.nsmallest(MAX_FILES + 1, (entry.name for entry in entries if not entry.name.startswith(".")))
    if len(names) > MAX_FILES:
        raise DatasetError(f"{path} has more than {MAX_FILES:,} files")
    return names


_READERS: dict[str, Callable[[Path, int], Iterator[DatasetRow]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "folder": _read_folder,
    "json": _read_json_array,
}


MAX_DRAWN_INDICES = 65_536
"""Number of random indices that are drawn for the arrivals of a stage. Further arrivals repeat the
same sequence of indices."""


def draw_indices(popularity: Popularity, count: int, seed: int) -> Sequence[int] | None:
    """Draw the index of the prepared request for each arrival, from 0 to `count` - 1. Return None
    if the prepared requests are sent in order."""
    if popularity.kind == "sequential" or count < 2:
        return None
    rng = np.random.default_rng([seed, count])
    if popularity.kind == "uniform":
        return [int(index) for index in rng.integers(0, count, MAX_DRAWN_INDICES)]
    weights = np.arange(1, count + 1, dtype=np.float64) ** -popularity.exponent
    index_by_rank = rng.permutation(count)
    return [int(index) for index in index_by_rank[rng.choice(count, MAX_DRAWN_INDICES, p=weights / weights.sum())]]
