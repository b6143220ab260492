from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from app.cli.main import main
from app.errors import ExitCode
from app.records.result import Estimate, Result
from app.storage.run_directory import RunWriter
from tests.fakes.results import full_run

RUNS, SLOWER_FROM = 16, 8


def scaled(result: Result, number: int, times: float) -> Result:
    """Its latencies `times` as long."""
    stages = []
    for stage in result.stages:
        latency = {
            name: Estimate(None if one.value is None else one.value * times)
            for name, one in stage.metrics.get("latency_ms", {}).items()
        }
        stages.append(replace(stage, metrics=stage.metrics | ({"latency_ms": latency} if latency else {})))
    clock = replace(result.clock, wall_start=f"2026-08-{number + 1:02d}T12:00:00+00:00")
    return replace(result, run_id=f"run-{number:02d}", clock=clock, stages=tuple(stages), workload_hash="one")


@pytest.fixture
def nightly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sixteen runs, the later half a fifth slower, stored out of order; beside them one that cannot be read."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    rng, whole = np.random.default_rng(1), full_run().result
    noise = rng.lognormal(0, 0.01, RUNS)
    for number in reversed(range(RUNS)):
        times = float(noise[number]) * (1.2 if number >= SLOWER_FROM else 1.0)
        with RunWriter(tmp_path / "runs" / f"{RUNS - number:02d}") as writer:
            writer.write_result(scaled(whole, number, times))
    RunWriter(tmp_path / "runs" / "damaged").close()
    (tmp_path / "runs" / "damaged" / "result.json").write_text("{")
    return whole.name


def test_a_change_of_level_is_told_with_the_run_it_began_with(nightly: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "trend"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert out.startswith(f"{nightly}: 16 runs, run-00 to run-15\n")
    (p95,) = [line for line in out.splitlines() if line.startswith("latency_ms.p95 ")]
    assert "since run-08 (worse)" in p95
    steady = [line for line in out.splitlines() if line.startswith("max_rate_within_slo ")]
    assert [line.endswith(" no") for line in steady] == [True]


def test_one_metric_as_json_has_each_runs_value(nightly: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "trend", nightly, "--metric", "latency_ms.p95", "--json"]) == ExitCode.OK
    series = json.loads(capsys.readouterr().out)
    assert {(one["metric"], one["aggregate"]) for one in series} == {("latency_ms", "p95")}
    assert series[0]["run_ids"] == [f"run-{number:02d}" for number in range(RUNS)]
    assert series[0]["changes"][0]["place"] == SLOWER_FROM


def test_a_run_of_another_machine_is_left_out_and_told(
    nightly: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = scaled(full_run().result, 17, 3.0)
    with RunWriter(tmp_path / "runs" / "odd") as writer:
        writer.write_result(replace(odd, workload_hash="another"))
    before = scaled(replace(full_run().result, verdict=replace(odd.verdict, status="INVALID")), 18, 3.0)
    with RunWriter(tmp_path / "runs" / "void") as writer:
        writer.write_result(before)
    last = replace(scaled(full_run().result, 19, 1.2), workload_hash="another")
    with RunWriter(tmp_path / "runs" / "last") as writer:
        writer.write_result(last)
    assert main(["runs", "trend"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith("; 17 left out: INVALID, or of another machine or workload")
    assert "A change of level is told from 14 runs on." in out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["no-such"], "there is no run of no-such"),
        (["--metric", "ttft_ms.p95"], "16 runs of that profile tell nothing of ttft_ms.p95"),
    ],
)
def test_what_is_not_there_is_told(
    nightly: str, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "trend", *words]) == ExitCode.USAGE
    assert why in capsys.readouterr().err


def test_without_any_run_it_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert main(["runs", "trend"]) == ExitCode.USAGE
    assert "`sizewise quickstart` makes the first" in capsys.readouterr().err
