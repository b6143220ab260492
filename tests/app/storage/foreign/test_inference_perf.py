from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign

Read = Callable[..., ImportedCurve]
STAGE, SUMMARY = (f"inference-perf/{name}_lifecycle_metrics.json" for name in ("stage_1", "summary"))
CLOSED = "inference-perf-0.3-stage_0_lifecycle_metrics.json"


def test_inference_perf_folder_of_stages_is_a_curve(read_curve: Read) -> None:
    """The summary and the file of requests in the folder are not load points."""
    imported = read_curve("inference-perf")
    assert (imported.tool, imported.model, imported.precision) == ("inference-perf", None, "aggregates")
    assert [
        (load_point.offered_per_s, load_point.achieved_per_s, load_point.failed) for load_point in imported.load_points
    ] == [
        (1.0, 0.96, 0),
        (2.0, 1.8, 3),
    ]
    assert imported.load_points[1].duration_s == 65.0
    assert any("summary of all stages is ignored" in note for note in imported.notes)
    assert any("p99 schedule delay up to 0.25 s" in note for note in imported.notes)


def test_inference_perf_latencies_are_in_seconds(read_curve: Read) -> None:
    latencies = read_curve(STAGE).load_points[0].latencies_s
    assert latencies["latency"] == pytest.approx(
        {"mean": 3.0, "p50": 2.5, "p90": 5.0, "p95": 5.5, "p99": 6.0, "p99_9": 6.5, "max": 6.5}
    )
    assert latencies["tpot"]["p95"] == pytest.approx(0.045)
    assert latencies["ttft"]["p50"] == pytest.approx(0.25), "not the time per output token normalized by all tokens"
    assert latencies["itl"]["p50"] == 0.0, "a zero among others is a measurement"


def test_inference_perf_0_3_closed_loop_is_read(read_curve: Read) -> None:
    """The rate of 50 is the number of requests of the stage, and the schedule delay is not caused by the generator."""
    imported = read_curve(CLOSED)
    (load_point,) = imported.load_points
    assert (load_point.offered_per_s, load_point.clients, load_point.duration_s) == (None, 8.0, 12.5)
    assert (load_point.input_tokens_mean, load_point.output_tokens_mean) == (256.0, 90.0)
    assert not any("sent late" in note for note in imported.notes)


def test_inference_perf_median_of_the_first_version_is_named_p50(write_changed_copy: Callable[..., Path]) -> None:
    summary = {"mean": 1.0, "min": 0.5, "p10": 0.5, "p50": 0.9, "p90": 1.5, "max": 2.0}
    (load_point,) = read_foreign([write_changed_copy(CLOSED, successes__latency__request_latency=summary)]).load_points
    assert load_point.latencies_s["latency"] == pytest.approx({"mean": 1.0, "p50": 0.9, "p90": 1.5, "max": 2.0})


def test_inference_perf_summary_alone_is_a_load_point_without_an_offered_load(read_curve: Read) -> None:
    imported = read_curve(SUMMARY)
    assert (imported.load_points[0].offered_per_s, imported.load_points[0].clients) == (None, None)
    assert any("only for a run with one stage" in note for note in imported.notes)


def test_inference_perf_stage_without_successes_has_no_latencies(write_changed_copy: Callable[..., Path]) -> None:
    empty_latencies = {"request_latency": None, "time_to_first_token": None}
    changes = {
        "successes__count": 0,
        "successes__latency": empty_latencies,
        "successes__throughput__requests_per_sec": 0.0,
    }
    (load_point,) = read_foreign([write_changed_copy(STAGE, **changes)]).load_points
    assert (load_point.completed, load_point.latencies_s) == (0, {})


def test_inference_perf_requests_of_one_adapter_are_rejected(write_changed_copy: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="requests of one adapter"):
        read_foreign([write_changed_copy(STAGE, "adapter_a_stage_0_lifecycle_metrics.json")])


def test_inference_perf_session_report_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "stage_0_session_lifecycle_metrics.json"
    path.write_text('{"stage_metadata": {"stage_id": 0}, "num_sessions": 3}')
    with pytest.raises(UsageError, match="it is not a supported result file"):
        read_foreign([path])
