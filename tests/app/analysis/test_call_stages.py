from __future__ import annotations

import pytest

from app.analysis.call_stages import fastest_per_s, stage_name, summarise_calls
from app.records.result import Check
from tests.fakes.calls import call, copied, never, stage_of, table_of


def steady(count: int = 100, takes_ms: float = 10.0) -> list[list[float]]:
    return [call(number * takes_ms, takes_ms, query=number) for number in range(count)]


def test_throughput_is_of_rows_and_not_of_calls() -> None:
    stage = summarise_calls(table_of(steady()), stage_of(batch=8))
    assert stage.metrics["throughput_per_s"]["value"].value == pytest.approx(800), (
        "the last call, which ends with the stage, counts"
    )
    assert stage.metrics["service_ms"]["p50"].value == pytest.approx(8)
    assert (stage.completed, stage.kind, stage.errors) == (100, "closed", {})
    assert stage.offered_per_s.value is None
    assert stage.achieved_per_s.value == pytest.approx(100, rel=0.02)
    assert "latency_ms" not in stage.metrics
    assert stage.verdict.status == "VALID", stage.verdict


def test_copies_are_told_where_they_were_timed_apart() -> None:
    plain = summarise_calls(table_of(steady()), stage_of())
    bound = summarise_calls(table_of([copied(number * 10, 10) for number in range(100)]), stage_of())
    assert "copy_in_ms" not in plain.metrics
    assert bound.metrics["copy_in_ms"]["mean"].value == pytest.approx(1)
    assert bound.metrics["execute_ms"]["mean"].value == pytest.approx(6)


def test_latency_of_the_server_counts_from_when_an_arrival_was_due() -> None:
    rows = [call(10 * n + 2, 5, query=n, due_ms=10 * n) for n in range(100)]
    stage = summarise_calls(table_of(rows), stage_of("server", rate_per_s=100.0))
    assert stage.metrics["latency_ms"]["p50"].value == pytest.approx(7)
    assert stage.metrics["send_lag_ms"]["p50"].value == pytest.approx(2)
    assert (stage.kind, stage.arrivals, stage.scheduled_per_s) == ("steady", "Poisson", 100.0)
    assert stage.offered_per_s.value == pytest.approx(100, rel=0.05)
    assert stage.concurrency is None


def test_arrivals_that_nobody_got_to_are_errors_and_make_latencies_endless() -> None:
    rows = [call(10 * n, 5, query=n, due_ms=10 * n) for n in range(1000)]
    rows += [never(1000 + n, 10_000 + n) for n in range(20)]
    stage = summarise_calls(table_of(rows), stage_of("server", seconds=11.0, rate_per_s=100.0))
    latency = stage.metrics["latency_ms"]
    assert stage.errors == {"not-started": 20}
    assert stage.completed == 1000
    assert latency["p50"].value == pytest.approx(5)
    assert latency["p95"].value == pytest.approx(5), "a fiftieth of all is in none of these"
    for name in ("p99", "max", "mean"):
        assert latency[name].value is None
        assert "20 arrivals were never begun" in str(latency[name].reason)


def test_latency_of_a_query_is_until_the_last_of_its_calls_ended() -> None:
    rows = [
        call(20 * number, 10 * (1 + stream), query=number, stream=stream, due_ms=20 * number)
        for number in range(50)
        for stream in (0, 1)
    ]
    stage = summarise_calls(table_of(rows), stage_of("multi-stream", streams=2))
    assert stage.metrics["latency_ms"]["p50"].value == pytest.approx(20)
    assert stage.metrics["latency_ms"]["p50"].n == 50
    assert stage.concurrency == 2


def test_single_stream_is_one_call_at_a_time_however_many_streams_a_variant_has() -> None:
    assert summarise_calls(table_of(steady()), stage_of(streams=4)).concurrency == 1
    assert summarise_calls(table_of(steady()), stage_of("offline", streams=4)).concurrency == 4


def test_stage_in_which_no_call_ended_has_its_numbers_withheld_and_is_invalid() -> None:
    stage = summarise_calls(table_of([]), stage_of())
    assert stage.completed == 0
    assert stage.metrics["service_ms"]["p50"].value is None
    assert stage.metrics["throughput_per_s"]["value"].value in (None, 0)
    assert stage.verdict.status == "INVALID"


def test_checks_of_the_variant_are_its_own_too() -> None:
    check = Check("provider", "cpu", "cuda", None, "INVALID", "cuda was asked for.")
    stage = summarise_calls(table_of(steady()), stage_of(), (check,))
    assert stage.checks[0] == check
    assert stage.verdict.status == "INVALID"
    assert fastest_per_s([stage]) is None


def test_fastest_is_of_the_stages_that_can_be_relied_on() -> None:
    slow = summarise_calls(table_of(steady(50, 20.0)), stage_of())
    fast = summarise_calls(table_of(steady()), stage_of())
    assert fastest_per_s([slow, fast]) == pytest.approx(100, rel=0.02)
    assert fastest_per_s([]) is None


def test_stage_is_named_by_scenario_rate_and_variant() -> None:
    assert stage_name(stage_of(batch=8)) == "single-stream: m cpu as-is, batch 8"
    assert stage_name(stage_of("server", rate_per_s=123.456)) == "server at 123.5/s: m cpu as-is, batch 1"


def test_calls_that_the_end_cuts_count_by_their_part_inside() -> None:
    rows = [call(400 * n, 400, query=2 * n + stream, stream=stream) for n in range(3) for stream in (0, 1)]
    found = summarise_calls(table_of(rows), stage_of("offline", streams=2))
    assert found.metrics["throughput_per_s"]["value"].value == pytest.approx(5.0)
    lonely = summarise_calls(table_of(rows[:2]), stage_of("offline", streams=2, seconds=0.1))
    assert lonely.metrics["throughput_per_s"]["value"].value == pytest.approx(5.0)
