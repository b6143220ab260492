"""One row a call of a local model: what `calls.arrow` holds; and what else is known of the stage it belongs to."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.records.estimate import Variant
from app.records.local import Scenario

CALL_SCHEMA = pa.schema(
    [
        ("stage", pa.int32()),
        ("query", pa.int64()),
        ("stream", pa.int32()),
        ("intended_ns", pa.int64()),
        ("begin_ns", pa.int64()),
        ("prepared_ns", pa.int64()),
        ("copied_in_ns", pa.int64()),
        ("executed_ns", pa.int64()),
        ("copied_out_ns", pa.int64()),
        ("end_ns", pa.int64()),
    ],
    metadata={"sizewise.calls": "1"},
)
"""Each time is when that part was done, monotonic. `intended_ns` is when the call, or the query it is a part of, was
due; null where the next one starts when the last one ends. The two copies are null where the runtime makes them inside
the execution. An arrival that was never begun has no times but the intended one."""

COLUMNS = tuple(CALL_SCHEMA.names[1:])
"""Of the packed form: 64-bit numbers, a row a call, -1 for null."""


def unpacked(stage: int, packed: bytes) -> pa.RecordBatch:
    """Rows that crossed a pipe as the bytes of an int64 array [calls, COLUMNS]."""
    table: npt.NDArray[np.int64] = np.frombuffer(packed, np.int64).reshape(-1, len(COLUMNS))
    columns = [pa.array(np.full(len(table), stage, np.int32))]
    for name, values in zip(COLUMNS, table.T, strict=True):
        kept = np.ascontiguousarray(values)
        columns.append(pa.array(kept, mask=kept < 0).cast(CALL_SCHEMA.field(name).type))
    return pa.RecordBatch.from_arrays(columns, schema=CALL_SCHEMA)


class CallStage(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario of one variant. Calls begun before `start_ns` are warm-up, of `warmup_windows` windows.

    With the rows of its `index`, all its numbers can be computed again.
    """

    index: int
    variant: Variant
    scenario: Scenario
    start_ns: int
    end_ns: int
    warmup_windows: int
    has_settled: bool
    """Whether the last three warm-up windows agreed before the warm-up's time was up."""
    half_width: float | None
    """Half of the 95 % interval of the mean time, as a share of it, when the stage ended."""
    wanted_half_width: float
    rate_per_s: float | None = None
    """Of the server scenario: the rate of its Poisson arrivals."""
    in_search: bool = False
    """One of the rates that were tried to find the highest inside the SLO."""
    stopped_early: bool = False
