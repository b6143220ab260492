from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.analysis.pooling import pool_sessions, pool_stages, sum_worker_totals
from app.analysis.stages import summarize_stage
from app.records.result import ErrorSample, SessionSummary, WorkerData
from tests.fakes.queues import build_stage_data, constant_s, request_rows
from tests.fakes.streams import StreamedResponse, stream_table

FIRST = WorkerData(0, "a", 11, cpu_s=0.5, sent=100, max_lag_ms=2.0)
OTHER = WorkerData(1, "b", 12, cpu_s=0.25, sent=99, max_lag_ms=1.0, clock_residual_ms=0.2)


def test_worker_totals_are_summed_by_worker_number() -> None:
    later = replace(OTHER, cpu_s=0.5, sent=1, max_lag_ms=0.5, clock_residual_ms=0.1, lost_ns=7)
    assert sum_worker_totals([(OTHER, FIRST), (FIRST, later)]) == (
        replace(FIRST, cpu_s=1.0, sent=200),
        replace(OTHER, cpu_s=0.75, sent=100, lost_ns=7),
    )


def test_worker_cpu_wait_is_summed_over_stages_that_report_wait() -> None:
    (total,) = sum_worker_totals([(replace(FIRST, cpu_wait_s=0.25),), (FIRST,), (replace(FIRST, cpu_wait_s=0.5),)])
    assert total.cpu_wait_s == 0.75


def test_worker_totals_of_stages_without_workers_are_empty() -> None:
    assert sum_worker_totals([(), ()]) == ()


SLO = (parse_objective("latency_ms.p95 < 50"),)
PAUSE_NS = 1_700_000_000
NO_TELEMETRY = pd.DataFrame({"at_ns": [], "source": [], "metric": [], "value": []})


def shift(rows: pd.DataFrame, by_ns: int) -> pd.DataFrame:
    return rows.assign(**{name: rows[name] + by_ns for name in ("scheduled_ns", "sent_ns", "first_byte_ns", "end_ns")})


def test_pooled_steps_have_metrics_of_one_long_step() -> None:
    arrivals = constant_s(100, 30)
    latency = np.random.default_rng(1).exponential(0.02, arrivals.size)
    all_rows = request_rows(arrivals, latency)
    stages_data = [replace(build_stage_data(100, 10, kind="step", arrivals="constant"), repeat=k + 1) for k in range(3)]
    step_ns = 10_000_000_000
    rows, shifted_stages_data = [], []
    for k, stage_data in enumerate(stages_data):
        start_ns = stage_data.start_ns + k * step_ns
        inside = all_rows[all_rows["scheduled_ns"].between(start_ns, start_ns + step_ns, inclusive="left")]
        rows.append(shift(inside, k * PAUSE_NS))
        shifted_stages_data.append(
            replace(stage_data, start_ns=start_ns + k * PAUSE_NS, end_ns=stage_data.end_ns + k * (step_ns + PAUSE_NS))
        )
    pooled = pool_stages(rows, NO_TELEMETRY, shifted_stages_data, SLO)
    single = summarize_stage(all_rows, NO_TELEMETRY, build_stage_data(100, 30, kind="step", arrivals="constant"), SLO)
    assert pooled.completed == 3000
    assert pooled.metrics == single.metrics
    assert pooled.name == "3 steps at 100 req/s"
    assert pool_stages(rows[:1], NO_TELEMETRY, shifted_stages_data[:1], SLO).name == "1 step at 100 req/s"
    assert pooled.window.end_ns - pooled.window.start_ns == 3 * step_ns + 2 * PAUSE_NS


def test_pooled_core_wait_check_sums_wait_of_all_steps() -> None:
    """The wait exceeds half of the worker's CPU time by 8.1 s in 22 s."""
    steps = [replace(build_stage_data(100, 10, kind="step"), worker_cpu_wait_s=waited_s) for waited_s in (0.2, 8.0)]
    rows = [request_rows(constant_s(100, 10), np.full(1000, 0.01))] * 2
    checks = {check.id: check for check in pool_stages(rows, NO_TELEMETRY, steps, SLO).checks}
    assert checks["generator_core_wait"].value == pytest.approx((8.2 - 0.1) / 22)


