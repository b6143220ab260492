"""Prepare the rows of a worker for the engine: validate the rows, convert their times to the
master's clock, and set the worker index.

The offset of a worker's clock from the master's clock is measured by pings. The master sends a ping
at s, the worker replies at a (on its own clock), and the master receives the reply at r. The
worker's clock is then ahead by a - (s + r) / 2, with an error of at most half the round trip time r
- s. The reply with the shortest round trip time is the most accurate (Cristian, 1989).
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from itertools import chain

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loadgen.decoding import read_batch_header
from loadgen.frames import decode_rows, encode_rows
from loadgen.records import BATCH_ROWS, ERROR_CLASSES, REQUEST_SCHEMA

_FIRST_WINDOW_NS = 1_000_000_000
"""Length in ns of the first time window in which the offset of a worker's clock is measured. It is
shorter than later time windows, so that the first stage already has the best of several
measurements."""
_WINDOW_NS = 10_000_000_000
_MAX_WINDOWS = 30
"""Maximum number of time windows in a linear fit of a clock. A linear fit is valid for minutes;
over hours, the rate of a clock drifts with its temperature."""

_TYPICAL_SLOPE = 50e-6
"""Typical relative rate difference between the clocks of two machines. Quartz oscillators are
accurate to tens of ppm."""
_MAX_SLOPE = 500e-6
"""Maximum relative rate difference between the clocks of two machines. Clock discipline such as NTP
changes the rate by at most 500 ppm (ntp_adjtime(2))."""
_MIN_ERROR_NS = 20_000.0

Times = npt.NDArray[np.int64]


class ClockOffset(msgspec.Struct, frozen=True):
    """Offset of a worker's clock from the master's clock at the time `at_ns` of the worker's clock.
    The offset is positive if the worker's clock is ahead.

    The error of the offset is at most half the round trip time.
    """

    at_ns: int
    offset_ns: int
    round_trip_ns: int


class ClockModel(msgspec.Struct, frozen=True):
    """Linear model of a worker's clock. At the time `origin_ns` of the worker's clock, the clock is
    ahead of the master's clock by `offset_ns`. The offset grows by `slope` nanoseconds per
    nanosecond."""

    origin_ns: int = 0
    offset_ns: int = 0
    slope: float = 0.0

    def to_master_ns(self, worker_ns: int) -> int:
        return worker_ns - self._compute_offset_ns(worker_ns)

    def to_master_times(self, worker_times_ns: Times) -> Times:
        drift_ns: Times = np.rint((worker_times_ns - self.origin_ns) * self.slope).astype(np.int64)
        return worker_times_ns - (self.offset_ns + drift_ns)

    def to_worker_ns(self, master_ns: int) -> int:
        elapsed_ns = master_ns + self.offset_ns - self.origin_ns
        return self.origin_ns + elapsed_ns + round(elapsed_ns * self.slope / (1 - self.slope))

    def compute_deviation_ns(self, offset: ClockOffset) -> int:
        return abs(offset.offset_ns - self._compute_offset_ns(offset.at_ns))

    def _compute_offset_ns(self, worker_ns: int) -> int:
        return self.offset_ns + round((worker_ns - self.origin_ns) * self.slope)


SAME_CLOCK = ClockModel()


class WorkerClock:
    """Measured offsets of one worker's clock. Of each time window, only the offset with the
    shortest round trip time is used."""

    def __init__(self) -> None:
        self._best_offsets: deque[ClockOffset] = deque(maxlen=_MAX_WINDOWS)
        self._window_best_offset: ClockOffset | None = None
        self._window_end_ns: int | None = None
        self.measurement_count = 0

    def add(self, sent_ns: int, at_ns: int, received_ns: int) -> None:
        """Add the measurement of one ping: the times at which the master sent the ping, the worker
        read the ping (on the worker's clock), and the master received the reply."""
        offset = ClockOffset(at_ns, at_ns - (sent_ns + received_ns) // 2, received_ns - sent_ns)
        self.measurement_count += 1
        if self._window_end_ns is None:
            self._window_end_ns = received_ns + _FIRST_WINDOW_NS
        elif received_ns >= self._window_end_ns:
            if self._window_best_offset is not None:
                self._best_offsets.append(self._window_best_offset)
            self._window_best_offset, self._window_end_ns = None, received_ns + _WINDOW_NS
        if self._window_best_offset is None or offset.round_trip_ns < self._window_best_offset.round_trip_ns:
            self._window_best_offset = offset

    @property
    def offsets(self) -> tuple[ClockOffset, ...]:
        return tuple(chain(self._best_offsets, () if self._window_best_offset is None else (self._window_best_offset,)))

    @property
    def round_trip_ns(self) -> int:
        """Longest round trip time of the clock offsets in use, in ns; 0 without offsets."""
        return max((offset.round_trip_ns for offset in self.offsets), default=0)

    def fit_model(self) -> ClockModel:
        """Fit a linear model to the measured clock offsets by weighted least squares. Raises
        ValueError if no offset has been measured."""
        return fit_clock_model(self.offsets)

    def compute_residual_ms(self, clock_model: ClockModel) -> float:
        """Return the maximum deviation of the measured clock offsets from the model in ms. The
        deviation of an offset includes half of its round trip time."""
        return max(clock_model.compute_deviation_ns(offset) + offset.round_trip_ns / 2 for offset in self.offsets) / 1e6


def fit_clock_model(offsets: tuple[ClockOffset, ...]) -> ClockModel:
    """Fit a linear model to clock offsets by weighted least squares. Raises ValueError if `offsets`
    is empty.

    The part of a round trip time that exceeds the shortest round trip time was spent waiting in one
    of the two directions. Half of this part is therefore the error of the offset. A constant
    asymmetry between the directions shifts all offsets equally and does not change the slope. The
    prior of the slope has mean 0 and the typical slope as its standard deviation. Without this
    prior, offsets measured within a second would determine a slope from their errors alone, and
    times would be wrong by milliseconds at the end of a stage.
    """
    if not offsets:
        raise ValueError("the offset of the worker's clock has not been measured")
    last_offset = offsets[-1]
    times_ns = np.array([offset.at_ns - last_offset.at_ns for offset in offsets], np.float64)
    offsets_ns = np.array([offset.offset_ns - last_offset.offset_ns for offset in offsets], np.float64)
    round_trips_ns = np.array([offset.round_trip_ns for offset in offsets], np.float64)
    weights = 1 / (((round_trips_ns - round_trips_ns.min()) / 2) ** 2 + _MIN_ERROR_NS**2)
    mean_time_ns, mean_offset_ns = np.average(times_ns, weights=weights), np.average(offsets_ns, weights=weights)
    weighted_variance = (weights * (times_ns - mean_time_ns) ** 2).sum() + 1 / _TYPICAL_SLOPE**2
    slope = float((weights * (times_ns - mean_time_ns) * (offsets_ns - mean_offset_ns)).sum() / weighted_variance)
    slope = min(max(slope, -_MAX_SLOPE), _MAX_SLOPE)
    return ClockModel(last_offset.at_ns, last_offset.offset_ns + round(mean_offset_ns - slope * mean_time_ns), slope)


_TIME_COLUMNS = tuple(field.name for field in REQUEST_SCHEMA if field.type == pa.int64() and field.name.endswith("_ns"))
_ALLOWED_VALUES = {"error": {*ERROR_CLASSES, None}, "token_source": {"server", "tokenizer", "chunks", None}}
_TIME_LIST_COLUMNS = tuple(field.name for field in REQUEST_SCHEMA if field.type == pa.list_(pa.int64()))


class RebasedRows(msgspec.Struct, frozen=True):
    """Batch of rows on the master's clock, serialized for the engine.

    `sent_count` is the number of requests that were sent. `max_lag_ms` is the maximum send lag of
    these requests, or None if none of them has a scheduled start.
    """

    body: bytes
    sent_count: int
    max_lag_ms: float | None


def rebase_rows(
    body: bytes, stage_index: int, share_index: int, worker_index: int, clock_model: ClockModel
) -> RebasedRows:
    """Convert the times in a worker's batch of rows to the master's clock, and set the worker index
    to `worker_index`.

    `share_index` is the worker's index within the stage; the received rows have it in their
    `worker` column. A batch that is already correct is returned unchanged. Raises ValueError if
    `body` is not a valid batch of this stage and worker, or has too many rows.
    """
    batch = _decode_valid_rows(body, stage_index, share_index)
    sent_count = batch.num_rows - batch.column("sent_ns").null_count
    max_lag_ms = _compute_max_lag_ms(batch)  # a difference of times of the same clock
    if worker_index != share_index or clock_model != SAME_CLOCK:
        body = encode_rows(_rebase_batch(batch, worker_index, clock_model))
    return RebasedRows(body, sent_count, max_lag_ms)


def _decode_valid_rows(body: bytes, stage_index: int, share_index: int) -> pa.RecordBatch:
    try:
        read_batch_header(body)
    except ValueError as error:
        raise ValueError(f"sent invalid data: {error}") from error
    try:
        batch = decode_rows(body)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise ValueError(f"sent an invalid batch of rows ({type(error).__name__})") from error
    row_count = batch.num_rows
    if not 0 < row_count <= BATCH_ROWS:
        raise ValueError(f"sent a batch of {row_count} rows")
    if not batch.column("stage").equals(_build_constant_array(stage_index, pa.int32(), row_count)):
        raise ValueError("sent rows of a different stage")
    if not batch.column("worker").equals(_build_constant_array(share_index, pa.int16(), row_count)):
        raise ValueError("sent rows of a different worker")
    for name, allowed_values in _ALLOWED_VALUES.items():
        column = batch.column(name)
        if column.null_count < row_count and not allowed_values.issuperset(column.to_pylist()):
            raise ValueError(f"sent rows with an unknown value in the column {name}")
    return batch


def _compute_max_lag_ms(batch: pa.RecordBatch) -> float | None:
    sent_times, scheduled_times = batch.column("sent_ns"), batch.column("scheduled_ns")
    lags_ns = (_get_values(sent_times) - _get_values(scheduled_times))[
        _get_validity_mask(sent_times) & _get_validity_mask(scheduled_times)
    ]
    return float(lags_ns.max()) / 1e6 if lags_ns.size else None


def _rebase_batch(batch: pa.RecordBatch, worker_index: int, clock_model: ClockModel) -> pa.RecordBatch:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns["worker"] = _build_constant_array(worker_index, pa.int16(), batch.num_rows)
    if clock_model != SAME_CLOCK:
        columns |= {name: _rebase_times(columns[name], clock_model) for name in _TIME_COLUMNS}
        columns |= {name: _rebase_lists(columns[name], clock_model) for name in _TIME_LIST_COLUMNS}
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=REQUEST_SCHEMA)


def _rebase_times(times: pa.Array, clock_model: ClockModel) -> pa.Array:
    """Convert an array of times from the worker's clock to the master's clock. Null values stay
    null."""
    rebased_times = pa.py_buffer(clock_model.to_master_times(_get_values(times)))
    return pa.Array.from_buffers(times.type, len(times), [times.buffers()[0], rebased_times], times.null_count)


def _rebase_lists(lists: pa.Array, clock_model: ClockModel) -> pa.Array:
    rebased_times = _rebase_times(lists.values, clock_model)
    return pa.Array.from_buffers(
        lists.type, len(lists), lists.buffers()[:2], lists.null_count, children=[rebased_times]
    )


def _get_values(times: pa.Array) -> Times:
    """Return the int64 values of an Arrow array without copying. The array must have offset 0 in
    its buffer, as all arrays that are read from a message do."""
    return np.frombuffer(times.buffers()[1], np.int64, len(times)) if len(times) else np.empty(0, np.int64)


# Arrays are built from buffers: pyarrow imports pandas when it first converts Python or NumPy
# values, which would take half a second of a stage.


def _get_validity_mask(times: pa.Array) -> npt.NDArray[np.bool_]:
    validity_bitmap = times.buffers()[0]
    if validity_bitmap is None:
        return np.ones(len(times), np.bool_)
    return np.unpackbits(np.frombuffer(validity_bitmap, np.uint8), count=len(times), bitorder="little").view(np.bool_)


@lru_cache(maxsize=512)
def _build_constant_array(value: int, data_type: pa.DataType, count: int) -> pa.Array:
    values = np.full(count, value, f"int{data_type.bit_width}")
    return pa.Array.from_buffers(data_type, count, [None, pa.py_buffer(values)])
