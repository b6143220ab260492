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


def test_each_stage_is_explained_by_its_mean_and_percentiles(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", run, "--output", "csv"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith('"stage","of","requests","send_delay_ms",')
    assert header.endswith(',"unknown_ms","ttft_ms","latency_ms"')
    stages = dict.fromkeys(line.split(",")[0].strip('"') for line in lines)
    assert [[cell.strip('"') for cell in line.split(",")[:2]] for line in lines] == [
        [stage, of] for stage in stages for of in ("mean", "p50", "p95", "p99")
    ]
    assert "warm-up" not in stages


def test_the_slowest_requests_are_in_order_and_their_parts_add_up(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", run, "--stage", "low", "--slowest", "3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["stage"] for row in rows} == {"low"}
    single = [row["breakdown"] for row in rows if row["request"] is not None]
    assert len(single) == 3
    assert [one["latency_ms"] for one in single] == sorted((one["latency_ms"] for one in single), reverse=True)
    for one in single:
        known_ms = sum(part_ms for part_ms in one["parts_ms"].values() if part_ms is not None)
        assert known_ms + one["unknown_ms"] == pytest.approx(one["latency_ms"])


def test_a_request_is_drawn_as_a_waterfall(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", run, "--stage", "low", "--request", "7"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("request 7 of low: ")
    assert "unknown       " in out
    assert out.count(" %\n") == 2
    assert "not reported by the server: server queue, processing" in out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--stage", "none"], "the run has no stage 'none'"),
        (["--request", "1"], "--request needs the stage of the request"),
        (["--stage", "low", "--request", "1000000"], "the stage has no request 1,000,000"),
    ],
)
def test_what_cannot_be_explained_is_said(
    run: str, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", run, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "hint: " in error


def test_counters_of_two_replicas_behind_a_load_balancer_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_a_run_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err


def test_one_class_is_explained_by_its_own_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clock = FakeClock()
    load = ScriptedLoad(clock, service_s=0.004, tokens=8)
    return stored_run(tmp_path_factory.mktemp("spans") / "run", load=load, clock=clock).directory


def spans(trace_ids: list[str]) -> str:
    """An export with a line for each request, of 1 ms in the queue and 2 ms of prefill."""
    attributes = [
        {"key": "gen_ai.latency.time_in_queue", "value": {"doubleValue": 0.001}},
        {"key": "gen_ai.latency.time_in_model_prefill", "value": {"doubleValue": 0.002}},
    ]
    return "".join(
        json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": one, "attributes": attributes}]}]}]})
        + "\n"
        for one in trace_ids
    )


def test_spans_explain_the_requests_that_they_belong_to(
    streamed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, exported = load_run(StoredRun(streamed)), tmp_path / "spans.jsonl"
    stage = next(one for one in run.data.stage_data if one.name == "low")
    numbers = range(3, 23)
    exported.write_text(spans([compute_trace_id(run.result.run_id, stage.index, number) for number in numbers]))
    assert main(["explain", str(streamed), "--stage", "low", "--spans", str(exported), "--json"]) == 0
    out, err = capsys.readouterr()
    rows = [row["breakdown"] for row in json.loads(out)]
    assert [row["aggregate"] for row in rows] == ["mean", "p50", "p95", "p99"]
    assert rows[0]["requests"] == 20
    for row in rows:
        assert (row["evidence"], row["parts_ms"]["queue"], row["parts_ms"]["prefill"]) == ("requests", 1.0, 2.0)
    assert err.startswith("The spans contain the times of 20 of ")
    exported.write_text(spans([compute_trace_id("another run", stage.index, 3)]))
    assert main(["explain", str(streamed), "--spans", str(exported)]) == 2
    assert "has a trace ID of this run" in capsys.readouterr().err
