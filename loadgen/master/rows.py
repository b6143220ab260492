"""Rows on their way from a worker to the engine: looked at, moved to the master's clock, marked with who sent them.

What a worker's clock says of a moment of the master's, and back.

A ping that was sent at s and answered at a, and whose answer came at r, says that the worker's
clock is a - (s + r) / 2 ahead, give or take half the round trip r - s. The answer with the shortest
round trip says it best (Cristian, 1989).
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from itertools import chain

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loadgen.decoding import batch_header
from loadgen.frames import rows_body, rows_of
from loadgen.records import BATCH_ROWS, ERROR_CLASSES, REQUEST_SCHEMA

_FIRST_WINDOW_NS = 1_000_000_000
"""Short, so that the first stage has an offset that was chosen among several."""
_WINDOW_NS = 10_000_000_000
_MOST_WINDOWS = 30
"""A line holds for minutes; over hours a clock's rate drifts with its temperature."""

_USUAL_SLOPE = 50e-6
"""Of the clocks of two machines: crystals are right to some tens of millionths."""
_STEEPEST_SLOPE = 500e-6
"""No clock is disciplined by more (ntp_adjtime(2))."""
_LEAST_ERROR_NS = 20_000.0

Times = npt.NDArray[np.int64]


class ClockOffset(msgspec.Struct, frozen=True):
    """How far the worker's clock was ahead of the master's when it said `at_ns`; half the round trip is the most that
    this can be wrong."""

    at_ns: int
    offset_ns: int
    round_trip_ns: int


class ClockLine(msgspec.Struct, frozen=True):
    """A worker's clock is ahead by `offset_ns` when it says `origin_ns`, and by `slope` more each nanosecond."""

    origin_ns: int = 0
    offset_ns: int = 0
    slope: float = 0.0

    def master_ns(self, worker_ns: int) -> int:
        return worker_ns - self._ahead_ns(worker_ns)

    def master_times(self, worker_ns: Times) -> Times:
        gained_ns: Times = np.rint((worker_ns - self.origin_ns) * self.slope).astype(np.int64)
        return worker_ns - (self.offset_ns + gained_ns)

    def worker_ns(self, master_ns: int) -> int:
        since_ns = master_ns + self.offset_ns - self.origin_ns
        return self.origin_ns + since_ns + round(since_ns * self.slope / (1 - self.slope))

    def distance_ns(self, reading: ClockOffset) -> int:
        return abs(reading.offset_ns - self._ahead_ns(reading.at_ns))

    def _ahead_ns(self, worker_ns: int) -> int:
        return self.offset_ns + round((worker_ns - self.origin_ns) * self.slope)


SAME_CLOCK = ClockLine()


class WorkerClock:
    """The readings of one worker's clock: of each window the one with the shortest round trip."""

    def __init__(self) -> None:
        self._kept: deque[ClockOffset] = deque(maxlen=_MOST_WINDOWS)
        self._best: ClockOffset | None = None
        self._window_ends_ns: int | None = None
        self.count = 0

    def add(self, sent_ns: int, at_ns: int, received_ns: int) -> None:
        """A ping of the master's and what the worker's clock said to it."""
        reading = ClockOffset(at_ns, at_ns - (sent_ns + received_ns) // 2, received_ns - sent_ns)
        self.count += 1
        if self._window_ends_ns is None:
            self._window_ends_ns = received_ns + _FIRST_WINDOW_NS
        elif received_ns >= self._window_ends_ns:
            if self._best is not None:
                self._kept.append(self._best)
            self._best, self._window_ends_ns = None, received_ns + _WINDOW_NS
        if self._best is None or reading.round_trip_ns < self._best.round_trip_ns:
            self._best = reading

    @property
    def readings(self) -> tuple[ClockOffset, ...]:
        return tuple(chain(self._kept, () if self._best is None else (self._best,)))

    @property
    def round_trip_ns(self) -> int:
        """The longest of the readings that count."""
        return max((reading.round_trip_ns for reading in self.readings), default=0)

    def line(self) -> ClockLine:
        """The least squares' line through the readings. Raises ValueError before the first."""
        return fitted(self.readings)

    def residual_ms(self, line: ClockLine) -> float:
        """How far the clock may have been from the line, at most, as far as it was looked at."""
        return max(line.distance_ns(one) + one.round_trip_ns / 2 for one in self.readings) / 1e6


def fitted(readings: tuple[ClockOffset, ...]) -> ClockLine:
    """Weighted least squares. Raises ValueError without readings.

    What both ways of a round trip differ by for good shifts all readings alike and bends no line; what is longer than
    the shortest was waited somewhere, on one of the ways, so that a reading's error is taken as half of that. The slope
    has a prior of none, give or take what is usual: readings of a second's span say nothing about it, and a line that
    followed their errors would be milliseconds off at the end of a stage.
    """
    if not readings:
        raise ValueError("no reading of the worker's clock")
    origin = readings[-1]
    at = np.array([one.at_ns - origin.at_ns for one in readings], np.float64)
    offset = np.array([one.offset_ns - origin.offset_ns for one in readings], np.float64)
    waited = np.array([one.round_trip_ns for one in readings], np.float64)
    weight = 1 / (((waited - waited.min()) / 2) ** 2 + _LEAST_ERROR_NS**2)
    mean_at, mean_offset = np.average(at, weights=weight), np.average(offset, weights=weight)
    spread = (weight * (at - mean_at) ** 2).sum() + 1 / _USUAL_SLOPE**2
    slope = float((weight * (at - mean_at) * (offset - mean_offset)).sum() / spread)
    slope = min(max(slope, -_STEEPEST_SLOPE), _STEEPEST_SLOPE)
    return ClockLine(origin.at_ns, origin.offset_ns + round(mean_offset - slope * mean_at), slope)


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
