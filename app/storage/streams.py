"""Arrow streams that are written batch by batch, and can be read even if the writer was killed at
any byte."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa

from app.errors import DamagedFileError, UsageError
from app.storage.journal import Journal
from app.storage.unbuffered_file import UnbufferedFile
from loadgen.decoding import MESSAGE_PREFIX_BYTES, read_batch_header, read_metadata_length
from reports.shortening import shorten

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_RECOVERY_HINT = "Restore the file from a copy, or report the intact data with `sizewise report RUN --recover`."
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""End-of-stream marker of Arrow IPC: the prefix of a message with length 0."""

MAX_ROWS = 100_000_000
"""Maximum number of rows per file. A one-day run at 1,000 requests/s has 86 million rows."""
MAX_COLUMNS = 256
MAX_BATCH_ROWS = 1 << 20
MAX_BATCH_BYTES = 1 << 30

_BATCHES_PER_CHUNK = 256
"""Number of batches that are combined into one chunk of a column.

A larger number reduces the number of chunks; a smaller number reduces the size of the copies.
"""


class StreamWriter:
    """Writer for an Arrow IPC stream, to be used by one thread.

    `append` returns after the batch was handed to the operating system. Each batch is written in a
    single write call. Arrow's own writer makes one call per buffer, and these calls dominate the
    cost.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, intact_bytes: int | None = None, journal: Journal | None = None
    ) -> None:
        """Open the stream.

        `schema` must not contain dictionaries, and applies to every batch. With `intact_bytes`, new
        batches are appended after that number of bytes of an existing stream. The checksum of each
        write is logged in `journal`.
        """
        self._file = UnbufferedFile(path, intact_bytes)
        self._journal = journal
        self.size = intact_bytes or self._write(schema.serialize())
        """Number of bytes written so far."""

    def append(self, batch: pa.RecordBatch) -> None:
        self.size += self._write(batch.serialize())

    def sync(self) -> None:
        """Flush all batches to disk."""
        if not self._file.closed:
            self._file.sync()

    def close(self) -> None:
        if not self._file.closed:
            try:
                self._write(_END_OF_STREAM)
                self._file.sync()
            finally:
                self._file.close()

    def _write(self, content: ReadableBuffer) -> int:
        return self._file.write(content) if self._journal is None else self._journal.append(self._file, content)

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_stream(
    path: Path,
    schema: pa.Schema,
    *,
    optional_columns: Collection[str] = (),
    excluded_columns: Collection[str] = (),
    span: tuple[int, int] | None = None,
    is_trusted: bool = False,
    errors: list[DamagedFileError] | None = None,
    end: int | None = None,
) -> pa.Table:
    """Read all complete batches of a file, in order. The table is empty if the file does not even
    contain a complete schema.

    Columns that are not in `schema`, or are in `excluded_columns`, are omitted. Columns in
    `optional_columns` may be missing in older files and are then null. All-null columns take no
    memory. `span` limits the read to the bytes from the start of one batch to the end of another
    batch; `end` limits the read to batches that end there or earlier. `is_trusted` skips the
    validation of values, for the process that wrote the file.

    Raises UsageError if a required column is missing or a column has another type, and
    DamagedFileError if the content was not written by Sizewise. If `errors` is given, an error is
    appended to this list instead of raised, and the rows before the error are returned.
    """
    requested_schema = pa.schema([field for field in schema if field.name not in excluded_columns], schema.metadata)
    tables: list[pa.Table] = []
    if end == 0:
        return requested_schema.empty_table()
    try:
        file_schema = _read_schema(path)
        if file_schema is None:
            return requested_schema.empty_table()
        batches = _iter_complete_batches(
            path, _find_column_indices(path, file_schema, requested_schema, optional_columns), span or (0, end)
        )
        # One batch per chunk, so that all rows before the damage are returned.
        batches_per_chunk = _BATCHES_PER_CHUNK if errors is None else 1
        while chunk := list(islice(batches, batches_per_chunk)):
            tables.append(_combine_batches(None if is_trusted else path, chunk, requested_schema))
    except DamagedFileError as error:
        if errors is None:
            raise
        errors.append(error)
    return pa.concat_tables(tables) if tables else requested_schema.empty_table()


def stream_batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield every complete, non-empty batch of a file, with the columns of `schema` that the file
    contains.

    Yields nothing if the file does not even contain a complete schema. Raises the same errors as
    `read_stream`.
    """
    file_schema = _read_schema(path)
    if file_schema is None:
        return
    common_schema = pa.schema([field for field in schema if file_schema.get_all_field_indices(field.name)])
    for batch in _iter_complete_batches(path, _find_column_indices(path, file_schema, common_schema, ()), (0, None)):
        if batch.num_rows:
            _validate_rows(path, batch)
            yield batch


def find_stage_spans(
    path: Path, schema: pa.Schema, intact_bytes: int | None = None
) -> tuple[dict[int, tuple[int, int]], int]:
    """Return the byte span (start, end) of each stage's batches in the file, and the end of the
    last complete batch.

    With `intact_bytes`, only that number of bytes from the start is read. Raises UsageError if the
    file has another schema, for example that of another version, and DamagedFileError if the
    content was not written by Sizewise.
    """
    file_schema = _read_schema(path)
    if file_schema is None or not file_schema.equals(schema):
        raise UsageError(f"{path} was written by another version of Sizewise", hint="Run the profile again.")
    spans: dict[int, tuple[int, int]] = {}
    end = 0
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
            end = source.tell()
            while (intact_bytes is None or end < intact_bytes) and has_complete_batch(source):
                start, batch = end, stream.read_next_batch()
                end = source.tell()
                if batch.num_rows and "stage" in schema.names:
                    stage = batch["stage"][0].as_py()
                    spans[stage] = (spans.get(stage, (start, start))[0], end)
    except (ValueError, EOFError, StopIteration, OSError, pa.ArrowException) as error:
        raise _build_damaged_error(path, end, error) from error
    return spans, end


