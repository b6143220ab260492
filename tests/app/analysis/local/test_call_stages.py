from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from app.analysis.local.call_checks import check_calls
from app.analysis.local.call_rows import compute_lateness_ms, read_calls
from app.analysis.local.call_stages import find_max_throughput_per_s, format_stage_name, summarize_calls
from app.records.calls import CallStage
from app.records.result import Check
from tests.fakes.calls import call, call_with_copies, stage_of, table_of, unserved_call


def test_calls_started_before_stage_are_warmup() -> None:
    calls = read_calls(table_of([call(-50, 10), call(-5, 10), call(0, 10), call(10, 10)]), stage_of())
    assert len(calls) == 2
    assert calls.begin_ns[0] == 10**9


def test_calls_are_sorted_by_end_time() -> None:
    calls = read_calls(table_of([call(0, 30, query=0), call(1, 5, query=1, stream=1)]), stage_of("offline", streams=2))
    assert calls.query.tolist() == [1, 0]
    assert calls.stream.tolist() == [1, 0]


def test_call_parts_sum_to_call_duration() -> None:
    for rows, is_apart in (([call(0, 10)], False), ([call_with_copies(0, 10)], True)):
        calls = read_calls(table_of(rows), stage_of())
        assert calls.has_separate_copies is is_apart
        parts = {name: calls.compute_part_ms(name)[0] for name in ("prepare_ms", "execute_ms", "post_process_ms")}
        copies = [calls.compute_part_ms(name)[0] for name in ("copy_in_ms", "copy_out_ms")]
        assert sum(parts.values()) + sum(copies) == pytest.approx(10)
        assert copies == pytest.approx([1, 1] if is_apart else [0, 0])
        assert calls.service_ms[0] == pytest.approx(8), "copies and execution"


def test_never_started_calls_are_read_separately() -> None:
    rows = [call(0, 10, due_ms=0), call(10, 10, query=1, due_ms=5), unserved_call(2, 7)]
    calls = read_calls(table_of(rows), stage_of("server", rate_per_s=100))
    assert len(calls) == 2
    assert calls.never_started_ns.tolist() == [10**9 + 7_000_000]


def test_lateness_starts_at_scheduled_time_or_when_stream_is_free() -> None:
    rows = [
        call(1, 10, query=0, due_ms=0),  # 1 ms late on a free stream
        call(11, 10, query=1, due_ms=2),  # waited for its busy stream: not late
        call(24, 10, query=2, due_ms=22),  # 2 ms late
        call(3, 10, query=3, stream=1, due_ms=3),  # on time on another stream
    ]
    calls = read_calls(table_of(rows), stage_of("server", streams=2, rate_per_s=100))
    assert sorted(compute_lateness_ms(calls)) == pytest.approx([0, 0, 1, 2])


def test_empty_table_has_no_calls() -> None:
    calls = read_calls(table_of([]), stage_of())
    assert (len(calls), calls.has_separate_copies) == (0, False)


def run_checks(rows: Sequence[Sequence[float]], call_stage: CallStage) -> dict[str, Check]:
    return {check.id: check for check in check_calls(read_calls(table_of(rows), call_stage), call_stage)}


def build_steady_calls(count: int = 100) -> list[list[float]]:
    return [call(10 * number, 10, query=number) for number in range(count)]


def test_steady_calls_pass_all_checks() -> None:
    checks = run_checks(build_steady_calls(), stage_of())
    assert list(checks) == ["warm_up", "calls", "steady_times", "mean_time_half_width", "time_between_calls"]
    assert {check.verdict for check in checks.values()} == {"VALID"}


def test_unstable_warmup_is_warning() -> None:
    assert run_checks(build_steady_calls(), stage_of(is_stationary=False))["warm_up"].verdict == "WARN"


@pytest.mark.parametrize(("calls", "verdict"), [(20, "VALID"), (19, "WARN")])
def test_too_few_calls_are_warning(calls: int, verdict: str) -> None:
    assert run_checks(build_steady_calls(calls), stage_of())["calls"].verdict == verdict


def test_stage_without_calls_is_invalid() -> None:
    (check,) = run_checks([], stage_of()).values()
    assert check.verdict == "INVALID"


