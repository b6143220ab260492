"""Validated by llm-d's own package, which rejects unknown keys and wrong units."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from app.reporting.llm_d import build_llm_d_reports
from tests.fakes.local_runs import local_run
from tests.fakes.results import SPEC, Run, full_run, interrupted_run, run_without_load
from tests.fakes.traffic import clients_run, locust_run, spike_run, streaming_run


def build_validated_reports(run: Run) -> list[Any]:
    """Encode, decode and validate the llm-d reports of a run."""
    from llmd_benchmark_report import load_benchmark_report  # deferred, because the import takes half a second

    documents = [msgspec.json.decode(msgspec.json.encode(report)) for report in build_llm_d_reports(run.result, SPEC)]
    return [load_benchmark_report(document) for document in documents]


@pytest.mark.parametrize(
    ("run", "points"),
    [(full_run, 11), (interrupted_run, 4), (streaming_run, 1), (clients_run, 6), (spike_run, 2), (locust_run, 1),
     (local_run, 0), (run_without_load, 0)],
)  # fmt: skip
def test_each_load_point_has_a_valid_llm_d_report(run: Any, points: int) -> None:
    from llmd_benchmark_report import BenchmarkReportV021

    reports = build_validated_reports(run())
    assert [type(report) for report in reports] == [BenchmarkReportV021] * points
    assert len({report.run.uid for report in reports}) == points
    assert {report.version for report in reports} <= {"0.2.1"}


def test_llm_d_report_has_the_metrics_of_its_stage() -> None:
    run = streaming_run()
    (stage,), (report,) = run.result.stages, build_validated_reports(run)
    aggregate = report.results.request_performance.aggregate
    assert aggregate.requests.total == stage.completed + sum(stage.errors.values())
    for statistics, metric in (
        (aggregate.latency.time_to_first_token, "ttft_ms"),
        (aggregate.latency.time_per_output_token, "tpot_ms"),
        (aggregate.latency.inter_token_latency, "itl_ms"),
        (aggregate.latency.request_latency, "latency_ms"),
        (aggregate.requests.output_length, "output_tokens"),
    ):
        for their_name, our_name in (("mean", "mean"), ("p50", "p50"), ("p99", "p99"), ("max", "max")):
            assert getattr(statistics, their_name) == stage.metrics[metric][our_name].value
    assert aggregate.throughput.output_token_rate.mean == stage.metrics["output_tokens_per_s"]["value"].value
    load = report.scenario.load.standardized
    assert (load.rate_qps, load.tool) == (8, "sizewise")
    assert load.input_seq_len.value == stage.metrics["input_tokens"]["mean"].value


def test_llm_d_report_has_the_start_and_duration_of_its_stage() -> None:
    run = streaming_run()
    (stage,), (report,) = run.result.stages, build_validated_reports(run)
    run_start = datetime.fromisoformat(run.result.clock.wall_start)
    duration_s = (stage.window.end_ns - stage.window.start_ns) / 1e9
    assert (report.run.time.end - report.run.time.start).total_seconds() == pytest.approx(duration_s)
    assert (report.run.time.start - run_start).total_seconds() == pytest.approx(2.0)


def test_llm_d_report_omits_withheld_percentiles_and_unknown_workload() -> None:
    first = build_validated_reports(full_run())[0]
    assert first.results.request_performance.aggregate.latency.request_latency.p99 is None
    assert first.results.request_performance.aggregate.latency.time_to_first_token is None
    assert first.scenario.load is None


def test_llm_d_report_of_an_invalid_stage_is_marked_invalid() -> None:
    run = streaming_run()
    invalid = msgspec.structs.replace(run.result.stages[0].verdict, status="INVALID", reasons=("sends were late",))
    stage = msgspec.structs.replace(run.result.stages[0], verdict=invalid)
    (report,) = build_llm_d_reports(msgspec.structs.replace(run.result, stages=(stage,)), "")
    assert report.run.description == "chat, chat: measurement INVALID; sends were late"
    assert "INVALID" in report.run.keywords
