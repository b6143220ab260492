"""Read large CSV files row by row, with limits on the size of the file and the length of lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import IO

from app.errors import UsageError

MAX_BYTES = 2**30
_MAX_LINE_BYTES = 2**18
_UTF8_BOM = b"\xef\xbb\xbf"
_DAMAGED_HINT = "The file is truncated or damaged. Download it again."


class CsvTable:
    """Rows of a CSV file. `name` is used in errors; `header` lists the columns."""

    def __init__(self, stream: IO[bytes], name: str, max_bytes: int = MAX_BYTES) -> None:
        self._name, self._max_bytes = name, max_bytes
        self._line_number = 0
        self._reader = csv.reader(self._iter_lines(stream), strict=True)
        self.read_header()

    @property
    def location(self) -> str:
        """File and line of the last row, for messages."""
        return f"{self._name}:{self._line_number}"

    def read_header(self) -> None:
        """Use the next row as the header; in some files, the first rows are metadata."""
        self.header = self._read_cells() or []

    def iter_rows(self, required: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, str]]:
        """Yield the given columns of each row; an optional column that the file does not have is
        blank.

        Raises UsageError for a missing column, and for a row with another number of cells.
        """
        missing_column = next((column for column in required if column not in self.header), None)
        if missing_column is not None:
            hint = "Name the layout with --format, if it is another one."
            raise UsageError(f"{self.location}: the column {missing_column!r} is missing", hint=hint)
        indexes = [(column, self.header.index(column)) for column in (*required, *optional) if column in self.header]
        blank_cells = dict.fromkeys(optional, "")
        while (cells := self._read_cells()) is not None:
            if len(cells) == len(self.header):
                yield blank_cells | {column: cells[index].strip() for column, index in indexes}
            elif cells:
                message = f"{self.location}: the row has {len(cells)} of {len(self.header)} cells"
                raise UsageError(message, hint=_DAMAGED_HINT)

    def _read_cells(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise UsageError(f"{self.location}: the file is not valid CSV: {error}") from error

    def _iter_lines(self, stream: IO[bytes]) -> Iterator[str]:
        byte_count = 0
        while line := stream.readline(_MAX_LINE_BYTES + 1):
            self._line_number += 1
            byte_count += len(line)
            if byte_count > self._max_bytes:
                raise UsageError(f"{self._name} is larger than {self._max_bytes // 2**20:,} MiB")
            if len(line) > _MAX_LINE_BYTES:
                raise UsageError(f"{self.location}: the line is longer than {_MAX_LINE_BYTES // 2**10} KiB")
            if not line.endswith(b"\n"):
                raise UsageError(f"{self.location}: the file ends within a line", hint=_DAMAGED_HINT)
            try:
                yield (line.removeprefix(_UTF8_BOM) if self._line_number == 1 else line).decode()
            except UnicodeDecodeError as error:
                raise UsageError(f"{self.location}: the file is not UTF-8 text") from error
