"""Rows on their way from a worker to the engine: looked at, moved to the master's clock, marked with who sent them."""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loadgen.decoding import batch_header
from loadgen.frames import rows_body, rows_of
from loadgen.master.clocks import SAME_CLOCK, ClockLine, Times
from loadgen.records import BATCH_ROWS, ERROR_CLASSES, REQUEST_SCHEMA

_TIMES = tuple(field.name for field in REQUEST_SCHEMA if field.type == pa.int64() and field.name.endswith("_ns"))
_WORDS = {"error": {*ERROR_CLASSES, None}, "tokens_from": {"server", "tokenizer", "chunks", None}}
_LISTS_OF_TIMES = tuple(field.name for field in REQUEST_SCHEMA if field.type == pa.list_(pa.int64()))


class Passed(msgspec.Struct, frozen=True):
    """A batch as the engine gets it. `max_lag_ms` is None where nothing was sent at a time that was intended."""

    body: bytes
    sent: int
    max_lag_ms: float | None


def passed_rows(body: bytes, stage: int, share: int, worker: int, line: ClockLine) -> Passed:
    """The rows of `worker`, which sends the `share`-th share of the stage and believes that to be its number.

    What need not change is passed on as it came. Raises ValueError for what is no batch of that stage's rows, or has
    too many.
    """
    batch = _looked_at(body, stage, share)
    sent = batch.num_rows - batch.column("sent_ns").null_count
    max_lag_ms = _max_lag_ms(batch)  # one clock with itself
    if worker != share or line != SAME_CLOCK:
        body = rows_body(_moved(batch, worker, line))
    return Passed(body, sent, max_lag_ms)


def _looked_at(body: bytes, stage: int, share: int) -> pa.RecordBatch:
    try:
        batch_header(body)
        batch = rows_of(body)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise ValueError(f"no batch of rows ({type(error).__name__})") from error
    count = batch.num_rows
    if not 0 < count <= BATCH_ROWS:
        raise ValueError(f"{count} rows at once")
    if not batch.column("stage").equals(_repeated(stage, pa.int32(), count)):
        raise ValueError("rows of another stage")
    if not batch.column("worker").equals(_repeated(share, pa.int16(), count)):
        raise ValueError("rows of another worker")
    for name, words in _WORDS.items():
        column = batch.column(name)
        if column.null_count < count and not words.issuperset(column.to_pylist()):
            raise ValueError(f"rows with another {name}")
    return batch


def _max_lag_ms(batch: pa.RecordBatch) -> float | None:
    sent, intended = batch.column("sent_ns"), batch.column("intended_ns")
    lag_ns = (_values(sent) - _values(intended))[_is_valid(sent) & _is_valid(intended)]
    return float(lag_ns.max()) / 1e6 if lag_ns.size else None


def _moved(batch: pa.RecordBatch, worker: int, line: ClockLine) -> pa.RecordBatch:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns["worker"] = _repeated(worker, pa.int16(), batch.num_rows)
    if line != SAME_CLOCK:
        columns |= {name: _moved_times(columns[name], line) for name in _TIMES}
        columns |= {name: _moved_lists(columns[name], line) for name in _LISTS_OF_TIMES}
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=REQUEST_SCHEMA)


def _moved_times(times: pa.Array, line: ClockLine) -> pa.Array:
    """What is under a null is moved too, and stays under it."""
    moved = pa.py_buffer(line.master_times(_values(times)))
    return pa.Array.from_buffers(times.type, len(times), [times.buffers()[0], moved], times.null_count)


def _moved_lists(lists: pa.Array, line: ClockLine) -> pa.Array:
    moved = _moved_times(lists.values, line)
    return pa.Array.from_buffers(lists.type, len(lists), lists.buffers()[:2], lists.null_count, children=[moved])


def _values(times: pa.Array) -> Times:
    """Of an array that begins where its buffer does, as all do that were read from a message."""
    return np.frombuffer(times.buffers()[1], np.int64, len(times)) if len(times) else np.empty(0, np.int64)


# from and to buffers, as the first value that pyarrow itself makes of Python's or NumPy's imports pandas, which takes
# half a second of a stage


def _is_valid(times: pa.Array) -> npt.NDArray[np.bool_]:
    validity = times.buffers()[0]
    if validity is None:
        return np.ones(len(times), np.bool_)
    return np.unpackbits(np.frombuffer(validity, np.uint8), count=len(times), bitorder="little").view(np.bool_)


@lru_cache(maxsize=512)
def _repeated(value: int, kind: pa.DataType, count: int) -> pa.Array:
    values = np.full(count, value, f"int{kind.bit_width}")
    return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(values)])
