"""Calls of a stage as rows, from their times in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from app.records.calls import COLUMNS, CallStage, unpack_calls
from app.records.estimate import Variant
from app.records.local import Scenario

START_NS = 10**9


def call(
    begin_ms: float, duration_ms: float, *, query: int = 0, stream: int = 0, due_ms: float | None = None
) -> list[float]:
    """A call: a tenth of its duration is preparation, a tenth postprocessing; copies are part of the execution."""
    due = -1.0 if due_ms is None else due_ms
    end_ms = begin_ms + duration_ms
    return [query, stream, due, begin_ms, begin_ms + duration_ms / 10, -1, end_ms - duration_ms / 10, -1, end_ms]


def call_with_copies(begin_ms: float, duration_ms: float) -> list[float]:
    """A call with copies of a tenth of its duration each before and after the execution."""
    row = call(begin_ms, duration_ms)
    row[5], row[7] = begin_ms + duration_ms / 5, row[6]
    row[6] -= duration_ms / 10
    return row


def unserved_call(query: int, due_ms: float) -> list[float]:
    """An arrival whose call was never started."""
    return [query, -1, due_ms, -1, -1, -1, -1, -1, -1]


def table_of(calls: Sequence[Sequence[float]]) -> pa.Table:
    """The rows of the calls; milliseconds count from the start of the measured part."""
    table = np.array(calls, np.float64).reshape(-1, len(COLUMNS))
    times = table[:, 2:]
    table[:, 2:] = np.where(times == -1, -1, START_NS + times * 1e6)
    return pa.Table.from_batches([unpack_calls(0, table.round().astype(np.int64).tobytes())])


def stage_of(
    scenario: Scenario = "single-stream",
    *,
    seconds: float = 1.0,
    batch: int = 1,
    streams: int = 1,
    rate_per_s: float | None = None,
    half_width: float | None = 0.01,
    is_stationary: bool = True,
) -> CallStage:
    return CallStage(
        index=0,
        variant=Variant("m", "cpu", "as-is", batch, threads=1, streams=streams),
        scenario=scenario,
        start_ns=START_NS,
        end_ns=START_NS + round(seconds * 1e9),
        warmup_windows=3,
        is_stationary=is_stationary,
        half_width=half_width,
        target_half_width=0.02,
        rate_per_s=rate_per_s,
    )
