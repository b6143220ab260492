from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.gui.results.requests_frame import build_mask, requests_frame
from app.reporting.opened import load_run
from app.storage.run_directory import StoredRun
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.stored_runs import stored_run


def test_requests_frame_has_a_row_per_request_with_its_latency(stages: Path) -> None:
    run = load_run(StoredRun(stages))
    frame = requests_frame(run)
    assert len(frame) == run.table.num_rows
    assert frame["latency_ms"].is_monotonic_decreasing
    table = run.table.to_pandas()
    expected = np.sort(((table["end_ns"] - table["scheduled_ns"]) / 1e6).to_numpy())[::-1]
    assert frame["latency_ms"].to_numpy() == pytest.approx(expected)
    middle = run.result.stages[1]
    middle_rows = frame[frame["stage"] == "middle"]
    assert len(middle_rows) == middle.completed
    assert middle_rows["latency_ms"].max() == pytest.approx(middle.metrics["latency_ms"]["max"].value)


def test_failed_requests_have_no_latency_and_match_their_error_filter(tmp_path: Path) -> None:
    clock = FakeClock()
    load = ScriptedLoad(clock, error="timeout", error_share=0.25)
    run = load_run(stored_run(tmp_path / "run", load=load, clock=clock))
    frame = requests_frame(run)
    failed = build_mask(frame, None, "failed", "timeout", None)
    assert failed is not None
    assert failed.sum() == sum(sum(stage.errors.values()) for stage in run.result.stages) > 0
    assert frame.loc[failed, "latency_ms"].isna().all()
    failed_in_low = build_mask(frame, "low", "failed", None, None)
    assert failed_in_low is not None
    assert 0 < failed_in_low.sum() < failed.sum()
    assert build_mask(frame, None, None, "no such error", None) is not None
    assert not build_mask(frame, None, None, "no such error", None).any()  # type: ignore[union-attr]
    assert build_mask(frame, None, None, None, None) is None
