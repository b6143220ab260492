"""Schema of `calls.arrow`, which has one row per call of a local model, and the data of a stage of
calls."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.records.estimate import Variant
from app.records.local import GenerationTest, Scenario

CALL_SCHEMA = pa.schema(
    [
        ("stage", pa.int32()),
        ("query", pa.int64()),
        ("stream", pa.int32()),
        ("scheduled_ns", pa.int64()),
        ("begin_ns", pa.int64()),
        ("prepared_ns", pa.int64()),
        ("copied_in_ns", pa.int64()),
        ("executed_ns", pa.int64()),
        ("copied_out_ns", pa.int64()),
        ("end_ns", pa.int64()),
    ],
    metadata={"sizewise.calls": "1"},
)
"""Arrow schema of `calls.arrow`. All times are in ns on the monotonic clock: `begin_ns` is the
start of the call, and each later column is the end of a phase of the call.

`scheduled_ns` is the scheduled start of the call, or of the query that contains the call; null if
each call starts when the previous call ends. `copied_in_ns` and `copied_out_ns` are null if the
runtime copies during execution. An arrival that was never started has only its scheduled start.
"""

_COLUMN_FIELDS = tuple(CALL_SCHEMA)[1:]
COLUMNS = tuple(field.name for field in _COLUMN_FIELDS)
"""Columns of the packed format, in which each call is one row of 64-bit integers and -1 stands for
null."""


def unpack_calls(stage: int, packed_rows: bytes) -> pa.RecordBatch:
    """Convert packed rows from a worker to a record batch of `CALL_SCHEMA`. `packed_rows` holds the
    bytes of an int64 array of shape [calls, COLUMNS]."""
    table: npt.NDArray[np.int64] = np.frombuffer(packed_rows, np.int64).reshape(-1, len(COLUMNS))
    columns = [pa.array(np.full(len(table), stage, np.int32))]
    for field, values in zip(_COLUMN_FIELDS, np.ascontiguousarray(table.T), strict=True):
        column = pa.array(values, mask=values < 0)
        columns.append(column if field.type == column.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=CALL_SCHEMA)


class CallStage(msgspec.Struct, frozen=True, kw_only=True):
    """Data of one scenario of one variant. Calls that began before `start_ns` belong to the
    warm-up, which consists of `warmup_windows` windows.

    All metrics of the stage can be recomputed from this record and the rows of `calls.arrow` whose
    `stage` equals `index`.

    In the generation scenario, each row is one step of the model, and `query` is the number of the
    repetition. The first step of a test with a prompt is the prefill with the sampling of the first
    token; its `executed_ns` is the end of the prefill. Every other step generates one token per
    sequence of the batch.
    """

    index: int
    variant: Variant
    scenario: Scenario
    start_ns: int
    end_ns: int
    warmup_windows: int
    is_stationary: bool
    """True if the medians of the last three warm-up windows agreed before the time limit of the
    warm-up."""
    half_width: float | None
    """Half-width of the 95 % confidence interval of the mean latency at the end of the stage, as a
    fraction of the mean."""
    target_half_width: float
    rate_per_s: float | None = None
    """Rate of the Poisson arrivals in the server scenario; None in other scenarios."""
    test: GenerationTest | None = None
    """Test that is repeated in the generation scenario; None in other scenarios."""
    repeat: int = 1
    """Number of the measurement, from 1, if the same scenario is measured several times."""
    in_search: bool = False
    """True if the stage belongs to the search for the max rate within the SLO."""
    stopped_early: bool = False
