from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.records import events
from app.records.abort import AbortRule
from app.records.events import ErrorReported, Event, Snapshot, StageFinished
from app.records.result import SWEEP_TAG, ErrorSample, StageKind
from app.session.limits import LimitMonitor
from app.session.spec import LimitSpec, ResolvedStage, StageSpec
from app.session.stage_monitor import FirstErrorReporter, RowTally, StageMonitor
from loadgen.records import REQUEST_SCHEMA, ClosedArrivals, FirstError, OpenArrivals, Progress, StageLoad, StageStarted
from tests.fakes.bench import SPEC, Bench, poisson
from tests.fakes.load import ScriptedLoad


def test_first_error_is_reported_once_per_run_and_stored_for_each_stage(bench: Bench) -> None:
    stages = tuple(StageSpec(name, "steady", StageLoad(poisson(100.0), 3.0)) for name in ("one", "two"))
    load = ScriptedLoad(bench.clock, error="http-5xx", error_share=0.25)
    outcome = bench.run(msgspec.structs.replace(SPEC, stages=stages), load)
    (reported,) = bench.reported(ErrorReported)
    assert (reported.stage, reported.sample.error, reported.sample.text) == (0, "http-5xx", "seen http-5xx")
    assert bench.events.index(reported) < bench.events.index(bench.reported(Snapshot)[0])
    samples_of_stages = [event.data.error_samples for event in bench.reported(StageFinished)]
    assert [[sample.text for sample in samples] for samples in samples_of_stages] == [["seen http-5xx"]] * 2
    assert [stage.error_samples for stage in outcome.result.stages] == samples_of_stages
    assert samples_of_stages[0][0] == reported.sample


def test_run_without_errors_reports_no_error_samples(bench: Bench) -> None:
    outcome = bench.run(SPEC)
    assert bench.reported(ErrorReported) == []
    assert outcome.result.stages[0].error_samples == ()


def test_number_of_reported_error_classes_is_limited() -> None:
    events: list[Event] = []
    errors = FirstErrorReporter(events.append)
    samples = errors.report([FirstError(f"class {number}", number, "seen") for number in range(60)], 0, 100)
    assert len(events) == 50
    assert samples[0] == ErrorSample("class 0", 0, "seen")
    errors.report([FirstError("class 0", 7, "again"), FirstError("another", 8, "too many")], 1, 200)
    assert len(events) == 50


MS = 1_000_000


