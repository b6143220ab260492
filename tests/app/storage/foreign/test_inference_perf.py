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


def test_a_folder_of_stages(curve: Read) -> None:
    """The summary and the file of requests in it are no load points."""
    found = curve("inference-perf")
    assert (found.tool, found.model, found.precision) == ("inference-perf", None, "aggregates")
    assert [
        (load_point.offered_per_s, load_point.achieved_per_s, load_point.failed) for load_point in found.load_points
    ] == [
        (1.0, 0.96, 0),
        (2.0, 1.8, 3),
    ]
    assert found.load_points[1].duration_s == 65.0
    assert any("summary of all stages is ignored" in note for note in found.notes)
    assert any("p99 schedule delay up to 0.25 s" in note for note in found.notes)


def test_all_is_in_seconds(curve: Read) -> None:
    latencies = curve(STAGE).load_points[0].latencies_s
    assert latencies["latency"] == pytest.approx(
        {"mean": 3.0, "p50": 2.5, "p90": 5.0, "p95": 5.5, "p99": 6.0, "p99_9": 6.5, "max": 6.5}
    )
    assert latencies["tpot"]["p95"] == pytest.approx(0.045)
    assert latencies["ttft"]["p50"] == pytest.approx(0.25), "not the time per output token normalised by all tokens"
    assert latencies["itl"]["p50"] == 0.0, "a zero among others is a measurement"


def test_version_0_3_in_a_closed_loop(curve: Read) -> None:
    """Its rate of 50 is how many requests the stage has, and its schedule's delay is not the generator's."""
    found = curve(CLOSED)
    (load_point,) = found.load_points
    assert (load_point.offered_per_s, load_point.clients, load_point.duration_s) == (None, 8.0, 12.5)
    assert (load_point.input_tokens_mean, load_point.output_tokens_mean) == (256.0, 90.0)
    assert not any("sent late" in note for note in found.notes)


def test_the_first_version_calls_its_median_p50(changed: Callable[..., Path]) -> None:
    summary = {"mean": 1.0, "min": 0.5, "p10": 0.5, "p50": 0.9, "p90": 1.5, "max": 2.0}
    (load_point,) = read_foreign([changed(CLOSED, successes__latency__request_latency=summary)]).load_points
    assert load_point.latencies_s["latency"] == pytest.approx({"mean": 1.0, "p50": 0.9, "p90": 1.5, "max": 2.0})


def test_the_summary_alone_is_a_load_point_that_reports_no_load(curve: Read) -> None:
    found = curve(SUMMARY)
    assert (found.load_points[0].offered_per_s, found.load_points[0].clients) == (None, None)
    assert any("only for a run with one stage" in note for note in found.notes)


def test_where_nothing_succeeded_there_is_no_latency(changed: Callable[..., Path]) -> None:
    nothing = {"request_latency": None, "time_to_first_token": None}
    ways = {"successes__count": 0, "successes__latency": nothing, "successes__throughput__requests_per_sec": 0.0}
    (load_point,) = read_foreign([changed(STAGE, **ways)]).load_points
    assert (load_point.completed, load_point.latencies_s) == (0, {})


def test_one_adapters_requests_are_no_load_point(changed: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="requests of one adapter"):
        read_foreign([changed(STAGE, "adapter_a_stage_0_lifecycle_metrics.json")])


def test_a_session_report_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "stage_0_session_lifecycle_metrics.json"
    path.write_text('{"stage_metadata": {"stage_id": 0}, "num_sessions": 3}')
    with pytest.raises(UsageError, match="it is not a supported result file"):
        read_foreign([path])
