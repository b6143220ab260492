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


def test_a_summary_of_the_first_schema(curve: Read) -> None:
    """Latency p99 700 ms, TTFT mean 52 ms, inter-token latency p50 8.5 ms; 400 answers in 50 s and 5 failures."""
    found = curve(OLD)
    (load_point,) = found.load_points
    assert (found.tool, found.version, found.model) == ("AIPerf", None, "example/llama-8b")
    assert (load_point.offered_per_s, load_point.clients, load_point.achieved_per_s, load_point.duration_s) == (
        9.0,
        None,
        8.0,
        50.0,
    )
    assert (load_point.completed, load_point.failed) == (400, 5)
    assert load_point.latencies_s["latency"]["p99"] == pytest.approx(0.7)
    assert load_point.latencies_s["ttft"]["mean"] == pytest.approx(0.052)
    assert load_point.latencies_s["tpot"]["p50"] == pytest.approx(0.0085), "AIPerf's ITL is others' TPOT"
    assert any("limited by a concurrency limit" in note for note in found.notes)


def test_the_phases_of_later_schemas(curve: Read) -> None:
    found = curve(NEW)
    assert (found.version, found.model, found.precision) == ("0.13.0", "example/llama-8b", "aggregates")
    assert (found.load_points[0].offered_per_s, found.load_points[0].clients) == (None, 4.0), (
        "of the warm-up it would be 2"
    )


def test_a_rate_of_a_phase(changed: Callable[..., Path]) -> None:
    phases = [{"name": "profiling", "type": "poisson", "rate": 7.5, "concurrency": 32}]
    (load_point,) = read_foreign([changed(NEW, input_config__phases=phases)]).load_points
    assert (load_point.offered_per_s, load_point.clients) == (7.5, None)


def test_requests_alone_report_no_load(curve: Read) -> None:
    """Two answers, of 400 and 480 ms, and a failure, in 2.5 s; the warm-up's 500 ms do not count."""
    found = curve(ROWS)
    (load_point,) = found.load_points
    assert (found.precision, found.model) == ("requests", None)
    assert (load_point.offered_per_s, load_point.clients, load_point.completed, load_point.failed) == (None, None, 2, 1)
    assert (load_point.duration_s, load_point.achieved_per_s) == pytest.approx((2.5, 0.8))
    assert load_point.latencies_s["latency"] == pytest.approx(
        {"mean": 0.44, "p50": 0.4, "p90": 0.48, "p95": 0.48, "p99": 0.48, "p99_9": 0.48, "max": 0.48}
    )
    assert load_point.latencies_s["tpot"]["mean"] == pytest.approx(0.0095)
    assert any("rate, concurrency and model are unknown" in note for note in found.notes)


def test_a_folder_joins_summary_and_requests_and_lets_the_rest_be(curve: Read) -> None:
    found = curve("aiperf-0.13")
    (load_point,) = found.load_points
    assert (found.precision, load_point.clients, load_point.achieved_per_s) == ("requests", 4.0, 0.8)
    assert load_point.latencies_s["latency"]["mean"] == pytest.approx(0.44)
    assert found.source == "profile_export.jsonl and 1 more"


def test_folders_are_load_points(curve: Read) -> None:
    assert [load_point.achieved_per_s for load_point in curve("aiperf-0.1", "aiperf-0.13").load_points] == [0.8, 8.0]


def test_requests_of_another_run_are_not_taken(curve: Read, changed: Callable[..., Path], tmp_path: Path) -> None:
    summary = changed(NEW, request_count={"unit": "requests", "avg": 3.0})
    shutil.copy(Path(__file__).parent / "files" / ROWS, tmp_path / "profile_export.jsonl")
    found = read_foreign([summary, tmp_path / "profile_export.jsonl"])
    assert found.precision == "aggregates"
    assert found.load_points[0].latencies_s["latency"]["p99"] == pytest.approx(0.7)
    assert any("has 2 successful requests, but the summary has 3" in note for note in found.notes)


@pytest.mark.parametrize(
    ("unit", "seconds"), [("ms", 0.41), ("s", 410.0), ("sec", 410.0), ("us", 0.00041), ("ns", 4.1e-7)]
)
def test_the_unit_is_the_files_own(changed: Callable[..., Path], unit: str, seconds: float) -> None:
    (load_point,) = read_foreign([changed(OLD, request_latency__unit=unit)]).load_points
    assert load_point.latencies_s["latency"]["mean"] == pytest.approx(seconds)


def test_where_every_request_failed(changed: Callable[..., Path]) -> None:
    gone: dict[str, Any] = dict.fromkeys(("request_latency", "request_throughput", "request_count"))
    gone |= dict.fromkeys(("time_to_first_token", "inter_token_latency"))
    (load_point,) = read_foreign([changed(OLD, **gone)]).load_points
    assert (load_point.completed, load_point.failed, load_point.achieved_per_s, load_point.latencies_s) == (
        0,
        5,
        0.0,
        {},
    )


@pytest.mark.parametrize(
    ("ways", "why"),
    [
        ({"request_latency__unit": "fortnights"}, r"must be a unit of time \(got 'fortnights'\)"),
        ({"request_throughput": None}, "must be a number of requests per second"),
        ({"request_count__avg": 400.5}, r"must be a whole number \(got 400.5\)"),
        ({"input_config__phases": [{"name": "a", "kind": "profiling"}, {"name": "b", "kind": "profiling"}]}, "several"),
        ({"input_config__phases": [{"name": "a", "type": "fixed_schedule"}]}, "replays a schedule"),
    ],
)
def test_what_is_refused(changed: Callable[..., Path], ways: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_foreign([changed(OLD, **ways)])
