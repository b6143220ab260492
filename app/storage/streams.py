"""Arrow streams that are appended batch by batch and can be read after a kill at any byte."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

from app.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_END = b"\xff\xff\xff\xff\0\0\0\0"
"""Of an Arrow IPC stream: the mark of a message, of no length."""

_TOGETHER = 256
"""Batches made one piece of a column: many enough that pieces are few, few enough that what is copied is small."""


class WholeFile(io.FileIO):
    """A new file without a buffer. Python's own may write a part and tell it only in the returned count."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x")

    def write(self, content: ReadableBuffer, /) -> int:
        left = whole = memoryview(content).cast("B")
        while left:
            written = super().write(left)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.name))
            left = left[written:]
        return len(whole)


class StreamWriter:
    """An Arrow IPC stream in a file. One thread writes; each batch is in the operating system's hands on return.

    A batch is one write: Arrow's own writer makes one of each of its buffers, which costs more than all else.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """`schema` has no dictionaries, and is that of every batch."""
        self._file = WholeFile(path)
        self.size = self._file.write(schema.serialize())
        """Bytes written so far."""

    def append(self, batch: pa.RecordBatch) -> None:
        self.size += self._file.write(batch.serialize())

    def close(self) -> None:
        if not self._file.closed:
            try:
                self._file.write(_END)
            finally:
                self._file.close()

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_stream(
    path: Path,
    schema: pa.Schema,
    *,
    added_later: Collection[str] = (),
    without: Collection[str] = (),
    span: tuple[int, int] | None = None,
) -> pa.Table:
    """Every whole batch of the file, in order; an empty table when the file holds not even its schema.

    Columns that `schema` lacks, and those named in `without`, are left out; older files lack those `added_later`, which
    are then null. `span` are the bytes from the beginning of one batch to the end of another, else all are read. What
    is all null takes no memory. Raises UsageError when another column is missing or of another type.
    """
    wanted = pa.schema([field for field in schema if field.name not in without], schema.metadata)
    try:
        found = _read_schema(path)
    except (pa.ArrowInvalid, EOFError, OSError):
        return wanted.empty_table()
    batches = _whole_batches(path, _places(path, found, wanted, added_later), span)
    parts = [_compact(some, wanted) for some in iter(lambda: list(islice(batches, _TOGETHER)), [])]
    return pa.concat_tables(parts) if parts else wanted.empty_table()


def stream_batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Every whole batch that has a row, one by one, with those columns of `schema` that the file has too. None where it
    holds not even its own schema."""
    try:
        found = _read_schema(path)
    except (pa.ArrowInvalid, EOFError, OSError):
        return
    common = [field.name for field in schema if found.get_all_field_indices(field.name)]
    batches = _whole_batches(path, [found.get_field_index(name) for name in common], None)
    yield from (batch for batch in batches if batch.num_rows)


def _read_schema(path: Path) -> pa.Schema:
    with pa.OSFile(str(path)) as source:
        return pa.ipc.read_schema(source)


def _places(path: Path, found: pa.Schema, wanted: pa.Schema, added_later: Collection[str]) -> list[int]:
    """Where the wanted columns stand in the file."""
    places = []
    for field in wanted:
        of_that_name = found.get_all_field_indices(field.name)
        if field.name in added_later and not of_that_name:
            continue
        if [found.field(place).type for place in of_that_name] != [field.type]:
            raise UsageError(
                f"{path} cannot be read: it has no one column {field.name} of type {field.type}",
                hint="It may come from another version of Sizewise, or be damaged.",
            )
        places += of_that_name
    return places


def _whole_batches(path: Path, places: list[int], span: tuple[int, int] | None) -> Iterator[pa.RecordBatch]:
    """To the end of the span or the stream, or the place where the writer was killed."""
    options = pa.ipc.IpcReadOptions(included_fields=places)
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source, options=options) as stream:
            if span is not None:
                source.seek(span[0])  # the reader takes each batch from where the file stands
            while span is None or source.tell() < span[1]:
                yield stream.read_next_batch()
    except (StopIteration, pa.ArrowInvalid, OSError):
        return


def _compact(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Each column in one piece: as it was read, it would hold on to all columns of its batch, also those left out."""
    table = pa.Table.from_batches(batches)
    columns = []
    for field in schema:
        column = table[field.name] if field.name in table.schema.names else None
        if column is None or column.null_count == table.num_rows:
            columns.append(_nulls(table.num_rows, field.type))
        else:
            columns.append(column.combine_chunks())
    return pa.table(columns, schema=schema)


def _nulls(count: int, kind: pa.DataType) -> pa.Array:
    """They share their memory."""
    return _many_nulls(1 << count.bit_length(), kind).slice(0, count)


@lru_cache(maxsize=64)
def _many_nulls(count: int, kind: pa.DataType) -> pa.Array:
    return pa.nulls(count, kind)
