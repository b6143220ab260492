"""Read recorded traffic: CSV or JSON lines, optionally gzipped, with one request per row in order
of arrival.

`timestamp` is in seconds from any origin, or a date with a time. `input_tokens` and `output_tokens`
are lengths in tokens. The column names of the public Azure (LLM inference and function
invocations), Mooncake and BurstGPT traces are also supported. Numbers that are too large to be
seconds since 1970 are read as milliseconds, microseconds or nanoseconds since 1970. Mooncake
traces, which are recognized by the column `hash_ids`, are in milliseconds. `hash_ids` contains an
ID for each block of the prompt; prompts with the same first IDs begin with the same tokens.

JSON lines of OpenTelemetry spans are read by `app.profiles.trace_spans`.

CSV files need a header. Each JSON line contains one object. Files are untrusted: at most 1 GiB of
text, 50 million CSV rows, 5 million JSON lines or 20 million hash IDs are read.

This module also computes the statistics of a trace for planning.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from app.analysis.prefix_cache import Segment, compute_offered_hits
from app.analysis.traces import compute_trace_statistics, select_busiest_rows
from app.errors import ProfileError
from app.profiles.hourly_traffic import is_hourly_traffic
from app.profiles.problems import BadValueError
from app.profiles.trace_spans import (
    MAX_SPAN_LINE_BYTES,
    SpanError,
    SpanRequest,
    build_span_table,
    decode_span_line,
    is_span_line,
)
from app.records.traffic import TraceRows, TraceStatistics
from loadgen.decoding import json_decoder
from loadgen.regular_files import open_regular
from reports.shortening import shorten

if TYPE_CHECKING:
    import pyarrow as pa


MAX_BYTES = 2**30
MAX_ROWS = 50_000_000
MAX_JSON_LINES = 5_000_000
"""Maximum number of JSON lines in a trace.