def test_pooled_error_samples_are_first_of_each_class() -> None:
    early, late, other = (ErrorSample(error, at, "seen") for error, at in (("tls", 1), ("tls", 5), ("send", 3)))
    steps = [
        replace(build_stage_data(100, 10, kind="step"), error_samples=samples) for samples in ((late,), (other, early))
    ]
    rows = [request_rows(constant_s(100, 10), np.full(1000, 0.01))] * 2
    assert pool_stages(rows, NO_TELEMETRY, steps, SLO).error_samples == (early, other)


def test_pooled_telemetry_excludes_pauses() -> None:
    stages_data = [build_stage_data(100, 10, kind="step"), build_stage_data(100, 10, kind="step")]
    stages_data[1] = replace(
        stages_data[1], start_ns=stages_data[0].start_ns + 20_000_000_000, end_ns=stages_data[0].end_ns + 20_000_000_000
    )
    rows = request_rows(constant_s(100, 10), np.full(1000, 0.01))
    at_s = np.arange(0, 30, 1.0)
    telemetry = pd.DataFrame(
        {
            "at_ns": stages_data[0].start_ns + (at_s * 1e9).astype(np.int64),
            "source": "endpoint",
            "metric": "endpoint_cpu_cores",
            "value": np.where((at_s < 10) | (at_s >= 20), 1.0, 9.0),
        }
    )
    pooled = pool_stages([rows, shift(rows, 20_000_000_000)], telemetry, stages_data, SLO)
    assert pooled.metrics["endpoint_cpu_cores"]["max"].value == pytest.approx(1.0)


def test_pooled_streams_have_token_metrics_of_one_step() -> None:
    def answers(begin_ms: float) -> list[StreamedResponse]:
        starts = [begin_ms + 10 * at for at in range(1_000)]
        return [StreamedResponse(scheduled_ms=at, chunks_ms=(at + 20, at + 25, at + 40), tokens_out=3) for at in starts]

    stages_data = [replace(build_stage_data(100, 10, kind="step", arrivals="constant"), repeat=k + 1) for k in range(2)]
    stages_data[1] = replace(
        stages_data[1], start_ns=stages_data[0].start_ns + 12 * 10**9, end_ns=stages_data[0].end_ns + 12 * 10**9
    )
    pooled = pool_stages([stream_table(answers(0)), stream_table(answers(12_000))], NO_TELEMETRY, stages_data, SLO)
    all_rows = stream_table([*answers(0), *answers(10_000)])
    single = summarize_stage(all_rows, NO_TELEMETRY, build_stage_data(100, 20, kind="step", arrivals="constant"), SLO)
    assert pooled.metrics == single.metrics
    assert pooled.metrics["icl_ms"]["mean"].value == 10


def test_lead_in_is_not_counted_in_previous_step() -> None:
    stages_data = [
        replace(build_stage_data(100, 10, kind="step", arrivals="constant"), lead_in_s=2.0) for _ in range(2)
    ]
    stages_data[1] = replace(
        stages_data[1], start_ns=stages_data[0].start_ns + 12 * 10**9, end_ns=stages_data[0].end_ns + 12 * 10**9
    )
    rows = request_rows(constant_s(100, 12) - 2, np.full(1200, 0.01))
    pooled = pool_stages([rows, shift(rows, 12 * 10**9)], NO_TELEMETRY, stages_data, SLO)
    assert pooled.completed == 2000
    assert pooled.metrics["completed_per_s"]["value"].value == pytest.approx(100, rel=0.01)


