"""The calls of one stage of a local model as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from app.analysis.columns import Nanoseconds, known_times
from app.records.calls import CallStage

Floats = npt.NDArray[np.float64]

PARTS = {
    "prepare_ms": ("begin_ns", "prepared_ns"),
    "copy_in_ms": ("prepared_ns", "copied_in_ns"),
    "execute_ms": ("copied_in_ns", "executed_ns"),
    "copy_out_ms": ("executed_ns", "copied_out_ns"),
    "post_process_ms": ("copied_out_ns", "end_ns"),
}
"""Of a call: from which of its times to which."""


@dataclass(frozen=True)
class CallRows:
    """One entry a call of the measured part, in the order of their ends; `never_begun_ns` are arrivals not got to."""

    query: Nanoseconds
    stream: Nanoseconds
    intended_ns: Nanoseconds
    begin_ns: Nanoseconds
    prepared_ns: Nanoseconds
    copied_in_ns: Nanoseconds
    """Where copies are a part of the execution: when that began."""
    executed_ns: Nanoseconds
    copied_out_ns: Nanoseconds
    """Where copies are a part of the execution: when that ended."""
    end_ns: Nanoseconds
    copies_apart: bool
    never_begun_ns: Nanoseconds

    def __len__(self) -> int:
        return len(self.end_ns)

    @property
    def service_ms(self) -> Floats:
        """Of the call itself: copies and execution, as a bare call of the runtime takes."""
        times: Floats = (self.copied_out_ns - self.prepared_ns) / 1e6
        return times

    def part_ms(self, part: str) -> Floats:
        first, last = PARTS[part]
        times: Floats = (getattr(self, last) - getattr(self, first)) / 1e6
        return times


def read_calls(rows: pd.DataFrame | pa.Table, facts: CallStage) -> CallRows:
    """`rows` are those of the stage, its warm-up too, which is left out."""
    frame = rows.to_pandas(types_mapper=pd.ArrowDtype) if isinstance(rows, pa.Table) else rows
    begin_ns, has_begun = known_times(frame["begin_ns"])
    copied_in_ns, has_copies = known_times(frame["copied_in_ns"])
    intended_ns, is_due = known_times(frame["intended_ns"])
    query, stream = (known_times(frame[name])[0] for name in ("query", "stream"))  # no stream took what never began
    inside = has_begun & (begin_ns >= facts.start_ns)
    if facts.scenario in ("server", "multi-stream"):
        inside &= is_due
    end_ns = known_times(frame["end_ns"])[0]
    order = np.flatnonzero(inside)
    order = order[np.argsort(end_ns[order], kind="stable")]
    copies_apart = bool(order.size) and bool(has_copies[order].all())
    prepared_ns, executed_ns = (known_times(frame[name])[0][order] for name in ("prepared_ns", "executed_ns"))
    return CallRows(
        query=query[order],
        stream=stream[order],
        intended_ns=intended_ns[order],
        begin_ns=begin_ns[order],
        prepared_ns=prepared_ns,
        copied_in_ns=copied_in_ns[order] if copies_apart else prepared_ns,
        executed_ns=executed_ns,
        copied_out_ns=known_times(frame["copied_out_ns"])[0][order] if copies_apart else executed_ns,
        end_ns=end_ns[order],
        copies_apart=copies_apart,
        never_begun_ns=intended_ns[~has_begun & is_due],
    )


def lateness_ms(calls: CallRows) -> Floats:
    """How long after it was due and a stream was free each call began: what this program itself added."""
    order = np.lexsort((calls.begin_ns, calls.stream))
    stream, begin_ns, end_ns = calls.stream[order], calls.begin_ns[order], calls.end_ns[order]
    free_ns = np.where(np.concatenate([[False], stream[1:] == stream[:-1]]), np.roll(end_ns, 1), 0)
    late: Floats = (begin_ns - np.maximum(calls.intended_ns[order], free_ns)) / 1e6
    return late
