from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign

Read = Callable[..., ImportedCurve]
OLD, NEW = "aiperf-0.1/profile_export_aiperf.json", "aiperf-0.13/profile_export_aiperf.json"
ROWS = "aiperf-0.13/profile_export.jsonl"


def test_aiperf_summary_of_the_first_schema_is_read(read_curve: Read) -> None:
    """Latency p99 700 ms, TTFT mean 52 ms, inter-token latency p50 8.5 ms; 400 responses in 50 s and 5 failures."""
    imported = read_curve(OLD)
    (load_point,) = imported.load_points
    assert (imported.tool, imported.version, imported.model) == ("AIPerf", None, "example/llama-8b")
    assert (load_point.offered_per_s, load_point.clients, load_point.achieved_per_s, load_point.duration_s) == (
        9.0,
        None,
        8.0,
        50.0,
    )
    assert (load_point.completed, load_point.failed) == (400, 5)
    assert load_point.latencies_s["latency"]["p99"] == pytest.approx(0.7)
    assert load_point.latencies_s["ttft"]["mean"] == pytest.approx(0.052)
    assert load_point.latencies_s["tpot"]["p50"] == pytest.approx(0.0085), "AIPerf reports TPOT under the name ITL"
    assert any("limited by a concurrency limit" in note for note in imported.notes)


def test_aiperf_phases_of_later_schemas_are_read(read_curve: Read) -> None:
    imported = read_curve(NEW)
    assert (imported.version, imported.model, imported.precision) == ("0.13.0", "example/llama-8b", "aggregates")
    assert (imported.load_points[0].offered_per_s, imported.load_points[0].clients) == (None, 4.0), (
        "the concurrency of the warm-up is 2"
    )


def test_rate_of_an_aiperf_phase_is_the_offered_rate(write_changed_copy: Callable[..., Path]) -> None:
    phases = [{"name": "profiling", "type": "poisson", "rate": 7.5, "concurrency": 32}]
    (load_point,) = read_foreign([write_changed_copy(NEW, input_config__phases=phases)]).load_points
    assert (load_point.offered_per_s, load_point.clients) == (7.5, None)


def test_aiperf_requests_without_a_summary_have_no_offered_load(read_curve: Read) -> None:
    """Two responses, of 400 and 480 ms, and a failure, in 2.5 s; the 500 ms of the warm-up are not counted."""
    imported = read_curve(ROWS)
    (load_point,) = imported.load_points
    assert (imported.precision, imported.model) == ("requests", None)
    assert (load_point.offered_per_s, load_point.clients, load_point.completed, load_point.failed) == (None, None, 2, 1)
    assert (load_point.duration_s, load_point.achieved_per_s) == pytest.approx((2.5, 0.8))
    assert load_point.latencies_s["latency"] == pytest.approx(
        {"mean": 0.44, "p50": 0.4, "p90": 0.48, "p95": 0.48, "p99": 0.48, "p99_9": 0.48, "max": 0.48}
    )
    assert load_point.latencies_s["tpot"]["mean"] == pytest.approx(0.0095)
    assert any("rate, concurrency and model are unknown" in note for note in imported.notes)


def test_aiperf_folder_combines_summary_and_requests(read_curve: Read) -> None:
    imported = read_curve("aiperf-0.13")
    (load_point,) = imported.load_points
    assert (imported.precision, load_point.clients, load_point.achieved_per_s) == ("requests", 4.0, 0.8)
    assert load_point.latencies_s["latency"]["mean"] == pytest.approx(0.44)
    assert imported.source == "profile_export.jsonl and 1 more"


def test_each_aiperf_folder_is_a_load_point(read_curve: Read) -> None:
    assert [load_point.achieved_per_s for load_point in read_curve("aiperf-0.1", "aiperf-0.13").load_points] == [
        0.8,
        8.0,
    ]


def test_aiperf_requests_of_another_run_are_ignored_with_a_note(
    read_curve: Read, write_changed_copy: Callable[..., Path], tmp_path: Path
) -> None:
    summary = write_changed_copy(NEW, request_count={"unit": "requests", "avg": 3.0})
    shutil.copy(Path(__file__).parent / "files" / ROWS, tmp_path / "profile_export.jsonl")
    imported = read_foreign([summary, tmp_path / "profile_export.jsonl"])
    assert imported.precision == "aggregates"
    assert imported.load_points[0].latencies_s["latency"]["p99"] == pytest.approx(0.7)
    assert any("has 2 successful requests, but the summary has 3" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("unit", "seconds"), [("ms", 0.41), ("s", 410.0), ("sec", 410.0), ("us", 0.00041), ("ns", 4.1e-7)]
)
def test_aiperf_latency_unit_is_read_from_the_file(
    write_changed_copy: Callable[..., Path], unit: str, seconds: float
) -> None:
    (load_point,) = read_foreign([write_changed_copy(OLD, request_latency__unit=unit)]).load_points
    assert load_point.latencies_s["latency"]["mean"] == pytest.approx(seconds)


def test_aiperf_run_in_which_every_request_failed_has_no_latencies(write_changed_copy: Callable[..., Path]) -> None:
    missing_metrics: dict[str, Any] = dict.fromkeys(("request_latency", "request_throughput", "request_count"))
    missing_metrics |= dict.fromkeys(("time_to_first_token", "inter_token_latency"))
    (load_point,) = read_foreign([write_changed_copy(OLD, **missing_metrics)]).load_points
    assert (load_point.completed, load_point.failed, load_point.achieved_per_s, load_point.latencies_s) == (
        0,
        5,
        0.0,
        {},
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"request_latency__unit": "fortnights"}, r"must be a unit of time \(got 'fortnights'\)"),
        ({"request_throughput": None}, "must be a number of requests per second"),
        ({"request_count__avg": 400.5}, r"must be a whole number \(got 400.5\)"),
        ({"input_config__phases": [{"name": "a", "kind": "profiling"}, {"name": "b", "kind": "profiling"}]}, "several"),
        ({"input_config__phases": [{"name": "a", "type": "fixed_schedule"}]}, "replays a schedule"),
    ],
)
def test_invalid_aiperf_files_are_rejected(
    write_changed_copy: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_foreign([write_changed_copy(OLD, **changes)])
