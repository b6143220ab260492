from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from app.analysis.local.call_checks import check_calls
from app.analysis.local.call_rows import compute_lateness_ms, read_calls
from app.analysis.local.call_stages import find_max_throughput_per_s, format_stage_name, summarize_calls
from app.records.calls import CallStage
from app.records.result import Check
from tests.fakes.calls import call, copied, never, stage_of, table_of


def test_calls_begun_before_the_start_are_warm_up() -> None:
    calls = read_calls(table_of([call(-50, 10), call(-5, 10), call(0, 10), call(10, 10)]), stage_of())
    assert len(calls) == 2
    assert calls.begin_ns[0] == 10**9


def test_calls_are_in_the_order_of_their_ends() -> None:
    calls = read_calls(table_of([call(0, 30, query=0), call(1, 5, query=1, stream=1)]), stage_of("offline", streams=2))
    assert calls.query.tolist() == [1, 0]
    assert calls.stream.tolist() == [1, 0]


def test_parts_of_a_call_add_up_to_it() -> None:
    for rows, is_apart in (([call(0, 10)], False), ([copied(0, 10)], True)):
        calls = read_calls(table_of(rows), stage_of())
        assert calls.has_separate_copies is is_apart
        parts = {name: calls.compute_part_ms(name)[0] for name in ("prepare_ms", "execute_ms", "post_process_ms")}
        copies = [calls.compute_part_ms(name)[0] for name in ("copy_in_ms", "copy_out_ms")]
        assert sum(parts.values()) + sum(copies) == pytest.approx(10)
        assert copies == pytest.approx([1, 1] if is_apart else [0, 0])
        assert calls.service_ms[0] == pytest.approx(8), "copies and execution"


def test_arrivals_that_were_never_begun_stand_apart() -> None:
    rows = [call(0, 10, due_ms=0), call(10, 10, query=1, due_ms=5), never(2, 7)]
    calls = read_calls(table_of(rows), stage_of("server", rate_per_s=100))
    assert len(calls) == 2
    assert calls.never_started_ns.tolist() == [10**9 + 7_000_000]


def test_lateness_counts_from_when_it_was_due_and_the_stream_was_free() -> None:
    rows = [
        call(1, 10, query=0, due_ms=0),  # one late, on a stream that was free
        call(11, 10, query=1, due_ms=2),  # waited for the stream: not late
        call(24, 10, query=2, due_ms=22),  # two late
        call(3, 10, query=3, stream=1, due_ms=3),  # another stream, in time
    ]
    calls = read_calls(table_of(rows), stage_of("server", streams=2, rate_per_s=100))
    assert sorted(compute_lateness_ms(calls)) == pytest.approx([0, 0, 1, 2])


def test_no_rows_are_no_calls() -> None:
    calls = read_calls(table_of([]), stage_of())
    assert (len(calls), calls.has_separate_copies) == (0, False)


def checked(rows: Sequence[Sequence[float]], facts: CallStage) -> dict[str, Check]:
    return {check.id: check for check in check_calls(read_calls(table_of(rows), facts), facts)}


def steady(count: int = 100) -> list[list[float]]:
    return [call(10 * number, 10, query=number) for number in range(count)]


def test_steady_calls_of_a_simulated_variant_are_valid() -> None:
    checks = checked(steady(), stage_of())
    assert list(checks) == ["warm_up", "calls", "steady_times", "mean_time_half_width", "time_between_calls"]
    assert {check.verdict for check in checks.values()} == {"VALID"}


def test_warm_up_that_never_simulated_is_a_warning() -> None:
    assert checked(steady(), stage_of(is_stationary=False))["warm_up"].verdict == "WARN"


@pytest.mark.parametrize(("calls", "verdict"), [(20, "VALID"), (19, "WARN")])
def test_too_few_calls_are_a_warning(calls: int, verdict: str) -> None:
    assert checked(steady(calls), stage_of())["calls"].verdict == verdict


def test_not_one_call_is_invalid() -> None:
    (check,) = checked([], stage_of()).values()
    assert check.verdict == "INVALID"


def test_times_that_grow_all_along_are_a_warning() -> None:
    growing, at_ms = [], 0.0
    for number in range(200):
        takes_ms = 1 + number / 200
        growing.append(call(at_ms, takes_ms, query=number))
        at_ms += takes_ms
    assert checked(growing, stage_of())["steady_times"].verdict == "WARN"


