from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from app.profiles.load import LoadSettings
from app.records.search import RateShare
from app.wiring.stages import build_stages
from loadgen.arrivals import compute_offsets_ns
from loadgen.records import ClosedArrivals, OpenArrivals, TraceArrivals


def load(*stages: dict[str, Any], directory: Path = Path("/"), **more: Any) -> LoadSettings:
    context = {"directory": directory, "files_must_exist": True}
    return LoadSettings.model_validate({"stages": list(stages), **more}, context=context)


def test_repeats_of_a_stage_are_separate_stages() -> None:
    stages = build_stages(load({"rate": "5/s", "duration": "2s", "lead_in": "1s", "repeats": 2}))
    assert [stage.repeat for stage in stages] == [1, 2]
    assert stages[0].load.arrivals == OpenArrivals("poisson", ((0.0, 5.0),))
    assert (stages[0].kind, stages[0].load.duration_s, stages[0].load.lead_in_s) == ("steady", 2.0, 1.0)


def test_relative_rate_of_a_closed_loop_becomes_a_rate_share() -> None:
    closed, opened = build_stages(
        load(
            {"name": "closed", "concurrency": 8, "think_time": "100ms", "duration": "2s"},
            {"name": "open", "rate": "80% of closed", "duration": "2s"},
        )
    )
    assert closed.load.arrivals == ClosedArrivals(8, 0.1)
    assert closed.kind == "closed"
    assert opened.rate_share == RateShare("closed", 0.8)
    assert opened.load.arrivals == OpenArrivals("poisson", ((0.0, 1.0),))


def test_spike_has_the_requested_numbers_of_requests() -> None:
    spike = {"base": "50/s", "peak": "300/s", "at": "2s", "for": "1s"}
    (stage,) = build_stages(load({"arrivals": "constant", "spike": spike, "duration": "5s"}))
    assert isinstance(stage.load.arrivals, OpenArrivals)
    at_s = compute_offsets_ns(stage.load.arrivals, 5.0, 0.0, seed=1) / 1e9
    assert np.histogram(at_s, [0, 2, 3, 5])[0].tolist() == [100, 300, 100]


def test_trace_stage_sends_every_request_of_the_trace(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("timestamp\n0\n1\n4\n")
    (stage,) = build_stages(load({"trace": "trace.csv"}, directory=tmp_path))
    assert isinstance(stage.load.arrivals, TraceArrivals)
    assert stage.kind == "varying"
    assert compute_offsets_ns(stage.load.arrivals, stage.load.duration_s, 0.0, seed=1).tolist() == [0, 10**9, 4 * 10**9]


def test_sweep_stages_come_last_and_are_named_by_their_load() -> None:
    stages = build_stages(load({"rate": "5/s", "duration": "2s"}, sweep={"rates": ["50/s", "100/s"], "repeats": 2}))
    assert [(stage.name, stage.kind, stage.repeat, stage.is_in_sweep) for stage in stages] == [
        ("steady", "steady", 1, False),
        ("sweep 50 req/s", "steady", 1, True),
        ("sweep 50 req/s", "steady", 2, True),
        ("sweep 100 req/s", "steady", 1, True),
        ("sweep 100 req/s", "steady", 2, True),
    ]
    assert stages[-1].load.arrivals == OpenArrivals("poisson", ((0.0, 100.0),))
    first, second = build_stages(load(sweep={"max_concurrency": 2}))
    assert (first.name, first.load.arrivals, second.name) == (
        "sweep 1 client",
        ClosedArrivals(1, 0.0),
        "sweep 2 clients",
    )
