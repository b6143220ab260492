from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from app.cli.main import main
from app.records.telemetry import Samples
from app.reporting.opened import load_run
from app.storage.run_directory import StoredRun
from loadgen.trace_context import compute_trace_id
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.request_classes import stored_class_run
from tests.fakes.stored_runs import stored_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(stored_run(tmp_path_factory.mktemp("explain") / "run").directory)


def test_explain_breaks_down_mean_and_percentiles_of_each_stage(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", run, "--output", "csv"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith('"stage","of","requests","send_delay_ms",')
    assert header.endswith(',"unknown_ms","ttft_ms","latency_ms"')
    stages = dict.fromkeys(line.split(",")[0].strip('"') for line in lines)
    assert [[cell.strip('"') for cell in line.split(",")[:2]] for line in lines] == [
        [stage, of] for stage in stages for of in ("mean", "p50", "p95", "p99")
    ]
    assert "warm-up" not in stages


def test_slowest_requests_are_ordered_and_their_parts_sum_to_the_latency(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", run, "--stage", "low", "--slowest", "3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["stage"] for row in rows} == {"low"}
    breakdowns = [row["breakdown"] for row in rows if row["request"] is not None]
    assert len(breakdowns) == 3
    assert [breakdown["latency_ms"] for breakdown in breakdowns] == sorted(
        (breakdown["latency_ms"] for breakdown in breakdowns), reverse=True
    )
    for breakdown in breakdowns:
        known_ms = sum(part_ms for part_ms in breakdown["parts_ms"].values() if part_ms is not None)
        assert known_ms + breakdown["unknown_ms"] == pytest.approx(breakdown["latency_ms"])


def test_single_request_is_drawn_as_a_waterfall(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", run, "--stage", "low", "--request", "7"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("request 7 of low: ")
    assert "unknown       " in out
    assert out.count(" %\n") == 2
    assert "not reported by the server: server queue, processing" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stage", "none"], "the run has no stage 'none'"),
        (["--request", "1"], "--request needs the stage of the request"),
        (["--stage", "low", "--request", "1000000"], "the stage has no request 1,000,000"),
    ],
)
def test_explain_with_unknown_stage_or_request_is_a_usage_error(
    run: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", run, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "hint: " in error


def test_counters_of_alternating_replicas_are_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replicas = itertools.cycle(
        Samples({"vllm:request_success_total": requests}, start_times_s={"process_start_time_seconds{}": start_s})
        for start_s, requests in ((1e9, 100.0), (2e9, 5000.0))
    )
    run = stored_run(tmp_path / "run", read_metrics=lambda _: (next(replicas),))
    assert main(["explain", str(run.directory), "--json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert {row["counters_refusal"] for row in rows} == {"other_process"}
    assert {row["breakdown"]["evidence"] for row in rows} == {None}
    assert "(other_process)" in err


def test_explain_of_a_missing_run_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err


def test_explain_of_a_request_class_uses_only_its_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stored_class_run(tmp_path / "run")
    numbers = run.requests()["class"].to_pandas()
    assert main(["explain", str(run.directory), "--class", "b", "--slowest", "2", "--json"]) == 0
    mean, *_, slow, slower = json.loads(capsys.readouterr().out)
    assert mean["breakdown"]["requests"] == (numbers == 1).sum()
    assert [numbers[row["request"]] for row in (slow, slower)] == [1, 1]
    assert main(["explain", str(run.directory), "--class", "x"]) == 2
    error = capsys.readouterr().err
    assert "the run has no class 'x'" in error
    assert "Use one of these classes: a, b, c." in error
    stage = run.result.stages[0].name if run.result is not None else ""
    assert main(["explain", str(run.directory), "--stage", stage, "--class", "b", "--request", "1"]) == 2
    assert "--class cannot be used with --request" in capsys.readouterr().err


@pytest.fixture(scope="module")
def streamed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clock = FakeClock()
    load = ScriptedLoad(clock, service_s=0.004, tokens=8)
    return stored_run(tmp_path_factory.mktemp("spans") / "run", load=load, clock=clock).directory


def encode_spans(trace_ids: list[str]) -> str:
    """Return an export of spans with a line per request, each with 1 ms in the queue and 2 ms of prefill."""
    attributes = [
        {"key": "gen_ai.latency.time_in_queue", "value": {"doubleValue": 0.001}},
        {"key": "gen_ai.latency.time_in_model_prefill", "value": {"doubleValue": 0.002}},
    ]
    return "".join(
        json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": trace_id, "attributes": attributes}]}]}]})
        + "\n"
        for trace_id in trace_ids
    )


def test_spans_provide_queue_and_prefill_times_of_their_requests(
    streamed_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, exported = load_run(StoredRun(streamed_run)), tmp_path / "spans.jsonl"
    stage = next(stage for stage in run.data.stage_data if stage.name == "low")
    numbers = range(3, 23)
    exported.write_text(encode_spans([compute_trace_id(run.result.run_id, stage.index, number) for number in numbers]))
    assert main(["explain", str(streamed_run), "--stage", "low", "--spans", str(exported), "--json"]) == 0
    out, err = capsys.readouterr()
    rows = [row["breakdown"] for row in json.loads(out)]
    assert [row["aggregate"] for row in rows] == ["mean", "p50", "p95", "p99"]
    assert rows[0]["requests"] == 20
    for row in rows:
        assert (row["evidence"], row["parts_ms"]["queue"], row["parts_ms"]["prefill"]) == ("requests", 1.0, 2.0)
    assert err.startswith("The spans contain the times of 20 of ")
    exported.write_text(encode_spans([compute_trace_id("another run", stage.index, 3)]))
    assert main(["explain", str(streamed_run), "--spans", str(exported)]) == 2
    assert "has a trace ID of this run" in capsys.readouterr().err
