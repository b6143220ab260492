"""Arrow streams that are appended batch by batch and can be read after a kill at any byte."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

from app.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


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
    """An Arrow IPC stream in a file. One thread writes; each batch is in the operating system's hands on return."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._file = WholeFile(path)
        self._stream = pa.ipc.new_stream(self._file, schema)

    def append(self, batch: pa.RecordBatch) -> None:
        self._stream.write_batch(batch)

    def close(self) -> None:
        if not self._file.closed:
            try:
                self._stream.close()
            finally:
                self._file.close()

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_stream(path: Path, schema: pa.Schema, added_later: Collection[str] = ()) -> pa.Table:
    """Every whole batch of the file, in order; an empty table when the file holds not even its schema.

    Columns that `schema` lacks are left out; older files lack those `added_later`, which are then null. Raises
    UsageError when another column is missing or of another type.
    """
    found = schema
    batches: list[pa.RecordBatch] = []
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
            found = stream.schema
            while True:
                batches.append(stream.read_next_batch())
    except (StopIteration, pa.ArrowInvalid, OSError):
        pass  # the end of the stream, or the place where the writer was killed
    table = pa.Table.from_batches(batches, found)
    missing = [field for field in schema if field.name in added_later and field.name not in found.names]
    for field in missing:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    for field in schema:
        places = table.schema.get_all_field_indices(field.name)
        if [table.schema.field(place).type for place in places] != [field.type]:
            raise UsageError(
                f"{path} cannot be read: it has no one column {field.name} of type {field.type}",
                hint="It may come from another version of Sizewise, or be damaged.",
            )
    return table.select(schema.names).cast(schema)