def is_truncated(path: Path) -> bool:
    """Return whether a closed stream lacks the end-of-stream marker. Bytes are then missing, but
    the existing bytes may be intact."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(_END_OF_STREAM)))
        return file.read() != _END_OF_STREAM


def has_complete_batch(source: pa.NativeFile) -> bool:
    """Return whether a complete batch starts at the current position of the file. The position is
    unchanged.

    Return False at the end of the stream and for a partially written batch. Raises ValueError for
    content that Sizewise never writes, such as compressed batches or batches with too many rows.
    """
    position, size = source.tell(), source.size()
    prefix = source.read(MESSAGE_PREFIX_BYTES)
    if len(prefix) < MESSAGE_PREFIX_BYTES:
        return False
    metadata_length = read_metadata_length(prefix)
    if not metadata_length:
        if source.tell() != size:
            raise ValueError("the file continues after the end of the stream")
        return False
    metadata = source.read(metadata_length)
    if len(metadata) < metadata_length:
        return False
    header = read_batch_header(prefix + metadata)
    if header.row_count > MAX_BATCH_ROWS or header.body_bytes > MAX_BATCH_BYTES:
        raise ValueError(
            f"a batch has {header.row_count:,} rows and {header.body_bytes:,} bytes, which is above the limits"
        )
    if position + len(prefix) + metadata_length + header.body_bytes > size:
        return False
    source.seek(position)
    return True


def _read_schema(path: Path) -> pa.Schema | None:
    """Return the schema of a file; `None` if the file does not exist or its schema is
    incomplete."""
    try:
        with pa.OSFile(str(path)) as source:
            prefix = source.read(MESSAGE_PREFIX_BYTES)
            if len(prefix) < MESSAGE_PREFIX_BYTES or source.size() < len(prefix) + read_metadata_length(prefix):
                return None
            source.seek(0)
            schema = pa.ipc.read_schema(source)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except (ValueError, EOFError, OSError, pa.ArrowException) as error:
        raise _build_damaged_error(path, 0, error) from error
    if len(schema) > MAX_COLUMNS:
        raise DamagedFileError(
            f"{path} is damaged: it has {len(schema):,} columns, more than the maximum of {MAX_COLUMNS:,}",
            hint=_RECOVERY_HINT,
        )
    return schema


def _find_column_indices(
    path: Path, file_schema: pa.Schema, requested_schema: pa.Schema, optional_columns: Collection[str]
) -> list[int]:
    """Return the indices of the requested columns in the file."""
    indices = []
    for field in requested_schema:
        matching_indices = file_schema.get_all_field_indices(field.name)
        if field.name in optional_columns and not matching_indices:
            continue
        if [file_schema.field(index).type for index in matching_indices] != [field.type]:
            raise UsageError(
                f"{path} cannot be read: it does not have exactly one column {field.name} of type {field.type}",
                hint="It may come from another version of Sizewise, or be damaged.",
            )
        indices += matching_indices
    return indices


def _iter_complete_batches(
    path: Path, column_indices: list[int], span: tuple[int, int | None]
) -> Iterator[pa.RecordBatch]:
    """Yield complete batches, without validation, up to the end of the span, the end of the stream,
    or the point at which the writer was killed."""
    options = pa.ipc.IpcReadOptions(included_fields=column_indices)
    position, row_count = 0, 0
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source, options=options) as stream:
            if span[0]:
                source.seek(span[0])  # the reader reads each batch from the file's current position
            while span[1] is None or source.tell() < span[1]:
                position = source.tell()
                if not has_complete_batch(source):
                    return
                batch = stream.read_next_batch()
                row_count += batch.num_rows
                if row_count > MAX_ROWS:
                    raise UsageError(
                        f"{path} has more than {MAX_ROWS:,} rows", hint="Split the measurement into several runs."
                    )
                yield batch
    except (ValueError, EOFError, StopIteration, OSError, pa.ArrowException) as error:
        raise _build_damaged_error(path, position, error) from error


def _validate_rows(path: Path, rows: pa.RecordBatch | pa.Table) -> None:
    """Validate values read from a file.

    Arrow trusts the offsets and lengths in the file; invalid values would crash the process.
    """
    try:
        rows.validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        raise _build_damaged_error(path, None, error) from error


def _build_damaged_error(path: Path, position: int | None, error: Exception) -> DamagedFileError:
    location = "" if position is None else f" after byte {position:,}"
    return DamagedFileError(f"{path} is damaged{location}: {shorten(str(error))}", hint=_RECOVERY_HINT)


def _combine_batches(untrusted_path: Path | None, batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Combine the batches into one chunk per column.

    The columns are copied, because a column without a copy would keep all columns of its batches in
    memory, including omitted columns.
    """
    table = pa.Table.from_batches(batches)
    if untrusted_path is not None:
        _validate_rows(untrusted_path, table)
    columns, names = [], table.column_names
    for field in schema:
        column = table[field.name] if field.name in names else None
        if column is None or column.null_count == table.num_rows:
            columns.append(_get_nulls(table.num_rows, field.type))
        else:
            columns.append(column.combine_chunks())
    return pa.table(columns, schema=schema)


def _get_nulls(count: int, value_type: pa.DataType) -> pa.Array:
    """Return an array of `count` nulls. Arrays of similar length share their memory."""
    return _create_nulls(1 << count.bit_length(), value_type).slice(0, count)


@lru_cache(maxsize=64)
def _create_nulls(count: int, value_type: pa.DataType) -> pa.Array:
    return pa.nulls(count, value_type)