def test_worker_lost_between_steps_is_warning_and_worker_lost_in_step_is_invalid() -> None:
    first = build_stage_data(100, 10, kind="step", arrivals="constant")
    second = replace(first, start_ns=first.start_ns + 20_000_000_000, end_ns=first.end_ns + 20_000_000_000)
    rows = request_rows(constant_s(100, 10), np.full(1000, 0.01))
    stayed, left = (WorkerData(number, "bench", 10 + number, 0.1, 500, 1.0) for number in (0, 1))
    for lost_s, verdict in ((15, "WARN"), (25, "INVALID")):
        lost = replace(left, sent=0, lost_ns=first.start_ns + lost_s * 1_000_000_000)
        stages_data = [replace(first, workers=(stayed, left)), replace(second, workers=(stayed, lost))]
        pooled = pool_stages([rows, shift(rows, 20_000_000_000)], NO_TELEMETRY, stages_data, SLO)
        assert next(check.verdict for check in pooled.checks if check.id == "workers") == verdict
        assert [worker.sent for worker in pooled.workers] == [1000, 500]


def test_pooled_stages_of_different_rates_are_varying_stage() -> None:
    """A day in 100 stages of 1 s: the rate curve covers all stages, so the arrival spacing check is still valid."""
    rng = np.random.default_rng(5)
    rows, stages_data = [], []
    for number in range(100):
        rate_per_s = float(20 + number % 50)
        start_ns = build_stage_data().start_ns + number * (PAUSE_NS + 1_000_000_000)
        arrivals = np.sort(rng.uniform(0, 1, rng.poisson(rate_per_s)))
        rows.append(shift(request_rows(arrivals, np.full(arrivals.size, 0.01)), start_ns - build_stage_data().start_ns))
        stage_data = build_stage_data(rate_per_s, 1.0)
        stages_data.append(
            replace(stage_data, name=f"minute {number}", start_ns=start_ns, end_ns=start_ns + 2_000_000_000)
        )
    pooled = pool_stages(rows, NO_TELEMETRY, stages_data, SLO)
    assert (pooled.name, pooled.kind, pooled.scheduled_per_s) == ("100 stages", "varying", None)
    assert pooled.arrivals == "Poisson, varying from 20 to 69 req/s"
    assert pooled.completed == pooled.metrics["latency_ms"]["p95"].n == sum(map(len, rows))
    assert {check.id: check.verdict for check in pooled.checks}["arrival_spacing"] == "VALID"
    assert pooled.meets_slo


def test_pooled_concurrency_is_set_only_if_equal_in_all_stages() -> None:
    stages_data = [
        replace(build_stage_data(10, 10, arrivals="closed", kind="closed"), rate_per_s=None, concurrency=clients)
        for clients in (4, 8)
    ]
    rows = [request_rows(constant_s(10, 10), np.full(100, 0.01))] * 2
    assert pool_stages(rows, NO_TELEMETRY, [stages_data[0]] * 2, SLO).concurrency == 4
    assert pool_stages(rows, NO_TELEMETRY, stages_data, SLO).concurrency is None


def test_pooled_window_ends_where_last_stage_was_stopped() -> None:
    stages_data = [build_stage_data(10, 10, arrivals="constant"), build_stage_data(20, 10, arrivals="constant")]
    stages_data[1] = replace(stages_data[1], start_ns=stages_data[0].start_ns + 12_000_000_000, stopped_early=True)
    rows = [
        request_rows(constant_s(10, 10), np.full(100, 0.01)),
        shift(request_rows(constant_s(20, 5), np.full(100, 0.01)), 12_000_000_000),
    ]
    pooled = pool_stages(rows, NO_TELEMETRY, stages_data, SLO)
    assert (pooled.window.end_ns - pooled.window.start_ns) / 1e9 == pytest.approx(17, abs=0.1)


def test_session_summaries_of_steps_are_summed() -> None:
    first = SessionSummary({"completed": 3, "failed": 1}, 30, 20.0, 90.0)
    second = SessionSummary({"completed": 2, "cut_off": 4}, 10, 60.0, 70.0)
    unbuilt = SessionSummary({"cut_off": 1}, 0, None, None)
    pooled = pool_sessions([first, None, second, unbuilt])
    assert pooled == SessionSummary({"completed": 5, "failed": 1, "cut_off": 5}, 40, 30.0, 90.0)
    assert pool_sessions([unbuilt]) == unbuilt
    assert pool_sessions([None]) is None
