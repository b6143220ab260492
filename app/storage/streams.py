"""Arrow streams that are appended batch by batch and can be read after a kill at any byte."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

from app.errors import DamagedError, UsageError
from app.storage.journal import Journal
from app.storage.whole_file import WholeFile
from loadgen.decoding import MESSAGE_PREFIX_BYTES, batch_header, metadata_length

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_HINT = "Restore the file from a copy. `sizewise report RUN --recover` uses what is whole."
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""Of an Arrow IPC stream: the mark of a message, of no length."""

MAX_ROWS = 100_000_000
"""Limit for one file. A run of a day at 1,000 requests/s has 86 million."""
MAX_COLUMNS = 256
MAX_BATCH_ROWS = 1 << 20
MAX_BATCH_BYTES = 1 << 30

_TOGETHER = 256
"""Batches made one piece of a column: many enough that pieces are few, few enough that what is copied is small."""


class StreamWriter:
    """An Arrow IPC stream in a file. One thread writes; each batch is in the operating system's hands on return.

    A batch is one write: Arrow's own writer makes one of each of its buffers, which costs more than all else.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, kept_bytes: int | None = None, journal: Journal | None = None
    ) -> None:
        """`schema` has no dictionaries, and is that of every batch. `kept_bytes` of an existing stream are appended
        to. What is written has its checksums in the `journal`."""
        self._file = WholeFile(path, kept_bytes)
        self._journal = journal
        self.size = kept_bytes or self._write(schema.serialize())
        """Bytes written so far."""

    def append(self, batch: pa.RecordBatch) -> None:
        self.size += self._write(batch.serialize())

    def sync(self) -> None:
        """Return once every batch is on the disk."""
        if not self._file.closed:
            self._file.sync()

    def close(self) -> None:
        if not self._file.closed:
            try:
                self._write(_END)
                self._file.sync()
            finally:
                self._file.close()

    def _write(self, content: ReadableBuffer) -> int:
        return self._file.write(content) if self._journal is None else self._journal.append(self._file, content)

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
    is_own: bool = False,
    damage: list[DamagedError] | None = None,
    end: int | None = None,
) -> pa.Table:
    """Every whole batch of the file, in order; an empty table when the file holds not even its schema.

    Columns that `schema` lacks, and those named in `without`, are left out; older files lack those `added_later`, which
    are then null. `span` are the bytes from the beginning of one batch to the end of another, else all are read. What
    is all null takes no memory. Raises UsageError when another column is missing or of another type, and DamagedError
    when what is there is not what any writer wrote. `is_own` leaves out the validation of values: for the process that
    wrote the file. With `damage` an error is put there instead of raised, and what was read before it is returned.
    `end` is where a batch ends, behind which nothing is read.
    """
    wanted = pa.schema([field for field in schema if field.name not in without], schema.metadata)
    parts: list[pa.Table] = []
    if end == 0:
        return wanted.empty_table()
    try:
        found = _read_schema(path)
        if found is None:
            return wanted.empty_table()
        batches = _whole_batches(path, _places(path, found, wanted, added_later), span or (0, end))
        together = _TOGETHER if damage is None else 1  # so that all before the damage is kept
        while some := list(islice(batches, together)):
            parts.append(_compact(None if is_own else path, some, wanted))
    except DamagedError as error:
        if damage is None:
            raise
        damage.append(error)
    return pa.concat_tables(parts) if parts else wanted.empty_table()


def stream_batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Every whole batch that has a row, one by one, with those columns of `schema` that the file has too. None where it
    holds not even its own schema. Raises as `read_stream` does."""
    found = _read_schema(path)
    if found is None:
        return
    common = pa.schema([field for field in schema if found.get_all_field_indices(field.name)])
    for batch in _whole_batches(path, _places(path, found, common, ()), (0, None)):
        if batch.num_rows:
            _validate(path, batch)
            yield batch