def test_growing_call_times_are_warning() -> None:
    rows, at_ms = [], 0.0
    for number in range(200):
        duration_ms = 1 + number / 200
        rows.append(call(at_ms, duration_ms, query=number))
        at_ms += duration_ms
    assert run_checks(rows, stage_of())["steady_times"].verdict == "WARN"


@pytest.mark.parametrize(("half_width", "verdict"), [(0.02, "VALID"), (0.021, "WARN"), (None, "WARN")])
def test_interval_wider_than_target_is_warning(half_width: float | None, verdict: str) -> None:
    assert run_checks(build_steady_calls(), stage_of(half_width=half_width))["mean_time_half_width"].verdict == verdict


@pytest.mark.parametrize(("late_ms", "verdict"), [(0.5, "VALID"), (5, "WARN"), (15, "INVALID")])
def test_calls_started_late_on_free_stream_are_graded(late_ms: float, verdict: str) -> None:
    rows = [call(20 * n + late_ms, 4, query=n, due_ms=20 * n) for n in range(120)]
    checks = run_checks(rows, stage_of("server", rate_per_s=50.0))
    assert checks["late_calls_p99"].verdict == verdict
    assert "mean_time_half_width" not in checks


def test_calls_waiting_for_busy_stream_are_not_late() -> None:
    rows = [call(10 * n, 10, query=n, due_ms=5 * n) for n in range(50)]
    assert run_checks(rows, stage_of("server", rate_per_s=200.0))["late_calls_p99"].verdict == "VALID"


def test_few_late_calls_are_only_warning() -> None:
    rows = [call(20 * n + 15, 4, query=n, due_ms=20 * n) for n in range(20)]
    assert run_checks(rows, stage_of("server", rate_per_s=50.0))["late_calls_p99"].verdict == "WARN"


def test_growing_backlog_of_calls_is_warning() -> None:
    rows = [call(10 * n, 10, query=n, due_ms=8 * n) for n in range(200)]
    check = run_checks(rows, stage_of("server", rate_per_s=125.0))["steady_times"]
    assert (check.verdict, "backlog kept growing" in (check.hint or "")) == ("WARN", True)


def test_never_started_calls_are_warning() -> None:
    rows = [call(10 * n, 10, query=n, due_ms=5 * n) for n in range(75)] + [
        unserved_call(n, 5 * n) for n in range(75, 100)
    ]
    check = run_checks(rows, stage_of("server", rate_per_s=200.0))["arrivals_not_begun"]
    assert (check.value, check.verdict) == (0.25, "WARN")


def test_stopped_stage_has_cut_short_check_and_no_half_width_check() -> None:
    checks = run_checks(build_steady_calls(), replace(stage_of(half_width=None), stopped_early=True))
    assert checks["cut_short"].verdict == "WARN"
    assert "mean_time_half_width" not in checks


def build_back_to_back_calls(count: int = 100, duration_ms: float = 10.0) -> list[list[float]]:
    return [call(number * duration_ms, duration_ms, query=number) for number in range(count)]


def test_local_throughput_counts_rows_instead_of_calls() -> None:
    stage = summarize_calls(table_of(build_back_to_back_calls()), stage_of(batch=8))
    assert stage.metrics["throughput_per_s"]["value"].value == pytest.approx(800), (
        "the last call, which ends with the stage, counts"
    )
    assert stage.metrics["service_ms"]["p50"].value == pytest.approx(8)
    assert (stage.completed, stage.kind, stage.errors) == (100, "closed", {})
    assert stage.offered_per_s.value is None
    assert stage.achieved_per_s.value == pytest.approx(100, rel=0.02)
    assert "latency_ms" not in stage.metrics
    assert stage.verdict.status == "VALID", stage.verdict


def test_copy_times_are_reported_only_if_measured_separately() -> None:
    plain = summarize_calls(table_of(build_back_to_back_calls()), stage_of())
    bound = summarize_calls(table_of([call_with_copies(number * 10, 10) for number in range(100)]), stage_of())
    assert "copy_in_ms" not in plain.metrics
    assert bound.metrics["copy_in_ms"]["mean"].value == pytest.approx(1)
    assert bound.metrics["execute_ms"]["mean"].value == pytest.approx(6)