The limit is lower than for CSV, because JSON lines are decoded one by one: 5 million lines take
about 10 s.
"""
MAX_HASH_IDS = 20_000_000
_GZIP_MAGIC = b"\x1f\x8b"
_JSON_LINES_SUFFIXES = (".jsonl", ".ndjson")
_MAX_LINE_BYTES = 1 << 20
_HASH_COLUMN = "hash_ids"
DEFAULT_BLOCK_TOKENS = 512
"""Number of tokens per hash ID in Mooncake's traces."""
MAX_HASH_ID = 2**53 - 1
"""Maximum hash ID, which all JSON parsers read exactly."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Lengths = npt.NDArray[np.int32]


class HashIds(msgspec.Struct, frozen=True):
    """Hash IDs of the blocks of all prompts of a trace, in order, and the number of IDs per
    prompt."""

    ids: Ints
    counts: Ints

    def select(self, rows: Ints) -> HashIds:
        """Return the hash IDs of the prompts of these rows, in the order of `rows`."""
        counts = self.counts[rows]
        starts = (np.cumsum(self.counts) - self.counts)[rows]
        positions = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return HashIds(self.ids[positions], counts)


class TraceTable(msgspec.Struct, frozen=True):
    """Columns of a trace file. `first_line` is the line number of the first row; `None` if rows do
    not correspond to lines."""

    table: pa.Table
    first_line: int | None
    hash_ids: HashIds | None = None


def is_json_lines(path: Path) -> bool:
    return _get_suffix(path) in _JSON_LINES_SUFFIXES


def is_trace(path: Path) -> bool:
    """Return whether a file is a trace, based on its name."""
    return _get_suffix(path) in (".csv", *_JSON_LINES_SUFFIXES)


def _get_suffix(path: Path) -> str:
    name = path.name.casefold().removesuffix(".gz")
    return Path(name).suffix


def read_table(path: Path, column_names: frozenset[str]) -> TraceTable:
    """Read a trace file as a table. Raises ProfileError if the file is invalid.

    `column_names` contains the case-folded names of the columns to read from JSON lines.
    """
    try:
        content = _read_content(path)
    except OSError as error:
        raise ProfileError(error.strerror or "the file cannot be read", path=str(path)) from error
    max_rows = MAX_JSON_LINES if is_json_lines(path) else MAX_ROWS
    if content.count(b"\n") > max_rows + 1:
        raise ProfileError(
            f"the trace exceeds the maximum of {max_rows:,} rows", path=str(path), hint="Use only a part of the trace."
        )
    if is_json_lines(path):
        return _parse_json_lines(path, content, column_names)
    return TraceTable(_parse_csv(path, content), 2)


def _read_content(path: Path) -> bytes:
    with open_regular(path) as file:
        is_gzip = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        content = _decompress(path, file) if is_gzip else file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ProfileError("the file is larger than 1 GiB", path=str(path))
    return content


def _decompress(path: Path, file: BinaryIO) -> bytes:
    """Return the decompressed content of a gzip file, truncated to one byte more than the size
    limit."""
    try:
        with gzip.GzipFile(fileobj=file) as gzip_file:
            return gzip_file.read(MAX_BYTES + 1)
    except EOFError as error:
        raise ProfileError("the gzip stream is truncated", path=str(path), hint="Copy the file again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ProfileError("the file starts like a gzip file, but is not valid gzip", path=str(path)) from error


def _parse_csv(path: Path, content: bytes) -> pa.Table:
    import pyarrow as pa  # imported only when needed, because the import is slow
    from pyarrow import csv

    try:
        table = csv.read_csv(pa.BufferReader(content))
        _ = table.column_names  # names are decoded on first access, which may raise
        return table
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _build_csv_error(path, content) from error


def _build_csv_error(path: Path, content: bytes) -> ProfileError:
    """Build the error for a file that is not valid CSV, with the line and the column at which the
    first invalid row differs from the header, but without any content of the file."""
    import pyarrow as pa
    from pyarrow import csv

    message, hint = "the file is not a valid CSV trace", "Write UTF-8 text with a header and one request per line."
    for line_number, line_content in enumerate(io.BytesIO(content), start=1):
        try:
            line_content.decode()
        except UnicodeDecodeError as error:
            problem = f"{message}: byte {error.start + 1:,} of the line is not UTF-8"
            return ProfileError(problem, path=str(path), line=line_number, hint=hint)
    invalid_rows: list[tuple[int | None, int, int]] = []

    def record_row(row: csv.InvalidRow) -> Literal["error"]:
        invalid_rows.append((row.number, row.actual_columns, row.expected_columns))
        return "error"

    with contextlib.suppress(pa.ArrowException):  # row numbers are known only in one thread
        csv.read_csv(
            pa.BufferReader(content),
            csv.ReadOptions(use_threads=False),
            csv.ParseOptions(invalid_row_handler=record_row),
        )
    if not invalid_rows:
        return ProfileError(message, path=str(path), hint=hint)
    line, actual_count, expected_count = invalid_rows[0]
    column = min(actual_count, expected_count) + 1
    problem = "is missing" if actual_count < expected_count else "has no name in the header"
    return ProfileError(
        f"{message}: column {column} {problem}",
        path=str(path),
        line=line,
        hint="Write one value for each column of the header, and quote values that contain a comma.",
    )


def _parse_json_lines(path: Path, content: bytes, column_names: frozenset[str]) -> TraceTable:
    """Return a table of the columns that are in both `column_names` and the first line. Values
    missing in later lines are null."""
    import pyarrow as pa

    lines = content.removeprefix(b"\xef\xbb\xbf").rstrip().split(b"\n")
    first_line = _decode_line(path, lines[0], 1, json_decoder(dict[str, Any]), MAX_SPAN_LINE_BYTES)
    if is_span_line(first_line):
        return TraceTable(_parse_spans(path, lines), None)
    keys = [key for key in first_line if key.strip().casefold() in column_names]
    columns: list[list[object]] = [[] for _ in keys]
    hash_ids: list[list[int] | None] | None = None
    if keys:
        field_names = [f"c{index}" for index in range(len(keys))]
        row_type = msgspec.defstruct(
            "Row",
            [(name, _get_field_type(key), None) for name, key in zip(field_names, keys, strict=True)],
            rename=dict(zip(field_names, keys, strict=True)),
        )
        decode_row = json_decoder(row_type)
        for line_number, line in enumerate(lines, start=1):
            row = _decode_line(path, line, line_number, decode_row, _MAX_LINE_BYTES)
            for column, field_name in zip(columns, field_names, strict=True):
                column.append(getattr(row, field_name))
    for index, key in enumerate(keys):
        if key.strip().casefold() == _HASH_COLUMN:
            hash_ids, columns[index] = columns[index], [None] * len(lines)  # type: ignore[assignment]
    try:
        table = pa.table(
            [pa.array(None if isinstance(value, list) else value for value in column) for column in columns],
            names=keys,
        )
    except pa.ArrowException as error:
        raise ProfileError(
            "a column has both numbers and text", path=str(path), hint="Use one type for all values of a column."
        ) from error
    return TraceTable(table, 1, None if hash_ids is None else _pack_hash_ids(path, hash_ids))


def _get_field_type(key: str) -> Any:
    is_hash_column = key.strip().casefold() == _HASH_COLUMN
    return list[_HashId] | None if is_hash_column else float | str | list[msgspec.Raw] | None


_HashId = Annotated[int, msgspec.Meta(ge=0, le=MAX_HASH_ID)]


def _pack_hash_ids(path: Path, rows: list[list[int] | None]) -> HashIds:
    counts = np.array([0 if row is None else len(row) for row in rows], dtype=np.int64)
    total = int(counts.sum())
    if total > MAX_HASH_IDS:
        raise ProfileError(
            f"the trace exceeds the maximum of {MAX_HASH_IDS:,} hash IDs",
            path=str(path),
            hint="Use only a part of the trace.",
        )
    return HashIds(np.fromiter(itertools.chain.from_iterable(row or () for row in rows), np.int64, total), counts)


def _parse_spans(path: Path, lines: list[bytes]) -> pa.Table:
    requests: list[SpanRequest] = []
    try:
        for line_number, line in enumerate(lines, start=1):
            requests += _decode_line(
                path, line, line_number, lambda content: tuple(decode_span_line(content)), MAX_SPAN_LINE_BYTES
            )
            if len(requests) > MAX_JSON_LINES:
                raise ProfileError(
                    f"the trace exceeds the maximum of {MAX_JSON_LINES:,} spans",
                    path=str(path),
                    hint="Use only a part of the trace.",
                )
        return build_span_table(requests)
    except SpanError as error:
        raise ProfileError(str(error), path=str(path)) from error


def _decode_line(path: Path, line: bytes, line_number: int, decode: Callable[[bytes], Any], max_bytes: int) -> Any:
    if len(line) > max_bytes:
        raise ProfileError(f"the line is longer than {max_bytes >> 20} MiB", path=str(path), line=line_number)
    try:
        return decode(line)
    except SpanError as error:
        raise ProfileError(str(error), path=str(path), line=line_number) from error
    except msgspec.DecodeError as error:
        detail = shorten(str(error))
        raise ProfileError(
            f"the line is not a JSON object with a request: {detail}", path=str(path), line=line_number
        ) from error


_COLUMN_ALIASES = {
    "timestamp": ("timestamp", "time", "arrived at", "arrival_time", "arrived_at"),
    "input_tokens": ("input_tokens", "contexttokens", "request tokens", "input_length", "prompt_tokens"),
    "output_tokens": ("output_tokens", "generatedtokens", "response tokens", "output_length", "completion_tokens"),
    "ended": ("end_timestamp",),
    "duration": ("duration",),
    "hashes": (_HASH_COLUMN,),
}
_COLUMN_NAMES = frozenset(name for names in _COLUMN_ALIASES.values() for name in names)
_MAX_DURATION_S = 10 * 366 * 86_400.0
_MIN_EPOCH_S = 1e8  # in 1973; relative timestamps do not reach this value
_EPOCH = datetime.datetime.combine(datetime.date(1970, 1, 1), datetime.time())
_EPOCH_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))


class Trace(msgspec.Struct, frozen=True):
    """Requests of a trace.

    `at_s` contains the arrival times in seconds since the first request, in ascending order. Token
    counts are `None` if the file lacks their columns. `starts_at` is the time of the first request,
    in UTC or in the time zone of the file. `starts_at` is `None` if the file has no dates.
    `blocks` is `None` if the file has no hash IDs.
    """

    at_s: Floats
    input_tokens: Lengths | None
    output_tokens: Lengths | None
    starts_at: datetime.datetime | None = None
    blocks: HashIds | None = None

    @property
    def has_tokens(self) -> bool:
        return self.input_tokens is not None and self.output_tokens is not None

    def find_block_mismatch(self, block_tokens: int) -> int | None:
        """Return the first row whose number of hash IDs does not match its prompt length, with
        `block_tokens` tokens per ID; `None` if all rows match or have no hash IDs."""
        assert self.blocks is not None
        assert self.input_tokens is not None
        counts, expected_counts = self.blocks.counts, -(-self.input_tokens.astype(np.int64) // block_tokens)
        rows = np.flatnonzero((counts > 0) & (counts != expected_counts))
        return int(rows[0]) if len(rows) else None


def check_token_columns(path: Path, block_tokens: int = DEFAULT_BLOCK_TOKENS) -> None:
    """Check that a trace contains the token counts of prompts and responses, and that its hash IDs
    match them. Raises BadValueError otherwise."""
    trace = read_trace(path)
    if not trace.has_tokens:
        raise BadValueError(f"{path.name} is missing the column input_tokens or output_tokens")
    if trace.blocks is None or (row := trace.find_block_mismatch(block_tokens)) is None:
        return
    assert trace.input_tokens is not None
    raise BadValueError(
        f"request {row + 1:,} of {path.name} has {int(trace.blocks.counts[row]):,} hash IDs for "
        f"{int(trace.input_tokens[row]):,} input tokens, which does not match {block_tokens:,} tokens per ID",
        hint="Set workload.block_tokens to the number of tokens per hash ID of this trace.",
    )


def read_trace(path: Path) -> Trace:
    """Read a trace. Raises BadValueError for an invalid trace; the message contains the line, if
    known."""
    try:
        table = read_table(path, _COLUMN_NAMES)
        columns = _TraceColumns(path, table)
        at_s, starts_at = columns.read_times()
        lengths = (columns.read_lengths("input_tokens"), columns.read_lengths("output_tokens"))
        return Trace(at_s, *lengths, starts_at, table.hash_ids)
    except ProfileError as error:
        raise BadValueError(str(error), hint=error.hint) from error


class _TraceColumns:
    """Columns of a trace file. All methods raise ProfileError for invalid content."""

    def __init__(self, path: Path, trace_table: TraceTable) -> None:
        self._path, self._table, self._first_line = path, trace_table.table, trace_table.first_line

    def read_times(self) -> tuple[Floats, datetime.datetime | None]:
        """Return the arrival times in seconds since the first request, and the date and time of the
        first request; `None` instead of the date if the file has no dates."""
        column = self._find_column("timestamp")
        if column is None:
            at_s, starts_at = self._compute_invocation_starts(), None
        elif not len(column):
            raise self._build_error("the trace has no requests", hint="Write one request per row, after the header.")
        else:
            at_s, starts_at = self._read_seconds(column)
        decreasing_rows = np.flatnonzero(np.diff(at_s) < 0)
        if len(decreasing_rows):
            raise self._build_error("the request is earlier than the one before it", int(decreasing_rows[0]) + 1,
                              hint="Sort the trace by timestamp.")  # fmt: skip
        if at_s[-1] > _MAX_DURATION_S:
            raise self._build_error(
                "the request is more than ten years after the first", int(np.argmax(at_s > _MAX_DURATION_S))
            )
        return at_s, starts_at

    def _compute_invocation_starts(self) -> Floats:
        """Return the arrival times in seconds since the first request, computed from end times and
        durations. The times are sorted, because traces with end times may be sorted by end time."""
        end_column, duration_column = self._find_column("ended"), self._find_column("duration")
        if end_column is None or duration_column is None:
            hint = "Write it in seconds, or as a date."
            if is_hourly_traffic(self._path):
                hint = (
                    "A day of 24 hours is not a trace: use `plan --traffic FILE`, or traffic.peak and 24 shares in "
                    "traffic.shape."
                )
            raise self._build_error("the column timestamp is missing", -1, hint=hint)
        if not len(end_column):
            raise self._build_error("the trace has no requests", hint="Write one request per row, after the header.")
        starts_s = np.sort(
            self._read_numbers("end_timestamp", end_column) - self._read_numbers("duration", duration_column)
        )
        at_s: Floats = starts_s - starts_s[0]
        return at_s

    def _read_seconds(self, column: pa.ChunkedArray) -> tuple[Floats, datetime.datetime | None]:
        import pyarrow as pa

        if pa.types.is_string(column.type):
            column = self._parse_dates(column)
        if pa.types.is_timestamp(column.type):
            try:
                column = column.cast(pa.timestamp("ns", tz=column.type.tz)).cast(pa.int64())
            except pa.ArrowException as error:
                raise self._build_error("timestamp has a date outside of the years 1678 to 2261") from error
            nanoseconds = self._read_numbers("timestamp", column, np.int64)
            return (nanoseconds - nanoseconds[0]) / 1e9, _to_datetime(float(nanoseconds[0]) / 1e9)
        is_integer = pa.types.is_integer(column.type)
        numbers = self._read_numbers("timestamp", column, np.int64 if is_integer else np.float64)
        if (numbers < 0).any():
            raise self._build_error("timestamp is below zero", int(np.argmax(numbers < 0)))
        if self._find_column("hashes") is not None:
            return (numbers - numbers[0]) / 1e3, None
        units_per_s = next((unit for minimum, unit in _EPOCH_UNITS if numbers[0] >= minimum), 1.0)
        first_s = float(numbers[0]) / units_per_s
        return (numbers - numbers[0]) / units_per_s, _to_datetime(first_s) if first_s >= _MIN_EPOCH_S else None

    def _parse_dates(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Convert a column of strings to dates; return the column unchanged if it has other
        strings.

        Dates are strings in JSON lines, and in CSV files in which only some rows have a time zone.
        """
        import pyarrow as pa

        for time_zone in (None, "UTC"):
            try:
                return column.cast(pa.timestamp("ns", tz=time_zone))
            except pa.ArrowException:
                continue
        return column

    def read_lengths(self, name: str) -> Lengths | None:
        column = self._find_column(name)
        if column is None:
            return None
        numbers = self._read_numbers(name, column)
        invalid_rows = np.flatnonzero((numbers < 0) | (numbers > 2**31 - 1) | (numbers != np.rint(numbers)))
        if len(invalid_rows):
            raise self._build_error(f"{name} is not a whole number from 0 to {2**31 - 1:,}", int(invalid_rows[0]))
        return numbers.astype(np.int32)

    def _find_column(self, name: str) -> pa.ChunkedArray | None:
        for index, column_name in enumerate(self._table.column_names):
            if column_name.strip().casefold() in _COLUMN_ALIASES[name]:
                return self._table.column(index)
        return None

    def _read_numbers(self, name: str, column: pa.ChunkedArray, dtype: type[np.generic] = np.float64) -> Floats:
        import pyarrow as pa

        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) and len(column):
            problem = "neither a number nor a date with a time" if name == "timestamp" else "not a number"
            hint = "Use the same format in all rows." if name == "timestamp" else None
            raise self._build_error(f"{name} has a value that is {problem}", hint=hint)
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise self._build_error(f"{name} is empty", row)
        numbers: Floats = np.asarray(column.to_numpy(), dtype=dtype)
        if not np.isfinite(numbers).all():
            raise self._build_error(f"{name} is not a number", int(np.argmin(np.isfinite(numbers))))
        return numbers

    def _build_error(self, message: str, row: int | None = None, hint: str | None = None) -> ProfileError:
        """Build an error with the line number of a row. `row` is counted from 0; −1 is the header,
        and `None` is the whole file."""
        line = None if row is None or self._first_line is None else max(1, row + self._first_line)
        return ProfileError(message, path=str(self._path), line=line, hint=hint)


