"""Read by the model that llm-d's own package validates with: unknown keys and wrong units are errors there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from app.reporting.llm_d import build_llm_d_reports
from tests.fakes.local_runs import local_run
from tests.fakes.results import SPEC, Run, full_run, interrupted, nothing_measured
from tests.fakes.traffic import clients_run, locust_run, spike_run, streaming_run


def _read(run: Run) -> list[Any]:
    """Each written, read back and validated."""
    from llmd_benchmark_report import load_benchmark_report  # deferred, because the import takes half a second

    found = [msgspec.json.decode(msgspec.json.encode(one)) for one in build_llm_d_reports(run.result, SPEC)]
    return [load_benchmark_report(one) for one in found]


@pytest.mark.parametrize(
    ("run", "points"),
    [(full_run, 11), (interrupted, 4), (streaming_run, 1), (clients_run, 6), (spike_run, 2), (locust_run, 1),
     (local_run, 0), (nothing_measured, 0)],
)  # fmt: skip
def test_each_load_point_is_a_report_of_its_own_by_their_schema(run: Any, points: int) -> None:
    from llmd_benchmark_report import BenchmarkReportV021

    found = _read(run())
    assert [type(one) for one in found] == [BenchmarkReportV021] * points
    assert len({one.run.uid for one in found}) == points
    assert {one.version for one in found} <= {"0.2.1"}


def test_its_numbers_are_those_of_the_stage() -> None:
    run = streaming_run()
    (stage,), (found,) = run.result.stages, _read(run)
    aggregate = found.results.request_performance.aggregate
    assert aggregate.requests.total == stage.completed + sum(stage.errors.values())
    for theirs, ours in (
        (aggregate.latency.time_to_first_token, "ttft_ms"),
        (aggregate.latency.time_per_output_token, "tpot_ms"),
        (aggregate.latency.inter_token_latency, "itl_ms"),
        (aggregate.latency.request_latency, "latency_ms"),
        (aggregate.requests.output_length, "output_tokens"),
    ):
        for their_name, our_name in (("mean", "mean"), ("p50", "p50"), ("p99", "p99"), ("max", "max")):
            assert getattr(theirs, their_name) == stage.metrics[ours][our_name].value
    assert aggregate.throughput.output_token_rate.mean == stage.metrics["output_tokens_per_s"]["value"].value
    load = found.scenario.load.standardized
    assert (load.rate_qps, load.tool) == (8, "sizewise")
    assert load.input_seq_len.value == stage.metrics["input_tokens"]["mean"].value


def test_its_times_are_those_of_the_stage() -> None:
    run = streaming_run()
    (stage,), (found,) = run.result.stages, _read(run)
    began = datetime.fromisoformat(run.result.clock.wall_start)
    lasted_s = (stage.window.end_ns - stage.window.start_ns) / 1e9
    assert (found.run.time.end - found.run.time.start).total_seconds() == pytest.approx(lasted_s)
    assert (found.run.time.start - began).total_seconds() == pytest.approx(2.0)


def test_a_percentile_that_is_withheld_is_left_out_and_a_workload_of_unknown_length_too() -> None:
    first = _read(full_run())[0]
    assert first.results.request_performance.aggregate.latency.request_latency.p99 is None
    assert first.results.request_performance.aggregate.latency.time_to_first_token is None
    assert first.scenario.load is None


def test_a_doubted_measurement_says_so() -> None:
    run = streaming_run()
    doubted = msgspec.structs.replace(run.result.stages[0].verdict, status="INVALID", reasons=("sends were late",))
    stage = msgspec.structs.replace(run.result.stages[0], verdict=doubted)
    (found,) = build_llm_d_reports(msgspec.structs.replace(run.result, stages=(stage,)), "")
    assert found.run.description == "chat, chat: measurement INVALID; sends were late"
    assert "INVALID" in found.run.keywords