def test_server_scenario_latency_starts_at_scheduled_time() -> None:
    rows = [call(10 * n + 2, 5, query=n, due_ms=10 * n) for n in range(100)]
    stage = summarize_calls(table_of(rows), stage_of("server", rate_per_s=100.0))
    assert stage.metrics["latency_ms"]["p50"].value == pytest.approx(7)
    assert stage.metrics["send_lag_ms"]["p50"].value == pytest.approx(2)
    assert (stage.kind, stage.arrivals, stage.scheduled_per_s) == ("steady", "Poisson", 100.0)
    assert stage.offered_per_s.value == pytest.approx(100, rel=0.05)
    assert stage.concurrency is None


def test_never_started_calls_are_errors_and_withhold_tail_latency() -> None:
    rows = [call(10 * n, 5, query=n, due_ms=10 * n) for n in range(1000)]
    rows += [unserved_call(1000 + n, 10_000 + n) for n in range(20)]
    stage = summarize_calls(table_of(rows), stage_of("server", seconds=11.0, rate_per_s=100.0))
    latency = stage.metrics["latency_ms"]
    assert stage.errors == {"not-started": 20}
    assert stage.completed == 1000
    assert latency["p50"].value == pytest.approx(5)
    assert latency["p95"].value == pytest.approx(5), "2 % of the calls were not started"
    for name in ("p99", "max", "mean"):
        assert latency[name].value is None
        assert "20 calls were never started" in str(latency[name].reason)


def test_multi_stream_query_latency_ends_with_its_last_call() -> None:
    rows = [
        call(20 * number, 10 * (1 + stream), query=number, stream=stream, due_ms=20 * number)
        for number in range(50)
        for stream in (0, 1)
    ]
    stage = summarize_calls(table_of(rows), stage_of("multi-stream", streams=2))
    assert stage.metrics["latency_ms"]["p50"].value == pytest.approx(20)
    assert stage.metrics["latency_ms"]["p50"].n == 50
    assert stage.concurrency == 2


def test_single_stream_scenario_has_concurrency_1() -> None:
    assert summarize_calls(table_of(build_back_to_back_calls()), stage_of(streams=4)).concurrency == 1
    assert summarize_calls(table_of(build_back_to_back_calls()), stage_of("offline", streams=4)).concurrency == 4


def test_stage_without_finished_call_is_invalid_without_values() -> None:
    stage = summarize_calls(table_of([]), stage_of())
    assert stage.completed == 0
    assert stage.metrics["service_ms"]["p50"].value is None
    assert stage.metrics["throughput_per_s"]["value"].value in (None, 0)
    assert stage.verdict.status == "INVALID"


def test_variant_checks_are_included_in_stage_verdict() -> None:
    check = Check("provider", "cpu", "cuda", None, "INVALID", "cuda was requested.")
    stage = summarize_calls(table_of(build_back_to_back_calls()), stage_of(), (check,))
    assert stage.checks[0] == check
    assert stage.verdict.status == "INVALID"
    assert find_max_throughput_per_s([stage]) is None


def test_max_throughput_is_of_fastest_stage() -> None:
    slow = summarize_calls(table_of(build_back_to_back_calls(50, 20.0)), stage_of())
    fast = summarize_calls(table_of(build_back_to_back_calls()), stage_of())
    assert find_max_throughput_per_s([slow, fast]) == pytest.approx(100, rel=0.02)
    assert find_max_throughput_per_s([]) is None


def test_stage_name_has_scenario_rate_and_variant() -> None:
    assert format_stage_name(stage_of(batch=8)) == "single-stream: m cpu as-is, batch 8"
    assert format_stage_name(stage_of("server", rate_per_s=123.456)) == "server at 123.5 calls/s: m cpu as-is, batch 1"


def test_call_crossing_stage_end_counts_partially_in_throughput() -> None:
    rows = [call(400 * n, 400, query=2 * n + stream, stream=stream) for n in range(3) for stream in (0, 1)]
    stage = summarize_calls(table_of(rows), stage_of("offline", streams=2))
    assert stage.metrics["throughput_per_s"]["value"].value == pytest.approx(5.0)
    single_call_stage = summarize_calls(table_of(rows[:2]), stage_of("offline", streams=2, seconds=0.1))
    assert single_call_stage.metrics["throughput_per_s"]["value"].value == pytest.approx(5.0)