def _to_datetime(epoch_s: float) -> datetime.datetime | None:
    try:
        return _EPOCH + datetime.timedelta(seconds=epoch_s)
    except OverflowError:  # the year is after 9999
        return None


_MIN_REQUESTS = 2


def read_trace_statistics(path: Path) -> TraceStatistics:
    """Return the statistics of a trace for planning. The file is read again only if it has changed.

    Raises BadValueError if the trace is invalid, or if it has no two requests at different times.
    """
    return _read_statistics_and_rows(path)[0]


def read_trace_rows(path: Path) -> TraceRows:
    """Return the requests of a trace that a plan replays. Raises the same errors as
    `read_trace_statistics`."""
    return _read_statistics_and_rows(path)[1]


def _read_statistics_and_rows(path: Path) -> tuple[TraceStatistics, TraceRows]:
    try:
        file_status = path.stat()
    except OSError as error:
        raise BadValueError(
            f"the file {path} does not exist", hint="The plan needs the trace. Set traffic.trace to its path."
        ) from error
    return _read_cached_trace(path, file_status.st_mtime_ns, file_status.st_size)


@functools.lru_cache(maxsize=4)
def _read_cached_trace(path: Path, _modified_ns: int, _size: int) -> tuple[TraceStatistics, TraceRows]:
    trace = read_trace(path)
    if len(trace.at_s) < _MIN_REQUESTS or trace.at_s[-1] == 0:
        raise BadValueError(
            f"{path}: the request rate of the trace cannot be computed",
            hint="Use a trace with at least two requests at different times.",
        )
    statistics = compute_trace_statistics(
        trace.at_s, trace.starts_at, (_compute_mean(trace.input_tokens), _compute_mean(trace.output_tokens))
    )
    statistics = msgspec.structs.replace(statistics, prefix_hit_share=_compute_prefix_hit_share(trace))
    input_tokens, output_tokens = trace.input_tokens, trace.output_tokens
    return statistics, select_busiest_rows(
        trace.at_s, None if input_tokens is None or output_tokens is None else (input_tokens, output_tokens)
    )


