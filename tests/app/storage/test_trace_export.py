from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from app.errors import UsageError
from app.profiles.traces import read_trace
from app.storage.trace_export import UNUSED_COLUMNS, TraceExport, export_trace
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.queues import build_stage_data

STAGES = [
    msgspec.structs.replace(build_stage_data(), index=index, name=name, kind=kind)
    for index, (name, kind) in enumerate([("warm-up", "warmup"), ("steady", "steady"), ("replay", "varying")])
]


def requests(rows: Sequence[tuple[int, int | None, int | None, int | None]]) -> pa.Table:
    names = [name for name in REQUEST_SCHEMA.names if name not in UNUSED_COLUMNS]
    assert names == ["stage", "scheduled_ns", "tokens_in", "tokens_out"]
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return pa.table({name: pa.array(column, REQUEST_SCHEMA.field(name).type) for name, column in columns})


ROWS = [
    (0, 5, 1, 1), (1, 2_000_000_123, 30, 3), (1, 1_000_000_000, 20, 2), (2, 9_500_000_000, 40, 4),
    (2, 9_700_000_000, 40, None), (2, None, 5, 5),
]  # fmt: skip


def test_scheduled_requests_of_the_stages_are_exported_as_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    assert export_trace(STAGES, requests(ROWS), path) == TraceExport(3, 1, has_tokens=True)
    trace = read_trace(path)
    assert np.rint(trace.at_s * 1e9).tolist() == [0, 1_000_000_123, 8_500_000_000]
    assert trace.input_tokens is not None
    assert trace.output_tokens is not None
    assert (trace.input_tokens.tolist(), trace.output_tokens.tolist()) == ([20, 30, 40], [2, 3, 4])


def test_exported_stage_without_token_counts_has_only_times(tmp_path: Path) -> None:
    rows = [(stage, at_ns, None, None) for stage, at_ns, _, _ in ROWS]
    assert export_trace(STAGES, requests(rows), tmp_path / "trace.csv", "replay") == TraceExport(2, 0, has_tokens=False)
    trace = read_trace(tmp_path / "trace.csv")
    assert trace.at_s.tolist() == pytest.approx([0.0, 0.2])
    assert not trace.has_tokens


def test_run_without_a_trace_to_export_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the run has no stage 'spike'") as caught:
        export_trace(STAGES, requests(ROWS), tmp_path / "trace.csv", "spike")
    assert "warm-up, steady, replay" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no requests with a scheduled start"):
        export_trace(STAGES, requests([(1, None, 1, 1)]), tmp_path / "trace.csv")
    with pytest.raises(UsageError, match="cannot be written"):
        export_trace(STAGES, requests(ROWS), tmp_path / "nowhere" / "trace.csv")
    assert not (tmp_path / "trace.csv").exists()