def batch(*rows: dict[str, object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=REQUEST_SCHEMA)


def build_request(latency_ms: int, lag_ms: int = 1, **more: object) -> dict[str, object]:
    return {"scheduled_ns": MS, "sent_ns": (1 + lag_ms) * MS, "end_ns": (1 + latency_ms) * MS, **more}


def test_good_requests_meet_every_limit_and_errors_are_counted_by_class() -> None:
    tally = RowTally((parse_objective("latency_ms.p95 < 50"), parse_objective("service_ms.p99 < 10")))
    assert (tally.good_count, dict(tally.error_counts), tally.compute_percentiles_ms("send_lag_ms")[2]) == (0, {}, None)
    tally.add_rows(batch(build_request(9), build_request(60, 55), build_request(30)))
    tally.add_rows(batch(build_request(5, error="timeout"), {"scheduled_ns": MS}))
    tally.count_rows()
    assert tally.good_count == 1, "the second was sent late, the third is slow, the others are no responses"
    assert tally.error_counts == {"timeout": 1, "not-started": 1}
    assert tally.compute_percentiles_ms("send_lag_ms")[2] == pytest.approx(53.38), "p99 of 1, 55, 1 and 1 ms"
    tally.add_rows(batch(build_request(9), build_request(9, error="timeout")))
    tally.count_rows()
    tally.count_rows()
    assert (tally.good_count, tally.error_counts["timeout"]) == (2, 2), "each row is counted once"


def test_requests_of_a_class_are_good_within_the_limits_of_the_class() -> None:
    slo = parse_objective("latency_ms.p95 < 50"), parse_objective("latency_ms.p95{class=slow} < 500")
    tally = RowTally(slo, ("fast", "slow"))
    tally.add_rows(
        batch(*(build_request(ms) | {"class": number} for ms, number in ((9, 0), (90, 0), (90, 1), (900, 1))))
    )
    tally.count_rows()
    assert tally.good_count == 2


def test_audio_and_message_requests_are_good_within_their_limits() -> None:
    audio = build_request(90) | {"input_end_ns": 5 * MS, "first_audio_ns": 30 * MS}
    build_stream = build_request(90) | {"chunk_ns": [30 * MS, 60 * MS]}
    for text, row in (
        ("ttfa_ms.p95 < 50", audio),
        ("response_ms.p95 < 100", audio),
        ("first_message_ms.p95 < 50", build_stream),
    ):
        tally = RowTally((parse_objective(text),))
        tally.add_rows(batch(row, build_request(9)))
        tally.count_rows()
        assert tally.good_count == 1, text


def test_number_of_good_requests_is_none_without_scheduled_times() -> None:
    unknown: dict[str, object] = {"scheduled_ns": None, "sent_ns": MS, "end_ns": 5 * MS}
    for text, good in (("latency_ms.p95 < 50", None), ("service_ms.p95 < 50", 1)):
        tally = RowTally((parse_objective(text),))
        tally.add_rows(batch(unknown))
        tally.count_rows()
        assert (tally.good_count, tally.compute_percentiles_ms("send_lag_ms")[2]) == (good, None)


def test_send_lag_percentile_covers_the_last_thousand_requests() -> None:
    tally = RowTally(())
    for lag_ms in (90, 2):
        tally.add_rows(batch(*[build_request(100, lag_ms)] * 1000))
        tally.count_rows()
    assert tally.compute_percentiles_ms("send_lag_ms")[2] == 2


def build_stream(first_ms: int, last_ms: int, tokens: int | None, **more: object) -> dict[str, object]:
    times = {"first_token_ns": (1 + first_ms) * MS, "last_token_ns": (1 + last_ms) * MS}
    return {**build_request(last_ms), **times, "tokens_out": tokens, **more}


def test_output_tokens_ttft_and_tpot_of_streams_are_computed() -> None:
    tally = RowTally(())
    assert (tally.output_token_count, tally.compute_percentiles_ms("ttft_ms")) == (None, (None, None, None))
    tally.add_rows(batch(build_request(9)))
    tally.count_rows()
    assert (tally.output_token_count, tally.compute_percentiles_ms("tpot_ms")) == (None, (None, None, None))
    tally.add_rows(batch(build_stream(10, 30, 11), build_stream(20, 60, 11), build_stream(90, 90, None)))
    tally.add_rows(batch(build_stream(500, 900, 2, error="timeout")))
    tally.count_rows()
    assert tally.output_token_count == 22, "of successful responses with a token count"
    assert tally.compute_percentiles_ms("ttft_ms")[0] == 20
    assert tally.compute_percentiles_ms("tpot_ms")[0] == 3


def test_snapshot_of_streams_has_ttft_and_tpot() -> None:
    monitored = MonitoredStage(order())
    monitored.monitor.add_rows(batch(build_stream(10, 30, 11)))
    monitored.monitor.on_progress(progress(1, 1, 1))
    (snapshot,) = monitored.events
    assert isinstance(snapshot, Snapshot)
    assert (snapshot.ttft_p50_ms, snapshot.ttft_p95_ms, snapshot.ttft_p99_ms) == (10, 10, 10)
    assert (snapshot.tpot_p50_ms, snapshot.tpot_p95_ms, snapshot.tpot_p99_ms) == (2, 2, 2)
    assert snapshot.output_tokens == 11


OVERLOAD = OpenArrivals("poisson", ((0.0, 100.0),))


def progress(second: float, due: int, completed: int) -> Progress:
    return Progress(0, round(second * 1e9), due, due, completed, 0, due - completed, 0.1)


class MonitoredStage:
    def __init__(
        self, order: ResolvedStage, *, requests: int | None = None, abort_when: AbortRule | None = None
    ) -> None:
        self.events: list[Event] = []
        self.drained = 0
        self.is_gone = False
        self.limits = LimitMonitor(LimitSpec(requests=requests, abort_when=abort_when), 0)
        emit = self.events.append
        first_errors = FirstErrorReporter(emit)
        self.monitor = StageMonitor(order, 0, (), emit, self.limits, self._drain, lambda: self.is_gone, first_errors)

    def _drain(self) -> None:
        self.drained += 1


def order(arrivals: OpenArrivals | ClosedArrivals = OVERLOAD, *, ends_when_saturated: bool = False) -> ResolvedStage:
    return ResolvedStage(
        name="s", kind="probe", load=StageLoad(arrivals, 10.0), drain_s=1.0, ends_when_saturated=ends_when_saturated
    )


def test_recent_latency_starts_at_the_send_time_without_a_scheduled_time() -> None:
    monitored = MonitoredStage(order())
    rows = [
        {"scheduled_ns": 0, "sent_ns": 5 * MS, "end_ns": 10 * MS},
        {"scheduled_ns": None, "sent_ns": 5 * MS, "end_ns": 25 * MS},
        {"scheduled_ns": 0, "sent_ns": 5 * MS, "end_ns": 900 * MS, "error": "timeout"},
    ]
    monitored.monitor.add_rows(pa.RecordBatch.from_pylist(rows, schema=REQUEST_SCHEMA))
    monitored.monitor.on_progress(progress(1, 3, 2))
    (snapshot,) = monitored.events
    assert isinstance(snapshot, Snapshot)
    assert snapshot.latency_p50_ms == 15
    assert snapshot.latency_p99_ms == pytest.approx(19.9)
    assert (snapshot.good, snapshot.errors) == (2, {"timeout": 1})
    assert (snapshot.ttft_p50_ms, snapshot.tpot_p50_ms, snapshot.output_tokens) == (None, None, None)
    monitored.monitor.add_rows(pa.RecordBatch.from_pylist([{"scheduled_ns": 0}], schema=REQUEST_SCHEMA))
    assert monitored.monitor.sent == 3, "requests that were never started were not sent"


def test_only_a_probe_ends_at_a_growing_backlog() -> None:
    for ends, expected in ((True, False), (False, True)):
        monitored = MonitoredStage(order(ends_when_saturated=ends))
        quick = [{"scheduled_ns": 0, "sent_ns": 0, "end_ns": 20 * MS}] * 10
        monitored.monitor.add_rows(pa.RecordBatch.from_pylist(quick, schema=REQUEST_SCHEMA))
        may_continue = [monitored.monitor.on_progress(progress(n / 4, 200 * n, 10 * n)) for n in range(40)]
        assert may_continue[-1] is expected
        assert monitored.monitor.is_over_saturated is ends


def test_reached_limit_or_exited_target_drains_once() -> None:
    monitored = MonitoredStage(order(ClosedArrivals(2)), requests=10)
    assert monitored.monitor.on_progress(progress(1, 9, 9))
    assert monitored.drained == 0
    for second in (2, 3):
        assert monitored.monitor.on_progress(progress(second, 10, 10))
    assert monitored.drained == 1

    exited = MonitoredStage(order())
    exited.is_gone = True
    exited.monitor.on_progress(progress(1, 1, 0))
    assert exited.drained == 1


@pytest.mark.parametrize(
    ("kind", "second", "failed", "drained"),
    [("steady", 5, 3, 1), ("probe", 5, 3, 1), ("steady", 4, 3, 0), ("steady", 5, 2, 0), ("warmup", 5, 3, 0)],
)
def test_stage_that_meets_the_abort_rule_is_drained(kind: StageKind, second: float, failed: int, drained: int) -> None:
    rule = AbortRule("error_rate > 20% after 5s", parse_objective("error_rate > 20%"), 5.0)
    monitored = MonitoredStage(replace(order(), kind=kind), abort_when=rule)
    start_ns = round(100e9)
    monitored.monitor.on_started(StageStarted(0, start_ns, 10))
    for at_s in (second, second + 0.1):
        monitored.monitor.on_progress(Progress(0, start_ns + round(at_s * 1e9), 10, 10, 10 - failed, failed, 0, 0.1))
    assert monitored.drained == drained
    assert (monitored.limits.stop_reason is not None) is bool(drained)


@pytest.mark.parametrize(
    ("kind", "tags", "has_load"),
    [("probe", {}, True), ("step", {}, True), ("closed", {SWEEP_TAG: "yes"}, True), ("steady", {}, False)],
)
def test_stages_of_a_search_or_sweep_are_named_by_their_load(
    kind: StageKind, tags: dict[str, str], has_load: bool
) -> None:
    monitored = MonitoredStage(replace(order(), kind=kind, tags=tags))
    monitored.monitor.on_started(StageStarted(0, 0, 10))
    (started,) = monitored.events
    assert isinstance(started, events.StageStarted)
    assert started.has_load_in_name == has_load


def test_unsent_backlog_does_not_end_a_probe() -> None:
    monitored = MonitoredStage(order(ends_when_saturated=True))
    quick = [{"scheduled_ns": 0, "sent_ns": 0, "end_ns": 20 * MS}] * 10
    monitored.monitor.add_rows(pa.RecordBatch.from_pylist(quick, schema=REQUEST_SCHEMA))
    late = [Progress(0, n * 250 * MS, 200 * n, 10 * n, 10 * n, 0, 0, 900.0) for n in range(40)]
    may_continue = [monitored.monitor.on_progress(progress) for progress in late]
    assert may_continue[-1] is False, "an overloaded generator ends the stage"
    assert not monitored.monitor.is_over_saturated
