"""One call of a model with its parts timed apart: prepare, copy in, execute, copy out, post-process.

Calls as a table of whole numbers: what streams add while a scenario runs, and what is told of it.
"""

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
"""A row a call, as COLUMNS."""
WIDTH = len(COLUMNS)
_INTENDED, _PREPARED, _EXECUTED, _COPIED_OUT = (
    COLUMNS.index(name) for name in ("intended_ns", "prepared_ns", "executed_ns", "copied_out_ns")
)


def table_of(rows: array[int]) -> Table:
    return np.frombuffer(rows, np.int64).reshape(-1, WIDTH)


def told_since(rows: array[int], told: list[int], stream: int) -> Table:
    """What one stream has added since it was last told; other threads may be adding meanwhile."""
    whole = len(rows) // WIDTH * WIDTH
    part, told[stream] = rows[told[stream] : whole], whole
    return table_of(part)


def joined(parts: Sequence[Table]) -> Table:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def service_ms(table: Table) -> npt.NDArray[np.float64]:
    """Of the call itself: copies and execution."""
    done_ns = np.where(table[:, _COPIED_OUT] >= 0, table[:, _COPIED_OUT], table[:, _EXECUTED])
    times: npt.NDArray[np.float64] = (done_ns - table[:, _PREPARED]) / 1e6
    return times


def never_begun(numbers: Sequence[int], intended_ns: Sequence[int]) -> Table:
    table = np.full((len(numbers), WIDTH), -1, np.int64)
    table[:, 0], table[:, _INTENDED] = numbers, intended_ns
    return table


Times = tuple[int, int, int, int, int, int]
"""Begin, prepared, copied in, executed, copied out, end. The copies are -1 where they are a part of the execution."""
PostProcess = Callable[[Sequence[Array]], object]


class Caller(Protocol):
    """One stream of calls, for one thread. `outputs` are the last call's, and nobody writes to them again."""

    outputs: Sequence[Array]

    def call(self, start: int) -> Times: ...


class PlainCaller:
    """By `run`, which copies inside."""

    def __init__(self, session: ModelSession, rows: InputRows, batch: int, post_process: PostProcess) -> None:
        self.outputs: Sequence[Array] = ()
        self._batch, self._size, self._post_process = rows.batch, batch, post_process
        self._run = session.runtime_session.run
        self._names = [output.name for output in session.outputs]

    def call(self, start: int) -> Times:
        begin_ns = perf_counter_ns()
        feeds = self._batch(start, self._size)
        prepared_ns = perf_counter_ns()
        self.outputs = outputs = self._run(self._names, feeds)
        executed_ns = perf_counter_ns()
        self._post_process(outputs)
        return begin_ns, prepared_ns, -1, executed_ns, -1, perf_counter_ns()


class BoundCaller:
    """By IO binding: inputs have a place on the device that each call writes anew, and outputs one where their shapes
    stay the same, which is what a CUDA graph needs."""

    def __init__(
        self, session: ModelSession, rows: InputRows, batch: int, post_process: PostProcess, device: tuple[str, int]
    ) -> None:
        """`device` is as ONNX Runtime names it, such as ("cuda", 0). Runs the model once, to learn its outputs."""
        self.outputs: Sequence[Array] = ()
        self._batch, self._size, self._post_process = rows.batch, batch, post_process
        self._session = session.runtime_session
        self._binding = self._session.io_binding()
        feeds = rows.batch(0, batch)
        if any(array.dtype == object for array in feeds.values()):
            raise UsageError("inputs of text have no place on a device", hint="Leave out runtime.io_binding.")
        # copies: on a CPU the array itself is the place, and the rows are not to be written over
        self._places = {
            name: ort.OrtValue.ortvalue_from_numpy(np.array(array, order="C"), *device) for name, array in feeds.items()
        }
        for name, place in self._places.items():
            self._binding.bind_ortvalue_input(name, place)
        for output in session.outputs:
            self._binding.bind_output(output.name, *device)
        self._device = device
        self._loose: list[str] = []
        """Outputs that may be of another length each time. Bound once, one would be held to its first."""
        self._session.run_with_iobinding(self._binding)
        batch_axes = {spec.axes[0] for spec in session.inputs if spec.axes}
        for output, place in zip(session.outputs, self._binding.get_outputs(), strict=True):
            if output.dtype != "object" and _keeps_its_shape(output, batch_axes):
                self._binding.bind_ortvalue_output(output.name, place)
            else:
                self._loose.append(output.name)

    def call(self, start: int) -> Times:
        begin_ns = perf_counter_ns()
        feeds = self._batch(start, self._size)
        prepared_ns = perf_counter_ns()
        for name, place in self._places.items():
            place.update_inplace(feeds[name])
        for loose in self._loose:
            self._binding.bind_output(loose, *self._device)
        copied_in_ns = perf_counter_ns()
        self._session.run_with_iobinding(self._binding)
        executed_ns = perf_counter_ns()
        self.outputs = outputs = self._binding.copy_outputs_to_cpu()
        copied_out_ns = perf_counter_ns()
        self._post_process(outputs)
        return begin_ns, prepared_ns, copied_in_ns, executed_ns, copied_out_ns, perf_counter_ns()


def _keeps_its_shape(output: TensorSpec, batch_axes: Container[str | None]) -> bool:
    """Whether it is as long as the batch: a free axis of another name may be as long as what the model finds."""
    is_batch = not output.shape or output.shape[0] > 0 or output.axes[0] in batch_axes
    return is_batch and all(axis > 0 for axis in output.shape[1:])