@pytest.mark.parametrize(("half_width", "verdict"), [(0.02, "VALID"), (0.021, "WARN"), (None, "WARN")])
def test_interval_wider_than_asked_is_a_warning(half_width: float | None, verdict: str) -> None:
    assert checked(steady(), stage_of(half_width=half_width))["mean_time_half_width"].verdict == verdict


@pytest.mark.parametrize(("late_ms", "verdict"), [(0.5, "VALID"), (5, "WARN"), (15, "INVALID")])
def test_arrivals_begun_late_though_a_stream_was_free_are_the_instruments_fault(late_ms: float, verdict: str) -> None:
    rows = [call(20 * n + late_ms, 4, query=n, due_ms=20 * n) for n in range(120)]
    checks = checked(rows, stage_of("server", rate_per_s=50.0))
    assert checks["late_calls_p99"].verdict == verdict
    assert "mean_time_half_width" not in checks


def test_arrivals_that_wait_for_a_busy_model_are_not_late() -> None:
    rows = [call(10 * n, 10, query=n, due_ms=5 * n) for n in range(50)]
    assert checked(rows, stage_of("server", rate_per_s=200.0))["late_calls_p99"].verdict == "VALID"


def test_few_late_arrivals_are_no_proof() -> None:
    rows = [call(20 * n + 15, 4, query=n, due_ms=20 * n) for n in range(20)]
    assert checked(rows, stage_of("server", rate_per_s=50.0))["late_calls_p99"].verdict == "WARN"


def test_a_backlog_that_grows_is_no_steady_state() -> None:
    rows = [call(10 * n, 10, query=n, due_ms=8 * n) for n in range(200)]
    found = checked(rows, stage_of("server", rate_per_s=125.0))["steady_times"]
    assert (found.verdict, "backlog kept growing" in (found.hint or "")) == ("WARN", True)


def test_arrivals_that_nobody_got_to_are_reported() -> None:
    rows = [call(10 * n, 10, query=n, due_ms=5 * n) for n in range(75)] + [never(n, 5 * n) for n in range(75, 100)]
    found = checked(rows, stage_of("server", rate_per_s=200.0))["arrivals_not_begun"]
    assert (found.value, found.verdict) == (0.25, "WARN")


def test_a_stage_that_was_cut_short_says_so_and_not_that_its_time_was_up() -> None:
    checks = checked(steady(), replace(stage_of(half_width=None), stopped_early=True))
    assert checks["cut_short"].verdict == "WARN"
    assert "mean_time_half_width" not in checks


def call_stages_steady(count: int = 100, takes_ms: float = 10.0) -> list[list[float]]:
    return [call(number * takes_ms, takes_ms, query=number) for number in range(count)]


def test_throughput_is_of_rows_and_not_of_calls() -> None:
    stage = summarize_calls(table_of(call_stages_steady()), stage_of(batch=8))
    assert stage.metrics["throughput_per_s"]["value"].value == pytest.approx(800), (
        "the last call, which ends with the stage, counts"
    )
    assert stage.metrics["service_ms"]["p50"].value == pytest.approx(8)
    assert (stage.completed, stage.kind, stage.errors) == (100, "closed", {})
    assert stage.offered_per_s.value is None
    assert stage.achieved_per_s.value == pytest.approx(100, rel=0.02)
    assert "latency_ms" not in stage.metrics
    assert stage.verdict.status == "VALID", stage.verdict


def test_copies_are_reported_where_they_were_timed_apart() -> None:
    plain = summarize_calls(table_of(call_stages_steady()), stage_of())
    bound = summarize_calls(table_of([copied(number * 10, 10) for number in range(100)]), stage_of())
    assert "copy_in_ms" not in plain.metrics
    assert bound.metrics["copy_in_ms"]["mean"].value == pytest.approx(1)
    assert bound.metrics["execute_ms"]["mean"].value == pytest.approx(6)


