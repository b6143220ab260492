from __future__ import annotations

import pytest

from app.records.events import Event, Snapshot, StageStarted
from app.session.local.variant_stages import CallProgress
from app.session.run_log import RunLog
from tests.fakes.callers import plan_of
from tests.fakes.calls import START_NS, call, never, stage_of, table_of
from tests.fakes.clock import FakeClock


def test_a_stage_is_reported_once_and_snapshots_count_the_calls_of_the_measured_part() -> None:
    events: list[Event] = []
    clock = FakeClock(START_NS)
    plan = plan_of("server", rate_per_s=40.0, most_s=2.0)
    progress = CallProgress(3, plan, stage_of().variant, RunLog(events.append, clock), clock)
    rows = table_of([call(0, 10), call(10, 20, query=1), never(2, 30)]).to_batches()[0]
    progress.report_rows(rows, None)
    assert events == [], "it warms up"
    progress.report_rows(rows, START_NS)
    progress.report_rows(table_of([never(3, 40)]).to_batches()[0], START_NS)
    progress.report_rows(rows, START_NS)
    assert [type(event) for event in events] == [StageStarted, Snapshot, Snapshot]
    started, first, second = events
    assert isinstance(started, StageStarted)
    assert (started.index, started.kind, started.duration_s, started.start_ns) == (3, "steady", 2.0, START_NS)
    assert isinstance(first, Snapshot)
    assert isinstance(second, Snapshot)
    assert (first.completed, second.completed) == (2, 4)
    assert first.latency_p50_ms == pytest.approx(12), "of 8 and 16 ms"
