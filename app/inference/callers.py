"""Calls of a model, with separate timestamps for preparation, copy in, execution, copy out and
post-processing.

Each call is a row of an integer table. Streams append rows while a scenario runs, and the new rows
are reported window by window."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container, Sequence
from time import perf_counter_ns
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from app.errors import UsageError
from app.inference.rows import Array, InputRows
from app.inference.session import ModelSession
from app.inference.tensor_spec import TensorSpec
from app.records.calls import COLUMNS

Table = npt.NDArray[np.int64]
"""Table of calls with shape [calls, columns]. The columns are those of
`app.records.calls.COLUMNS`."""
COLUMN_COUNT = len(COLUMNS)
_SCHEDULED_COLUMN, _PREPARED_COLUMN, _EXECUTED_COLUMN, _COPIED_OUT_COLUMN = (
    COLUMNS.index(name) for name in ("scheduled_ns", "prepared_ns", "executed_ns", "copied_out_ns")
)


def view_as_table(rows: array[int]) -> Table:
    """Return packed rows of calls as a table, without copying."""
    return np.frombuffer(rows, np.int64).reshape(-1, COLUMN_COUNT)


def read_new_rows(rows: array[int], reported_lengths: list[int], stream: int) -> Table:
    """Return the calls that one stream has added since its last report, and update the stream's
    entry in `reported_lengths`. Other threads may append calls at the same time."""
    complete_length = len(rows) // COLUMN_COUNT * COLUMN_COUNT
    new_values, reported_lengths[stream] = rows[reported_lengths[stream] : complete_length], complete_length
    return view_as_table(new_values)


def concatenate_tables(tables: Sequence[Table]) -> Table:
    """Concatenate tables of calls; a single table is returned without copying."""
    return tables[0] if len(tables) == 1 else np.concatenate(tables)


def compute_service_times_ms(table: Table) -> npt.NDArray[np.float64]:
    """Return the service time of each call in ms: copy in, execution and copy out."""
    ends_ns = np.where(table[:, _COPIED_OUT_COLUMN] >= 0, table[:, _COPIED_OUT_COLUMN], table[:, _EXECUTED_COLUMN])
    service_times_ms: npt.NDArray[np.float64] = (ends_ns - table[:, _PREPARED_COLUMN]) / 1e6
    return service_times_ms


def build_unstarted_calls(arrival_indices: Sequence[int], scheduled_ns: Sequence[int]) -> Table:
    """Build a table of the arrivals whose calls were never started, with their scheduled starts in
    ns."""
    table = np.full((len(arrival_indices), COLUMN_COUNT), -1, np.int64)
    table[:, 0], table[:, _SCHEDULED_COLUMN] = arrival_indices, scheduled_ns
    return table


CallTimestamps = tuple[int, int, int, int, int, int]
"""Timestamps of a call in ns: begin, prepared, copied in, executed, copied out, end. The timestamps
of copies are -1 if the copies are part of the execution."""
PostProcess = Callable[[Sequence[Array]], object]


class Caller(Protocol):
    """Caller of a model for one stream, used by one thread. `outputs` contains the outputs of the
    last call, which are not modified afterwards."""

    outputs: Sequence[Array]

    def call(self, start: int) -> CallTimestamps: ...


class PlainCaller:
    """Caller that uses the `run` method of ONNX Runtime, so that the execution time of a call
    includes the copies."""

    def __init__(self, session: ModelSession, rows: InputRows, batch: int, post_process: PostProcess) -> None:
        self.outputs: Sequence[Array] = ()
        self._get_batch, self._batch_size, self._post_process = rows.batch, batch, post_process
        self._run = session.runtime_session.run
        self._output_names = [output.name for output in session.outputs]

    def call(self, start: int) -> CallTimestamps:
        begin_ns = perf_counter_ns()
        feeds = self._get_batch(start, self._batch_size)
        prepared_ns = perf_counter_ns()
        self.outputs = outputs = self._run(self._output_names, feeds)
        executed_ns = perf_counter_ns()
        self._post_process(outputs)
        return begin_ns, prepared_ns, -1, executed_ns, -1, perf_counter_ns()


class BoundCaller:
    """Caller that uses IO binding.

    Each call copies its inputs to fixed device buffers. Outputs with a constant shape have fixed
    buffers as well, as CUDA graphs require."""

    def __init__(
        self, session: ModelSession, rows: InputRows, batch: int, post_process: PostProcess, device: tuple[str, int]
    ) -> None:
        """Bind the buffers, and run the model once to determine the shapes of its outputs. `device`
        is the name and index of an ONNX Runtime device, such as ("cuda", 0)."""
        self.outputs: Sequence[Array] = ()
        self._get_batch, self._batch_size, self._post_process = rows.batch, batch, post_process
        self._session = session.runtime_session
        self._binding = self._session.io_binding()
        feeds = rows.batch(0, batch)
        if any(values.dtype == object for values in feeds.values()):
            raise UsageError(
                "runtime.io_binding does not support string inputs", hint="Remove runtime.io_binding from the profile."
            )
        # Copy the array: on a CPU it is used as the buffer, and the rows must not be overwritten.
        self._input_buffers = {
            name: ort.OrtValue.ortvalue_from_numpy(np.array(values, order="C"), *device)
            for name, values in feeds.items()
        }
        for name, buffer in self._input_buffers.items():
            self._binding.bind_ortvalue_input(name, buffer)
        for output in session.outputs:
            self._binding.bind_output(output.name, *device)
        self._device = device
        self._unbound_output_names: list[str] = []
        """Names of the outputs whose shape may change. These outputs are bound again before each
        call, because a fixed binding would preserve the shape of the first call."""
        self._session.run_with_iobinding(self._binding)
        batch_axes = {spec.axes[0] for spec in session.inputs if spec.axes}
        for output, buffer in zip(session.outputs, self._binding.get_outputs(), strict=True):
            if output.dtype != "object" and _has_constant_shape(output, batch_axes):
                self._binding.bind_ortvalue_output(output.name, buffer)
            else:
                self._unbound_output_names.append(output.name)

    def call(self, start: int) -> CallTimestamps:
        begin_ns = perf_counter_ns()
        feeds = self._get_batch(start, self._batch_size)
        prepared_ns = perf_counter_ns()
        for name, buffer in self._input_buffers.items():
            buffer.update_inplace(feeds[name])
        for output_name in self._unbound_output_names:
            self._binding.bind_output(output_name, *self._device)
        copied_in_ns = perf_counter_ns()
        self._session.run_with_iobinding(self._binding)
        executed_ns = perf_counter_ns()
        self.outputs = outputs = self._binding.copy_outputs_to_cpu()
        copied_out_ns = perf_counter_ns()
        self._post_process(outputs)
        return begin_ns, prepared_ns, copied_in_ns, executed_ns, copied_out_ns, perf_counter_ns()


def _has_constant_shape(output: TensorSpec, batch_axes: Container[str | None]) -> bool:
    """Return True if the shape of an output depends only on the batch size. If the first axis is
    dynamic and is not named like a batch axis of an input, its length may depend on the data, such
    as a number of detections."""
    is_first_axis_predictable = not output.shape or output.shape[0] > 0 or output.axes[0] in batch_axes
    return is_first_axis_predictable and all(dim > 0 for dim in output.shape[1:])