def test_latency_of_the_server_counts_from_when_an_arrival_was_due() -> None:
    rows = [call(10 * n + 2, 5, query=n, due_ms=10 * n) for n in range(100)]
    stage = summarize_calls(table_of(rows), stage_of("server", rate_per_s=100.0))
    assert stage.metrics["latency_ms"]["p50"].value == pytest.approx(7)
    assert stage.metrics["send_lag_ms"]["p50"].value == pytest.approx(2)
    assert (stage.kind, stage.arrivals, stage.scheduled_per_s) == ("steady", "Poisson", 100.0)
    assert stage.offered_per_s.value == pytest.approx(100, rel=0.05)
    assert stage.concurrency is None


def test_arrivals_that_nobody_got_to_are_errors_and_make_latencies_endless() -> None:
    rows = [call(10 * n, 5, query=n, due_ms=10 * n) for n in range(1000)]
    rows += [never(1000 + n, 10_000 + n) for n in range(20)]
    stage = summarize_calls(table_of(rows), stage_of("server", seconds=11.0, rate_per_s=100.0))
    latency = stage.metrics["latency_ms"]
    assert stage.errors == {"not-started": 20}
    assert stage.completed == 1000
    assert latency["p50"].value == pytest.approx(5)
    assert latency["p95"].value == pytest.approx(5), "a fiftieth of all is in none of these"
    for name in ("p99", "max", "mean"):
        assert latency[name].value is None
        assert "20 calls were never started" in str(latency[name].reason)


def test_latency_of_a_query_is_until_the_last_of_its_calls_ended() -> None:
    rows = [
        call(20 * number, 10 * (1 + stream), query=number, stream=stream, due_ms=20 * number)
        for number in range(50)
        for stream in (0, 1)
    ]
    stage = summarize_calls(table_of(rows), stage_of("multi-stream", streams=2))
    assert stage.metrics["latency_ms"]["p50"].value == pytest.approx(20)
    assert stage.metrics["latency_ms"]["p50"].n == 50
    assert stage.concurrency == 2


def test_single_stream_is_one_call_at_a_time_however_many_streams_a_variant_has() -> None:
    assert summarize_calls(table_of(call_stages_steady()), stage_of(streams=4)).concurrency == 1
    assert summarize_calls(table_of(call_stages_steady()), stage_of("offline", streams=4)).concurrency == 4


def test_stage_in_which_no_call_ended_has_its_numbers_withheld_and_is_invalid() -> None:
    stage = summarize_calls(table_of([]), stage_of())
    assert stage.completed == 0
    assert stage.metrics["service_ms"]["p50"].value is None
    assert stage.metrics["throughput_per_s"]["value"].value in (None, 0)
    assert stage.verdict.status == "INVALID"


def test_checks_of_the_variant_are_its_own_too() -> None:
    check = Check("provider", "cpu", "cuda", None, "INVALID", "cuda was asked for.")
    stage = summarize_calls(table_of(call_stages_steady()), stage_of(), (check,))
    assert stage.checks[0] == check
    assert stage.verdict.status == "INVALID"
    assert find_max_throughput_per_s([stage]) is None


def test_fastest_is_of_the_stages_that_can_be_relied_on() -> None:
    slow = summarize_calls(table_of(call_stages_steady(50, 20.0)), stage_of())
    fast = summarize_calls(table_of(call_stages_steady()), stage_of())
    assert find_max_throughput_per_s([slow, fast]) == pytest.approx(100, rel=0.02)
    assert find_max_throughput_per_s([]) is None


def test_stage_is_named_by_scenario_rate_and_variant() -> None:
    assert format_stage_name(stage_of(batch=8)) == "single-stream: m cpu as-is, batch 8"
    assert format_stage_name(stage_of("server", rate_per_s=123.456)) == "server at 123.5 calls/s: m cpu as-is, batch 1"


def test_calls_that_the_end_cuts_count_by_their_part_inside() -> None:
    rows = [call(400 * n, 400, query=2 * n + stream, stream=stream) for n in range(3) for stream in (0, 1)]
    found = summarize_calls(table_of(rows), stage_of("offline", streams=2))
    assert found.metrics["throughput_per_s"]["value"].value == pytest.approx(5.0)
    lonely = summarize_calls(table_of(rows[:2]), stage_of("offline", streams=2, seconds=0.1))
    assert lonely.metrics["throughput_per_s"]["value"].value == pytest.approx(5.0)
