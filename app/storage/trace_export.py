"""Export the requests of a run as a trace, which another run or a plan can replay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from app.errors import UsageError
from app.records.stage import StageData
from app.records.stage_kinds import STAGE_KINDS
from app.storage.run_directory import write_document
from loadgen.records import REQUEST_SCHEMA

UNUSED_COLUMNS = tuple(
    name for name in REQUEST_SCHEMA.names if name not in ("stage", "scheduled_ns", "tokens_in", "tokens_out")
)
"""Columns of the request rows that a trace does not need."""


class TraceExport(msgspec.Struct, frozen=True):
    """Number of exported requests, and of requests that were omitted because their token counts are
    unknown although those of others are known."""

    request_count: int
    omitted_count: int
    has_tokens: bool


def export_trace(
    stages: Sequence[StageData], requests: pa.Table, path: Path, stage_name: str | None = None
) -> TraceExport:
    """Write the requests of all stages except warm-ups, or of the stages with one name, to a CSV
    file: their scheduled starts in s from the first one and, if known, their token counts.

    Raises UsageError if there are no such requests, or if the file cannot be written.
    """
    indices = [
        stage.index
        for stage in stages
        if (STAGE_KINDS[stage.kind].is_measured if stage_name is None else stage.name == stage_name)
    ]
    if not indices:
        names = ", ".join(dict.fromkeys(stage.name for stage in stages)) or "none"
        raise UsageError(
            "the run has no measured stage" if stage_name is None else f"the run has no stage {stage_name!r}",
            hint=f"Its stages are: {names}.",
        )
    rows = requests.filter(pc.is_in(requests["stage"], pa.array(indices, requests["stage"].type)))
    rows = rows.filter(pc.is_valid(rows["scheduled_ns"])).sort_by("scheduled_ns")
    if not rows.num_rows:
        hint = "A user's Locust test has no schedule. Export a run with an open or a closed loop."
        raise UsageError("the stage has no requests with a scheduled start", hint=hint)
    is_counted = pc.and_(pc.is_valid(rows["tokens_in"]), pc.is_valid(rows["tokens_out"]))
    counted_rows = rows.filter(is_counted)
    has_tokens = counted_rows.num_rows > 0
    exported_rows = counted_rows if has_tokens else rows
    starts_ns = exported_rows["scheduled_ns"].to_numpy()
    columns = {"timestamp": pa.array((starts_ns - starts_ns[0]) / 1e9)}
    if has_tokens:
        columns |= {"input_tokens": exported_rows["tokens_in"], "output_tokens": exported_rows["tokens_out"]}
    buffer = pa.BufferOutputStream()
    csv.write_csv(pa.table(columns), buffer)
    write_document(path, buffer.getvalue().to_pybytes())
    return TraceExport(exported_rows.num_rows, rows.num_rows - exported_rows.num_rows, has_tokens)
