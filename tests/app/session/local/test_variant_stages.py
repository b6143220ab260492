from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.records.events import Event, Snapshot, StageStarted
from app.records.local import GenerationTest
from app.session.local.variant_stages import CallProgress
from app.session.run_log import RunLog
from tests.fakes.callers import plan_of
from tests.fakes.calls import START_NS, call, stage_of, table_of, unserved_call
from tests.fakes.clock import FakeClock
from tests.fakes.steps import steps


def test_stage_is_reported_once_and_snapshots_exclude_warm_up_calls() -> None:
    events: list[Event] = []
    clock = FakeClock(START_NS)
    plan = plan_of("server", rate_per_s=40.0, max_s=2.0)
    progress = CallProgress(3, plan, stage_of().variant, RunLog(events.append, clock), clock)
    rows = table_of([call(0, 10), call(10, 20, query=1), unserved_call(2, 30)]).to_batches()[0]
    progress.report_rows(rows, None)
    assert events == [], "the warm-up reports nothing"
    progress.report_rows(rows, START_NS)
    progress.report_rows(table_of([unserved_call(3, 40)]).to_batches()[0], START_NS)
    progress.report_rows(rows, START_NS)
    assert [type(event) for event in events] == [StageStarted, Snapshot, Snapshot]
    started, first, second = events
    assert isinstance(started, StageStarted)
    assert (started.index, started.kind, started.duration_s, started.start_ns) == (3, "steady", 2.0, START_NS)
    assert isinstance(first, Snapshot)
    assert isinstance(second, Snapshot)
    assert (first.completed, second.completed) == (2, 4)
    assert first.latency_p50_ms == pytest.approx(12), "p50 of 8 and 16 ms"


@pytest.mark.parametrize(
    ("test", "tokens"), [(GenerationTest(16, 3), 9), (GenerationTest(0, 3), 9), (GenerationTest(16, 0), None)]
)
def test_snapshot_of_a_language_model_counts_a_token_of_each_sequence_per_step(
    test: GenerationTest, tokens: int | None
) -> None:
    events: list[Event] = []
    clock = FakeClock(START_NS)
    plan = replace(plan_of("generation"), test=test, batch=3)
    progress = CallProgress(0, plan, stage_of().variant, RunLog(events.append, clock), clock)
    progress.report_rows(table_of(steps(0, 0, [2, 3], prefill_ms=9)).to_batches()[0], START_NS)
    started, snapshot = events
    assert isinstance(started, StageStarted)
    assert started.name.startswith(f"{test.name}: ")
    assert isinstance(snapshot, Snapshot)
    assert (snapshot.completed, snapshot.output_tokens) == (3, tokens)
    assert started.test == test.name


def test_snapshot_has_the_rates_and_latencies_of_the_last_second() -> None:
    events: list[Event] = []
    clock = FakeClock(START_NS)
    plan = replace(plan_of("generation"), test=GenerationTest(16, 3), batch=2)
    progress = CallProgress(0, plan, stage_of().variant, RunLog(events.append, clock), clock)
    first = steps(0, 0, [10, 30], prefill_ms=40)
    for rows in (first[:2], [first[2], *steps(1, 2000, [20, 20], prefill_ms=80)]):
        progress.report_rows(table_of(rows).to_batches()[0], START_NS)
    early, late = (event for event in events if isinstance(event, Snapshot))
    assert early.prefill_tokens_per_s == pytest.approx(2 * 16 / 0.040)
    assert early.ttft_p50_ms == pytest.approx(41)
    assert early.itl_p50_ms == pytest.approx(10)
    assert early.decode_tokens_per_s == pytest.approx(2 / 0.010)
    assert late.prefill_tokens_per_s == pytest.approx(2 * 16 / 0.080), "a prefill 2 s earlier is not counted"
    assert late.ttft_p95_ms == pytest.approx(81)
    assert late.itl_p99_ms == pytest.approx(20)
    assert late.decode_tokens_per_s == pytest.approx(2 / 0.020), "a repetition reported in two batches of rows"


@pytest.mark.parametrize(("test", "expected"), [(GenerationTest(16, 0), "prefill"), (GenerationTest(0, 2), "decode")])
def test_snapshot_has_only_metrics_of_the_phases_in_the_test(test: GenerationTest, expected: str) -> None:
    events: list[Event] = []
    clock = FakeClock(START_NS)
    plan = replace(plan_of("generation"), test=test)
    progress = CallProgress(0, plan, stage_of().variant, RunLog(events.append, clock), clock)
    is_prefill = expected == "prefill"
    rows = steps(0, 0, [] if is_prefill else [5, 5], prefill_ms=9 if is_prefill else None)
    progress.report_rows(table_of(rows).to_batches()[0], START_NS)
    snapshot = events[-1]
    assert isinstance(snapshot, Snapshot)
    assert snapshot.ttft_p50_ms is None, "a prefill without output has no first token"
    assert (snapshot.prefill_tokens_per_s is not None, snapshot.decode_tokens_per_s is not None) == (
        is_prefill,
        not is_prefill,
    )
    assert (snapshot.itl_p50_ms is None) == is_prefill