def stage_spans(
    path: Path, schema: pa.Schema, whole_bytes: int | None = None
) -> tuple[dict[int, tuple[int, int]], int]:
    """Where the batches of each stage begin and end in the file, and where the last whole batch ends; of its first
    `whole_bytes`, where they are given. Raises UsageError for a file of another schema, as of another version, and
    DamagedError for what no writer wrote."""
    found = _read_schema(path)
    if found is None or not found.equals(schema):
        raise UsageError(f"{path} was written by another version of Sizewise", hint="Run the profile again.")
    spans: dict[int, tuple[int, int]] = {}
    end = 0
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
            end = source.tell()
            while (whole_bytes is None or end < whole_bytes) and whole_batch_ahead(source):
                start, batch = end, stream.read_next_batch()
                end = source.tell()
                if batch.num_rows and "stage" in schema.names:
                    stage = batch["stage"][0].as_py()
                    spans[stage] = (spans.get(stage, (start, start))[0], end)
    except (ValueError, EOFError, StopIteration, OSError, pa.ArrowException) as error:
        raise _damaged(path, end, error) from error
    return spans, end


def is_cut_off(path: Path) -> bool:
    """Whether a stream that was closed lacks its end: bytes are missing, and those that are there may be right."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(_END)))
        return file.read() != _END


def whole_batch_ahead(source: pa.NativeFile) -> bool:
    """Whether a whole batch begins where the file stands, which is left there. False at the end of the stream, and
    where the writer has not finished one. Raises ValueError for bytes that no writer of ours wrote: compressed ones
    too, and more rows than a batch ever has."""
    at, size = source.tell(), source.size()
    prefix = source.read(MESSAGE_PREFIX_BYTES)
    if len(prefix) < MESSAGE_PREFIX_BYTES:
        return False
    length = metadata_length(prefix)
    if not length:
        if source.tell() != size:
            raise ValueError("the stream ends before the file does")
        return False
    metadata = source.read(length)
    if len(metadata) < length:
        return False
    header = batch_header(prefix + metadata)
    if header.rows > MAX_BATCH_ROWS or header.body_bytes > MAX_BATCH_BYTES:
        raise ValueError(f"a batch of {header.rows:,} rows and {header.body_bytes:,} bytes")
    if at + len(prefix) + length + header.body_bytes > size:
        return False
    source.seek(at)
    return True


def _read_schema(path: Path) -> pa.Schema | None:
    """None where there is no file, or not the whole schema."""
    try:
        with pa.OSFile(str(path)) as source:
            prefix = source.read(MESSAGE_PREFIX_BYTES)
            if len(prefix) < MESSAGE_PREFIX_BYTES or source.size() < len(prefix) + metadata_length(prefix):
                return None
            source.seek(0)
            schema = pa.ipc.read_schema(source)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except (ValueError, EOFError, OSError, pa.ArrowException) as error:
        raise _damaged(path, 0, error) from error
    if len(schema) > MAX_COLUMNS:
        raise DamagedError(f"{path} is damaged: it has {len(schema):,} columns", hint=_HINT)
    return schema


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


def _whole_batches(path: Path, places: list[int], span: tuple[int, int | None]) -> Iterator[pa.RecordBatch]:
    """To the end of the span or the stream, or the place where the writer was killed. Not yet validated."""
    options = pa.ipc.IpcReadOptions(included_fields=places)
    at, rows = 0, 0
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source, options=options) as stream:
            if span[0]:
                source.seek(span[0])  # the reader takes each batch from where the file stands
            while span[1] is None or source.tell() < span[1]:
                at = source.tell()
                if not whole_batch_ahead(source):
                    return
                batch = stream.read_next_batch()
                rows += batch.num_rows
                if rows > MAX_ROWS:
                    raise UsageError(f"{path} has more than {MAX_ROWS:,} rows", hint="Split the measurement into runs.")
                yield batch
    except (ValueError, EOFError, StopIteration, OSError, pa.ArrowException) as error:
        raise _damaged(path, at, error) from error


def _validate(path: Path, rows: pa.RecordBatch | pa.Table) -> None:
    """Arrow reads offsets and lengths as the file has them; used unchecked, wrong ones end the process by a signal."""
    try:
        rows.validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        raise _damaged(path, None, error) from error


def _damaged(path: Path, at: int | None, error: Exception) -> DamagedError:
    where = "" if at is None else f" after byte {at:,}"
    return DamagedError(f"{path} is damaged{where}: {' '.join(str(error).split())[:200]}", hint=_HINT)


def _compact(untrusted: Path | None, batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Each column in one piece: as it was read, it would hold on to all columns of its batch, also those left out."""
    table = pa.Table.from_batches(batches)
    if untrusted is not None:
        _validate(untrusted, table)
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
