from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign

Read = Callable[..., ImportedCurve]
ONE, FOUR = (f"genai-bench/D100_100_text-to-text_num_concurrency_{n}_time_60s.json" for n in (1, 4))


def test_genai_bench_folder_is_a_curve_of_closed_loops(read_curve: Read) -> None:
    imported = read_curve("genai-bench")
    assert (imported.tool, imported.version, imported.model) == ("genai-bench", "0.0.5", "llama-8b")
    assert [
        (load_point.offered_per_s, load_point.clients, load_point.achieved_per_s) for load_point in imported.load_points
    ] == [
        (None, 1.0, 0.5),
        (None, 4.0, 0.75),
    ]
    assert [(load_point.completed, load_point.failed) for load_point in imported.load_points] == [(2, 1), (3, 1)]
    assert "the traffic scenario is D(100,100)" in imported.notes


def test_genai_bench_requests_yield_exact_aggregates_without_failures(read_curve: Read) -> None:
    """The latencies are 1.5 and 2 s."""
    imported = read_curve(ONE)
    assert (imported.precision, imported.model) == ("requests", None)
    assert imported.load_points[0].latencies_s["latency"]["p50"] == pytest.approx(1.5)
    assert imported.load_points[0].latencies_s["latency"]["p99_9"] == pytest.approx(2.0)
    assert imported.load_points[0].latencies_s["tpot"]["mean"] == pytest.approx(0.01375)


def test_failed_genai_bench_request_with_a_latency_is_not_counted(write_changed_copy: Callable[..., Path]) -> None:
    imported = read_foreign([write_changed_copy(ONE, individual_request_metrics__2__e2e_latency=60.0)])
    assert imported.precision == "requests"
    assert imported.load_points[0].latencies_s["latency"]["max"] == pytest.approx(2.0)


def test_genai_bench_aggregates_without_warm_up_are_preferred_to_requests(read_curve: Read) -> None:
    """The file is in milliseconds. Its requests include one of 9,000 ms that its mean of 2,200 ms does not."""
    imported = read_curve(FOUR)
    assert imported.precision == "aggregates"
    assert imported.load_points[0].latencies_s["latency"] == pytest.approx(
        {"mean": 2.2, "p50": 2.2, "p90": 2.36, "p95": 2.38, "p99": 2.396, "max": 2.4}
    )
    assert imported.load_points[0].latencies_s["ttft"]["p99"] == pytest.approx(0.598)
    assert any("warm-up" in note for note in imported.notes)


def test_genai_bench_files_of_the_first_version_have_seconds_and_minutes(
    write_changed_copy: Callable[..., Path],
) -> None:
    changes = {
        "_time_unit": None,
        "aggregated_metrics__requests_per_second": None,
        "aggregated_metrics__requests_per_minute": 30.0,
        "aggregated_metrics__run_duration": None,
    }
    (load_point,) = read_foreign([write_changed_copy(ONE, **changes)]).load_points
    assert (load_point.achieved_per_s, load_point.duration_s) == (0.5, 4.0)
    assert load_point.latencies_s["latency"]["mean"] == pytest.approx(1.75)


def test_genai_bench_files_of_two_traffic_scenarios_are_rejected(
    read_curve: Read, write_changed_copy: Callable[..., Path]
) -> None:
    files = Path(__file__).parent / "files"
    other = write_changed_copy(FOUR, aggregated_metrics__scenario="D(2000,200)")
    with pytest.raises(UsageError, match=r"its traffic scenario is D\(2000,200\), but that of another file is D"):
        read_foreign([files / ONE, other])


@pytest.mark.parametrize(
    ("key_path", "value", "message"),
    [
        ("aggregated_metrics__iteration_type", "batch_size", "varies the batch size"),
        ("_time_unit", "min", r"must be a unit of time \(got 'min'\)"),
        ("individual_request_metrics", {}, r"individual_request_metrics must be a list \(got an object\)"),
        ("aggregated_metrics__num_concurrency", 0, "a concurrency of 0"),
    ],
)
def test_invalid_genai_bench_files_are_rejected(
    write_changed_copy: Callable[..., Path], key_path: str, value: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_foreign([write_changed_copy(ONE, **{key_path: value})])


def test_genai_bench_metadata_without_results_are_rejected(read_curve: Read) -> None:
    with pytest.raises(UsageError, match=r"experiment_metadata.json cannot be read as a curve: it has no load point"):
        read_curve("genai-bench/experiment_metadata.json")
