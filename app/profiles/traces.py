"""Recorded traffic: a CSV file with a header, one row a request, in the order they came.

`timestamp` is in seconds from anywhere, or a date with a time; `input_tokens` and `output_tokens` are lengths. Names
that public traces have for these columns are known too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from app.errors import ProfileError
from app.profiles.problems import BadValueError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 2**30
_COLUMNS = {
    "timestamp": ("timestamp", "time", "arrived at"),
    "input_tokens": ("input_tokens", "contexttokens", "request tokens", "input_length", "prompt_tokens"),
    "output_tokens": ("output_tokens", "generatedtokens", "response tokens", "output_length", "completion_tokens"),
}
Floats = npt.NDArray[np.float64]
Lengths = npt.NDArray[np.int32]


class Trace(msgspec.Struct, frozen=True):
    """`at_s` counts from the first row, ascending; lengths are there where the file has the columns."""

    at_s: Floats
    input_tokens: Lengths | None
    output_tokens: Lengths | None

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
        return _trace(path)
    except ProfileError as error:
        raise BadValueError(str(error), hint=error.hint) from error


def _trace(path: Path) -> Trace:
    table = _read(path)
    at_s = _seconds(path, _column(table, "timestamp"))
    if at_s is None:
        raise ProfileError("lacks the column timestamp", path=str(path), line=1, hint="In seconds, or as a date.")
    if not len(at_s):
        raise ProfileError("holds no request", path=str(path), hint="Write one request a row, after the header.")
    backwards = np.flatnonzero(np.diff(at_s) < 0)
    if len(backwards):
        raise ProfileError("this request came before the one above it", path=str(path), line=int(backwards[0]) + 3,
                           hint="Sort the trace by timestamp.")  # fmt: skip
    lengths = [_lengths(path, name, _column(table, name)) for name in ("input_tokens", "output_tokens")]
    return Trace(at_s - at_s[0], *lengths)


def _read(path: Path) -> pa.Table:
    import pyarrow as pa  # late: checking a profile without a trace need not wait for it
    from pyarrow import csv

    if path.stat().st_size > MAX_BYTES:
        raise ProfileError("larger than 1 GiB", path=str(path))
    try:
        table = csv.read_csv(path)
        _ = table.column_names  # decoded only now
        return table
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        what = "".join(one for one in str(error).splitlines()[0] if one.isprintable() and one.isascii())[:100]
        raise ProfileError(f"not a CSV file of numbers: {what}", path=str(path)) from error


def _column(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    for index, written in enumerate(table.column_names):
        if written.strip().casefold() in _COLUMNS[name]:
            return table.column(index)
    return None


def _seconds(path: Path, column: pa.ChunkedArray | None) -> Floats | None:
    import pyarrow as pa

    if column is None:
        return None
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", tz=column.type.tz)).cast(pa.int64())
        nanoseconds = _numbers(path, "timestamp", column, np.int64)
        return (nanoseconds - nanoseconds[0]) / 1e9 if len(nanoseconds) else nanoseconds.astype(np.float64)
    return _numbers(path, "timestamp", column, np.float64).astype(np.float64)


def _lengths(path: Path, name: str, column: pa.ChunkedArray | None) -> Lengths | None:
    if column is None:
        return None
    numbers = _numbers(path, name, column, np.float64)
    wrong = np.flatnonzero((numbers < 0) | (numbers > 2**31 - 1) | (numbers != np.rint(numbers)))
    if len(wrong):
        raise ProfileError(f"{name} is not a whole number", path=str(path), line=int(wrong[0]) + 2)
    return numbers.astype(np.int32)


def _numbers(path: Path, name: str, column: pa.ChunkedArray, kind: type[np.generic]) -> npt.NDArray[np.float64]:
    import pyarrow as pa

    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) and len(column):
        what = "neither a number nor a date with a time" if name == "timestamp" else "not a number"
        hint = "All rows are written the same way." if name == "timestamp" else None
        raise ProfileError(f"{name} holds something that is {what}", path=str(path), hint=hint)
    if column.null_count:
        line = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]) + 2
        raise ProfileError(f"{name} is empty", path=str(path), line=line)
    numbers: npt.NDArray[np.float64] = np.asarray(column.to_numpy(), dtype=kind)
    if not np.isfinite(numbers).all():
        raise ProfileError(f"{name} is not a number", path=str(path), line=int(np.argmin(np.isfinite(numbers))) + 2)
    return numbers
