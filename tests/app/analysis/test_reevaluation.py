from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.reevaluation import clip_stage
from app.analysis.rows import read_rows
from app.analysis.stages import summarize_rows
from app.records.result import Window
from app.records.stage import StageData
from tests.fakes.queues import build_stage_data, constant_s, request_rows

SECOND = 1_000_000_000


@pytest.fixture
def stage_data() -> StageData:
    base = build_stage_data(100.0, 10.0, arrivals="constant")
    return replace(base, rates=((0.0, 100.0),), worker_cpu_s=2.0, end_ns=base.start_ns + 10 * SECOND)


def test_clipping_returns_inside_stage_unchanged_and_drops_outside_stage(stage_data: StageData) -> None:
    arrivals = constant_s(100.0, 10.0)
    rows = read_rows(request_rows(arrivals, np.full(arrivals.size, 0.01)))
    start_ns = stage_data.start_ns
    assert clip_stage(stage_data, rows, Window(start_ns - SECOND, start_ns + 30 * SECOND)) is stage_data
    assert clip_stage(stage_data, rows, Window(start_ns + 20 * SECOND, start_ns + 30 * SECOND)) is None


def test_clipped_stage_counts_only_requests_scheduled_inside_window(stage_data: StageData) -> None:
    arrivals = constant_s(100.0, 10.0)
    slow = np.where(arrivals < 4.0, 0.5, 0.01)
    rows = read_rows(request_rows(arrivals, slow))
    part = clip_stage(stage_data, rows, Window(stage_data.start_ns + 5 * SECOND, stage_data.start_ns + 8 * SECOND))
    assert part is not None
    stage = summarize_rows(rows, None, part, ())
    assert stage.completed == 300
    assert stage.metrics["latency_ms"]["max"].value == pytest.approx(10.0)
    assert stage.offered_per_s.value == pytest.approx(100.0)
    assert part.worker_cpu_s == pytest.approx(0.6)
    assert stage.metrics["latency_ms"]["p99"].value is None
    assert stage.metrics["latency_ms"]["p99"].reason == "300 of 368 required samples"


def test_saturation_is_dropped_if_window_excludes_end_of_stage(stage_data: StageData) -> None:
    arrivals = constant_s(100.0, 10.0)
    rows = read_rows(request_rows(arrivals, np.full(arrivals.size, 0.01)))
    saturated = replace(stage_data, is_saturated=True, stopped_early=True)
    first = clip_stage(saturated, rows, Window(stage_data.start_ns, stage_data.start_ns + 3 * SECOND))
    last = clip_stage(saturated, rows, Window(stage_data.start_ns + 3 * SECOND, stage_data.start_ns + 20 * SECOND))
    assert first is not None
    assert last is not None
    assert (first.is_saturated, last.is_saturated) == (False, True)
