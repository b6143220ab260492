"""Recorded traffic: a file of one request a row, in the order they came; CSV or JSON lines, gzip or not.

`timestamp` is in seconds from anywhere, or a date with a time; `input_tokens` and `output_tokens` are lengths. Names
that public traces have for these columns are known too: those of Azure's (LLM inference; invocations of functions),
of Mooncake's and of BurstGPT. Numbers too large for seconds since 1970 are milli-, micro- or nanoseconds since then;
Mooncake's, known by its `hash_ids`, are milliseconds.

A trace file as a table: CSV with a header, or one JSON object a line; either may be compressed with
gzip.

Nothing in it is trusted: 1 GiB of text, 50 million rows of CSV and 5 million JSON lines are the
most that is read.

The facts of a trace file, for planning.
"""

from __future__ import annotations

import datetime
import functools
import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from app.analysis.traces import busiest_rows, trace_facts
from app.errors import ProfileError
from app.profiles.problems import BadValueError
from app.records.traffic import TraceFacts, TraceRows
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


_COLUMNS = {
    "timestamp": ("timestamp", "time", "arrived at", "arrival_time", "arrived_at"),
    "input_tokens": ("input_tokens", "contexttokens", "request tokens", "input_length", "prompt_tokens"),
    "output_tokens": ("output_tokens", "generatedtokens", "response tokens", "output_length", "completion_tokens"),
    "ended": ("end_timestamp",),
    "duration": ("duration",),
    "hashes": ("hash_ids",),
}
_KNOWN = frozenset(name for names in _COLUMNS.values() for name in names)
_LONGEST_S = 10 * 366 * 86_400.0
_FIRST_EPOCH_S = 1e8  # 1973: what counts from anywhere else does not come so far
_EPOCH = datetime.datetime.combine(datetime.date(1970, 1, 1), datetime.time())
_EPOCH_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
Floats = npt.NDArray[np.float64]
Lengths = npt.NDArray[np.int32]


class Trace(msgspec.Struct, frozen=True):
    """`at_s` counts from the first row, ascending; lengths are there where the file has the columns.

    `starts_at`, of UTC or as it is written, is there where the file has dates.
    """

    at_s: Floats
    input_tokens: Lengths | None
    output_tokens: Lengths | None
    starts_at: datetime.datetime | None = None

    @property
    def has_tokens(self) -> bool:
        return self.input_tokens is not None and self.output_tokens is not None


def check_token_columns(path: Path) -> None:
    """Raises BadValueError where a trace cannot say how long prompts and answers are."""
    if not read_trace(path).has_tokens:
        raise BadValueError(f"{path.name} lacks the column input_tokens or output_tokens")


def read_trace(path: Path) -> Trace:
    """Raises BadValueError, with the file's line where it has one."""
    try:
        rows = _Rows(path, read_table(path, _KNOWN))
        at_s, starts_at = rows.times()
        return Trace(at_s, rows.lengths("input_tokens"), rows.lengths("output_tokens"), starts_at)
    except ProfileError as error:
        raise BadValueError(str(error), hint=error.hint) from error


