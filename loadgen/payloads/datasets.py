"""Rows of a user's file or folder, read within a bound of memory.

Which of the prepared requests each arrival sends, so that caches behave as in life.
"""

from __future__ import annotations

import csv
import heapq
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import numpy as np

from loadgen.decoding import decode_json
from loadgen.workloads import Dataset, Popularity

Row = dict[str, object]

MAX_ROW_BYTES = 16 * 2**20
"""Of a line of JSON or a row of CSV. A row that is larger is a mistake in the file, not a request."""
MAX_FILES = 100_000
_PARQUET_ROWS = 100
_BARE_JSON = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|true|false|null")


class DatasetError(Exception):
    """The dataset gives no rows; the message names the file, and the line where there is one."""


class OneRow(NamedTuple):
    """A row, and the bytes it takes in its file. A cell of CSV is text. `raw` is the row as it is there, where that can
    be sent; `name` that of a folder's file."""

    row: Row
    size: int
    raw: bytes | None = None
    name: str = ""


class DatasetReading:
    """The first rows, as many as `limit_bytes` of their file hold, at least one; once. In memory a row takes several
    times what it takes in its file. `was_cut`, known at the end: there were more."""

    def __init__(self, dataset: Dataset, limit_bytes: int) -> None:
        self._dataset, self._limit_bytes = dataset, limit_bytes
        self.format = dataset.format
        self.was_cut = False

    def __iter__(self) -> Iterator[OneRow]:
        """Raises DatasetError."""
        path = self._dataset.path
        rows = 0
        try:
            for one in self._within_limit():
                rows += 1
                yield one
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
        if rows == 0:
            raise DatasetError(f"{path} has no rows")

    def _within_limit(self) -> Iterator[OneRow]:
        if "\0" in self._dataset.path:
            raise DatasetError("the dataset's path holds a null character")
        left_bytes = self._limit_bytes
        for one in _READERS[self._dataset.format](Path(self._dataset.path), self._limit_bytes):
            left_bytes -= one.size
            if left_bytes < 0:
                if left_bytes + one.size == self._limit_bytes:
                    first = one.name or "the first row"
                    raise DatasetError(f"{self._dataset.path}: {first} is larger than the memory for it")
                self.was_cut = True
                return
            yield one


def as_json(value: object, *, is_csv: bool) -> bytes:
    """A cell of CSV that reads as a number, true, false or null is one. Raises DatasetError."""
    if is_csv and isinstance(value, str) and _BARE_JSON.fullmatch(value):
        return value.encode()
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DatasetError(f"a value cannot be written as JSON: {error}") from error


def as_body(one: OneRow, *, is_csv: bool) -> bytes:
    """The row as it is sent when no template says how: as it is, else as a JSON object. Raises DatasetError."""
    if one.raw is not None:
        return one.raw
    cells = (msgspec.json.encode(name) + b":" + as_json(value, is_csv=is_csv) for name, value in one.row.items())
    return b"{" + b",".join(cells) + b"}"


def _open(path: Path) -> IO[bytes]:
    """A device or a pipe could be read for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise DatasetError(f"{path} is not a file")
    return path.open("rb")


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(line) > MAX_ROW_BYTES:
            raise DatasetError(f"{path}, line {number}: longer than {MAX_ROW_BYTES // 2**20} MiB")
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _jsonl(path: Path, _limit_bytes: int) -> Iterator[OneRow]:
    with _open(path) as file:
        for number, line in _lines(file, path):
            raw = line.strip()
            if not raw:
                continue
            try:
                value = decode_json(raw)
            except msgspec.DecodeError as error:
                raise DatasetError(f"{path}, line {number}: not JSON: {error}") from error
            yield OneRow(value if isinstance(value, dict) else {"value": value}, len(line), raw)


class _CsvLines:
    """Lines of text for the csv module; `number` is the last one's, `row_bytes` those of the row being read."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._lines, self._path = _lines(file, path), path
        self.number = 0
        self.row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.number = number
            self.row_bytes += len(line)
            if self.row_bytes > MAX_ROW_BYTES:
                raise DatasetError(f"{self._path}, line {self.number}: a quoted cell does not end")
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise DatasetError(f"{self._path}, line {self.number}: not UTF-8") from error
            yield text


def _csv(path: Path, _limit_bytes: int) -> Iterator[OneRow]:
    with _open(path) as file:
        lines = _CsvLines(file, path)
        rows = csv.reader(lines, strict=True)
        header: list[str] | None = None
        while (cells := _next_csv_row(rows, lines, path)) is not None:
            size, lines.row_bytes = lines.row_bytes, 0
            if not cells:
                continue
            if header is None:
                header = _csv_header(cells, path)
            elif len(cells) != len(header):
                raise DatasetError(f"{path}, line {lines.number}: {len(cells)} cells, and {len(header)} in the header")
            else:
                yield OneRow(dict(zip(header, cells, strict=True)), size)


def _next_csv_row(rows: Iterator[list[str]], lines: _CsvLines, path: Path) -> list[str] | None:
    # the limit belongs to the process, so it is ours only while a row is read
    before = csv.field_size_limit(MAX_ROW_BYTES)
    try:
        return next(rows, None)
    except csv.Error as error:
        raise DatasetError(f"{path}, line {lines.number}: {error}") from error
    finally:
        csv.field_size_limit(before)


def _csv_header(cells: list[str], path: Path) -> list[str]:
    if len(set(cells)) != len(cells):
        raise DatasetError(f"{path}, line 1: two columns have the same name")
    return cells


def _parquet(path: Path, _limit_bytes: int) -> Iterator[OneRow]:
    # costs a twentieth of a second, which a worker without Parquet need not pay
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _open(path) as file:
        try:
            for batch in pq.ParquetFile(file).iter_batches(_PARQUET_ROWS):
                size = batch.nbytes // max(batch.num_rows, 1)
                for row in batch.to_pylist():
                    yield OneRow(row, size)
        except (pa.ArrowException, ValueError, OverflowError, MemoryError) as error:
            raise DatasetError(f"{path} cannot be read as Parquet: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _folder(path: Path, limit_bytes: int) -> Iterator[OneRow]:
    """Hidden files, folders and devices are no rows. What a link leads to must be in the folder too."""
    home = path.resolve()
    for name in _names(path):
        file = path / name
        if file.is_symlink() and not file.resolve().is_relative_to(home):
            raise DatasetError(f"{file} leads out of the folder")
        if not file.is_file():
            continue
        with _open(file) as opened:
            content = opened.read(limit_bytes + 1)
        yield OneRow({"file": content}, len(content), content, name)


def _names(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        names = heapq.nsmallest(MAX_FILES + 1, (entry.name for entry in entries if not entry.name.startswith(".")))
    if len(names) > MAX_FILES:
        raise DatasetError(f"{path} has more than {MAX_FILES:,} files")
    return names


_READERS: dict[str, Callable[[Path, int], Iterator[OneRow]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
    "folder": _folder,
}


DRAWS = 65_536
"""Arrivals beyond them draw the same again."""


def picks(popularity: Popularity, count: int, seed: int) -> Sequence[int] | None:
    """The request of each arrival, of `count` requests; None when they take turns."""
    if popularity.kind == "in-turn" or count < 2:
        return None
    rng = np.random.default_rng([seed, count])
    if popularity.kind == "uniform":
        return [int(pick) for pick in rng.integers(0, count, DRAWS)]
    weights = np.arange(1, count + 1, dtype=np.float64) ** -popularity.exponent
    by_rank = rng.permutation(count)
    return [int(pick) for pick in by_rank[rng.choice(count, DRAWS, p=weights / weights.sum())]]