def _compute_mean(lengths: Lengths | None) -> float | None:
    return None if lengths is None else float(np.mean(lengths, dtype=np.float64))


def _compute_prefix_hit_share(trace: Trace) -> float | None:
    """Return the share of the prompt tokens that a prefix cache of unlimited capacity can serve;
    `None` without hash IDs, or if their block size is unknown."""
    if trace.blocks is None or trace.input_tokens is None:
        return None
    if trace.find_block_mismatch(DEFAULT_BLOCK_TOKENS) is not None:
        return None
    return compute_offered_hits(_iterate_prompts(trace.blocks, trace.input_tokens)).share


def _iterate_prompts(hash_ids: HashIds, input_tokens: Lengths) -> Iterator[list[Segment]]:
    start, ids = 0, hash_ids.ids.tolist()
    for row, (tokens, count) in enumerate(zip(input_tokens.tolist(), hash_ids.counts.tolist(), strict=True)):
        blocks = [(block_id, DEFAULT_BLOCK_TOKENS) for block_id in ids[start : start + count]]
        start += count
        if blocks:
            blocks[-1] = (blocks[-1][0], tokens - DEFAULT_BLOCK_TOKENS * (count - 1))
        yield blocks or [(-2 - row, tokens)]  # a prompt without hash IDs shares no tokens
