"""Match the spans of a server with the requests of a run that were sent with a trace context, and
add the server's times to the rows of the requests."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.analysis.rows import StageRows, read_rows
from app.analysis.stages import name_classes
from app.errors import UsageError
from app.profiles.trace_spans import SpanTimeKind, read_span_times
from app.reporting.opened import OpenedRun
from loadgen.trace_context import compute_trace_id

_COLUMN_BY_KIND: dict[SpanTimeKind, str] = {
    "queue": "server_queue_ms",
    "prefill": "server_prefill_ms",
    "decode": "server_decode_ms",
}


class SpanMatch(msgspec.Struct, frozen=True):
    """Rows of each stage with the server's times, and the numbers of requests with a span, of all
    requests, and of ignored spans."""

    rows: tuple[StageRows, ...]
    matched_count: int
    request_count: int
    ignored_count: int


def match_spans(run: OpenedRun, path: Path) -> SpanMatch:
    """Match the spans in an OTLP JSON file with the requests of a run.

    Raises UsageError if the file is invalid, or if no span belongs to the run.
    """
    tables = [
        run.table.filter(pc.equal(run.table["stage"], pa.scalar(stage_data.index, run.table["stage"].type)))
        for stage_data in run.data.stage_data
    ]
    trace_ids = [
        [compute_trace_id(run.result.run_id, stage_data.index, number) for number in table["index"].to_pylist()]
        for stage_data, table in zip(run.data.stage_data, tables, strict=True)
    ]
    spans = read_span_times(path, {trace_id for stage_ids in trace_ids for trace_id in stage_ids})
    if not spans.times_ms:
        raise UsageError(
            f"no span in {path} with a queue or prefill time has a trace ID of this run",
            hint="Run with target.traceparent: true, and start the server with tracing, such as vLLM's "
            "--otlp-traces-endpoint.",
        )
    rows = tuple(
        name_classes(read_rows(_add_times(table, stage_ids, spans.times_ms)), stage_data)
        for table, stage_ids, stage_data in zip(tables, trace_ids, run.data.stage_data, strict=True)
    )
    return SpanMatch(rows, len(spans.times_ms), sum(map(len, trace_ids)), spans.ignored_count)


def has_server_times(rows: StageRows) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a mask of the requests whose queue or prefill time is known."""
    if rows.tokens is None:
        return np.zeros(rows.sent_ns.size, dtype=bool)
    return ~(np.isnan(rows.tokens.server_queue_ms) & np.isnan(rows.tokens.server_prefill_ms))


def _add_times(table: pa.Table, trace_ids: list[str], times_ms: dict[str, dict[SpanTimeKind, float]]) -> pa.Table:
    """Return the table with the times of the spans. The times that responses reported themselves are
    dropped, so that all times have the same source."""
    for kind, column in _COLUMN_BY_KIND.items():
        values = pa.array([times_ms.get(trace_id, {}).get(kind) for trace_id in trace_ids], pa.float64())
        position = table.column_names.index(column) if column in table.column_names else None
        table = table.append_column(column, values) if position is None else table.set_column(position, column, values)
    return table