class _Rows:
    """The columns of one file; what is wrong with one is a ProfileError."""

    def __init__(self, path: Path, read: TraceTable) -> None:
        self._path, self._table, self._first_line = path, read.table, read.first_line

    def times(self) -> tuple[Floats, datetime.datetime | None]:
        """Seconds from the first, and when that was."""
        column = self._column("timestamp")
        if column is None:
            at_s, starts_at = self._of_invocations(), None
        elif not len(column):
            raise self._wrong("holds no request", hint="Write one request a row, after the header.")
        else:
            at_s, starts_at = self._seconds(column)
        backwards = np.flatnonzero(np.diff(at_s) < 0)
        if len(backwards):
            raise self._wrong("this request came before the one above it", int(backwards[0]) + 1,
                              hint="Sort the trace by timestamp.")  # fmt: skip
        if at_s[-1] > _LONGEST_S:
            raise self._wrong(
                "this request came more than ten years after the first", int(np.argmax(at_s > _LONGEST_S))
            )
        return at_s, starts_at

    def _of_invocations(self) -> Floats:
        """Begins from ends and durations, which are sorted by the end at most."""
        ended, duration = self._column("ended"), self._column("duration")
        if ended is None or duration is None:
            raise self._wrong("lacks the column timestamp", -1, hint="In seconds, or as a date.")
        if not len(ended):
            raise self._wrong("holds no request", hint="Write one request a row, after the header.")
        begins = np.sort(self._numbers("end_timestamp", ended) - self._numbers("duration", duration))
        at_s: Floats = begins - begins[0]
        return at_s

    def _seconds(self, column: pa.ChunkedArray) -> tuple[Floats, datetime.datetime | None]:
        import pyarrow as pa

        if pa.types.is_string(column.type):
            column = self._dates(column)
        if pa.types.is_timestamp(column.type):
            try:
                column = column.cast(pa.timestamp("ns", tz=column.type.tz)).cast(pa.int64())
            except pa.ArrowException as error:
                raise self._wrong("timestamp holds a date outside of the years 1678 to 2261") from error
            nanoseconds = self._numbers("timestamp", column, np.int64)
            return (nanoseconds - nanoseconds[0]) / 1e9, _date(float(nanoseconds[0]) / 1e9)
        whole = pa.types.is_integer(column.type)
        numbers = self._numbers("timestamp", column, np.int64 if whole else np.float64)
        if (numbers < 0).any():
            raise self._wrong("timestamp is below zero", int(np.argmax(numbers < 0)))
        if self._column("hashes") is not None:
            return (numbers - numbers[0]) / 1e3, None
        a_second = next((unit for least, unit in _EPOCH_UNITS if numbers[0] >= least), 1.0)
        first_s = float(numbers[0]) / a_second
        return (numbers - numbers[0]) / a_second, _date(first_s) if first_s >= _FIRST_EPOCH_S else None

    def _dates(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Of text that is dates, as JSON has them and CSV where the zone is written in a part of the rows."""
        import pyarrow as pa

        for zone in (None, "UTC"):
            try:
                return column.cast(pa.timestamp("ns", tz=zone))
            except pa.ArrowException:
                continue
        return column

    def lengths(self, name: str) -> Lengths | None:
        column = self._column(name)
        if column is None:
            return None
        numbers = self._numbers(name, column)
        wrong = np.flatnonzero((numbers < 0) | (numbers > 2**31 - 1) | (numbers != np.rint(numbers)))
        if len(wrong):
            raise self._wrong(f"{name} is not a whole number", int(wrong[0]))
        return numbers.astype(np.int32)

    def _column(self, name: str) -> pa.ChunkedArray | None:
        for index, written in enumerate(self._table.column_names):
            if written.strip().casefold() in _COLUMNS[name]:
                return self._table.column(index)
        return None

    def _numbers(self, name: str, column: pa.ChunkedArray, kind: type[np.generic] = np.float64) -> Floats:
        import pyarrow as pa

        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) and len(column):
            what = "neither a number nor a date with a time" if name == "timestamp" else "not a number"
            hint = "All rows are written the same way." if name == "timestamp" else None
            raise self._wrong(f"{name} holds something that is {what}", hint=hint)
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise self._wrong(f"{name} is empty", row)
        numbers: Floats = np.asarray(column.to_numpy(), dtype=kind)
        if not np.isfinite(numbers).all():
            raise self._wrong(f"{name} is not a number", int(np.argmin(np.isfinite(numbers))))
        return numbers

    def _wrong(self, what: str, row: int | None = None, hint: str | None = None) -> ProfileError:
        """In a row counted from 0; −1 is the header, None the file."""
        line = None if row is None else max(1, row + self._first_line)
        return ProfileError(what, path=str(self._path), line=line, hint=hint)


def _date(epoch_s: float) -> datetime.datetime | None:
    try:
        return _EPOCH + datetime.timedelta(seconds=epoch_s)
    except OverflowError:  # of a year beyond 9999
        return None


_FEWEST = 2


def facts_of_trace(path: Path) -> TraceFacts:
    """Raises BadValueError, also for a trace that has no rate. Read again only when the file changed."""
    return _of_file(path)[0]


def rows_of_trace(path: Path) -> TraceRows:
    """What a plan replays of the trace; raises as `facts_of_trace` does."""
    return _of_file(path)[1]


def _of_file(path: Path) -> tuple[TraceFacts, TraceRows]:
    try:
        state = path.stat()
    except OSError as error:
        raise BadValueError(f"no such file: {path}", hint="The plan needs the trace: name it again.") from error
    return _read(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4)
def _read(path: Path, _changed_ns: int, _size: int) -> tuple[TraceFacts, TraceRows]:
    trace = read_trace(path)
    if len(trace.at_s) < _FEWEST or trace.at_s[-1] == 0:
        raise BadValueError(f"{path}: has no rate: it takes two requests at different times")
    facts = trace_facts(trace.at_s, trace.starts_at, (_mean(trace.input_tokens), _mean(trace.output_tokens)))
    inputs, outputs = trace.input_tokens, trace.output_tokens
    return facts, busiest_rows(trace.at_s, None if inputs is None or outputs is None else (inputs, outputs))


def _mean(lengths: Lengths | None) -> float | None:
    return None if lengths is None else float(np.mean(lengths, dtype=np.float64))
