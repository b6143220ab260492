"""Calls of one stage of a local model as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from app.analysis.columns import Ints, Nanoseconds, read_times
from app.records.calls import CallStage

Floats = npt.NDArray[np.float64]

CALL_PARTS = {
    "prepare_ms": ("begin_ns", "prepared_ns"),
    "copy_in_ms": ("prepared_ns", "copied_in_ns"),
    "execute_ms": ("copied_in_ns", "executed_ns"),
    "copy_out_ms": ("executed_ns", "copied_out_ns"),
    "post_process_ms": ("copied_out_ns", "end_ns"),
}
"""Names of the columns with the start and end timestamps of each part of a call."""


@dataclass(frozen=True)
class CallRows:
    """Calls inside the measurement window as arrays, with one entry per call, ordered by end time.
    `never_started_ns` holds the scheduled starts of calls that were never started."""

    query: Ints
    stream: Ints
    scheduled_ns: Nanoseconds
    begin_ns: Nanoseconds
    prepared_ns: Nanoseconds
    copied_in_ns: Nanoseconds
    """Time in ns at which the input copy ended; if copies are part of the execution, the start of
    the execution."""
    executed_ns: Nanoseconds
    copied_out_ns: Nanoseconds
    """Time in ns at which the output copy ended; if copies are part of the execution, the end of
    the execution."""
    end_ns: Nanoseconds
    has_separate_copies: bool
    never_started_ns: Nanoseconds

    def __len__(self) -> int:
        return len(self.end_ns)

    @property
    def service_ms(self) -> Floats:
        """Service time of each call in ms: copies and execution, without preparation and
        post-processing."""
        durations_ms: Floats = (self.copied_out_ns - self.prepared_ns) / 1e6
        return durations_ms

    def compute_part_ms(self, part_name: str) -> Floats:
        start_column, end_column = CALL_PARTS[part_name]
        durations_ms: Floats = (getattr(self, end_column) - getattr(self, start_column)) / 1e6
        return durations_ms


def read_calls(rows: pd.DataFrame | pa.Table, stage_data: CallStage) -> CallRows:
    """Read the calls of a stage. `rows` includes the warm-up of the stage, which is dropped."""
    frame = rows.to_pandas(types_mapper=pd.ArrowDtype, use_threads=False) if isinstance(rows, pa.Table) else rows
    begin_ns, has_begun = read_times(frame["begin_ns"])
    copied_in_ns, has_copies = read_times(frame["copied_in_ns"])
    scheduled_ns, has_schedule = read_times(frame["scheduled_ns"])
    query, stream = (
        read_times(frame[name])[0] for name in ("query", "stream")
    )  # a call that never began has no stream
    is_in_stage = has_begun & (begin_ns >= stage_data.start_ns)
    if stage_data.scenario in ("server", "multi-stream"):
        is_in_stage &= has_schedule
    end_ns = read_times(frame["end_ns"])[0]
    order = np.flatnonzero(is_in_stage)
    order = order[np.argsort(end_ns[order], kind="stable")]
    has_separate_copies = bool(order.size) and bool(has_copies[order].all())
    prepared_ns, executed_ns = (read_times(frame[name])[0][order] for name in ("prepared_ns", "executed_ns"))
    return CallRows(
        query=query[order],
        stream=stream[order],
        scheduled_ns=scheduled_ns[order],
        begin_ns=begin_ns[order],
        prepared_ns=prepared_ns,
        copied_in_ns=copied_in_ns[order] if has_separate_copies else prepared_ns,
        executed_ns=executed_ns,
        copied_out_ns=read_times(frame["copied_out_ns"])[0][order] if has_separate_copies else executed_ns,
        end_ns=end_ns[order],
        has_separate_copies=has_separate_copies,
        never_started_ns=scheduled_ns[~has_begun & has_schedule],
    )


def compute_lateness_ms(calls: CallRows) -> Floats:
    """Compute the start delay of each call in ms: the time from the moment at which the call was
    due and a stream was free, to the actual start. Sizewise, not the model, causes this delay."""
    order = np.lexsort((calls.begin_ns, calls.stream))
    stream, begin_ns, end_ns = calls.stream[order], calls.begin_ns[order], calls.end_ns[order]
    free_ns = np.where(np.concatenate([[False], stream[1:] == stream[:-1]]), np.roll(end_ns, 1), 0)
    lateness_ms: Floats = (begin_ns - np.maximum(calls.scheduled_ns[order], free_ns)) / 1e6
    return lateness_ms
