from __future__ import annotations

import pytest

from app.errors import ExitCode
from app.records.events import Event, PhaseChanged
from app.records.result import WorkerData
from app.session.interruption import Interruption
from app.session.run_log import RunLog
from app.session.worker_joining import build_join_callback, build_worker_data
from loadgen.process import LoadError
from loadgen.records import Joining, WorkerStageResult


def test_each_number_of_joined_workers_is_reported_once() -> None:
    events: list[Event] = []
    report_joined = build_join_callback(RunLog(events.append, lambda: 1), Interruption())
    for count in (0, 0, 1, 1, 2):
        report_joined(Joining("10.0.0.1:5557", count, 2))
    assert events == [
        PhaseChanged(1, "workers", f"waiting for 2 workers at 10.0.0.1:5557: {count} joined")
        for count in ("0 have", "1 has", "2 have")
    ]


def test_stop_request_ends_the_wait_for_workers() -> None:
    interruption = Interruption()
    report_joined = build_join_callback(RunLog(lambda _: None, lambda: 1), interruption)
    report_joined(Joining("10.0.0.1:5557", 0, 1))
    interruption.request_stop(ExitCode.INTERRUPTED)
    with pytest.raises(LoadError, match="the run was interrupted while waiting for workers"):
        report_joined(Joining("10.0.0.1:5557", 0, 1))


def test_worker_data_are_built_from_the_stage_results_of_workers() -> None:
    part = WorkerStageResult(1, "other", 77, 0.5, 100, 2.0, clock_residual_ms=0.3, lost_ns=9, cpu_wait_s=0.4)
    assert build_worker_data([part]) == (WorkerData(1, "other", 77, 0.5, 100, 2.0, 0.3, 9, 0.4),)
