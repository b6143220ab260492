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


def test_every_request_is_a_row_with_its_own_times(stages: Path) -> None:
    run = load_run(StoredRun(stages))
    frame = requests_frame(run)
    assert len(frame) == run.table.num_rows
    assert frame["latency_ms"].is_monotonic_decreasing
    table = run.table.to_pandas()
    expected = np.sort(((table["end_ns"] - table["scheduled_ns"]) / 1e6).to_numpy())[::-1]
    assert frame["latency_ms"].to_numpy() == pytest.approx(expected)
    middle = run.result.stages[1]
    inside = frame[frame["stage"] == "middle"]
    assert len(inside) == middle.completed
    assert inside["latency_ms"].max() == pytest.approx(middle.metrics["latency_ms"]["max"].value)


def test_what_failed_has_no_latency_and_is_found_by_its_error(tmp_path: Path) -> None:
    clock = FakeClock()
    load = ScriptedLoad(clock, error="timeout", error_share=0.25)
    run = load_run(stored_run(tmp_path / "run", load=load, clock=clock))
    frame = requests_frame(run)
    failed = build_mask(frame, None, "failed", "timeout", None)
    assert failed is not None
    assert failed.sum() == sum(sum(stage.errors.values()) for stage in run.result.stages) > 0
    assert frame.loc[failed, "latency_ms"].isna().all()
    both = build_mask(frame, "low", "failed", None, None)
    assert both is not None
    assert 0 < both.sum() < failed.sum()
    assert build_mask(frame, None, None, "no such error", None) is not None
    assert not build_mask(frame, None, None, "no such error", None).any()  # type: ignore[union-attr]
    assert build_mask(frame, None, None, None, None) is None
