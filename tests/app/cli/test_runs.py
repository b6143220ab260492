from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from app.cli.main import main
from app.errors import ExitCode
from app.records.events import PhaseChanged, RunFinished, RunStarted
from app.records.result import Estimate, Result
from app.storage.names import JOURNAL
from app.storage.run_directory import EVENTS, RESULT, RunWriter
from tests.fakes.local_runs import local_run
from tests.fakes.results import full_run

GONE_PID = 2**22 + 1
"""A process ID beyond the maximum of Linux and macOS."""


def write_run(directory: Path, *, pid: int, end: RunFinished | None) -> RunWriter:
    writer = RunWriter(directory)
    writer.append_event(RunStarted(1, "r", "test", str(directory), pid))
    writer.append_event(PhaseChanged(2, "doctor", "checking this machine"))
    if end is not None:
        writer.append_event(end)
    return writer


def test_attach_to_a_finished_run_prints_its_events_and_exits_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(
        tmp_path / "r", pid=os.getpid(), end=RunFinished(3, "VALID", 10, ("FAIL: p95; no baseline", "FAIL: p99"))
    ).close()
    assert main(["runs", "attach", str(tmp_path / "r")]) == 10
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "doctor: checking this machine",
        "r: VALID",
        "exit 10: FAIL: p95; no baseline",
        "exit 10: FAIL: p99",
    ]


def test_attach_to_a_run_whose_process_has_ended_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with write_run(tmp_path / "r", pid=GONE_PID, end=None):
        assert main(["runs", "attach", str(tmp_path / "r")]) == ExitCode.LIMIT
    assert "doctor: checking this machine\nerror: the process of" in capsys.readouterr().err


RUNS, SLOWER_FROM = 16, 8


def scaled(result: Result, number: int, times: float) -> Result:
    """Return run `number` of a series, its latencies multiplied by `times`."""
    stages = []
    for stage in result.stages:
        latency = {
            name: Estimate(None if estimate.value is None else estimate.value * times)
            for name, estimate in stage.metrics.get("latency_ms", {}).items()
        }
        stages.append(replace(stage, metrics=stage.metrics | ({"latency_ms": latency} if latency else {})))
    clock = replace(result.clock, wall_start=f"2026-08-{number + 1:02d}T12:00:00+00:00")
    return replace(result, run_id=f"run-{number:02d}", clock=clock, stages=tuple(stages), workload_hash="one")


@pytest.fixture
def nightly_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Store 16 runs out of order, the later half 20 % slower, and a damaged one; return the name of their profile."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    rng, result = np.random.default_rng(1), full_run().result
    noise = rng.lognormal(0, 0.01, RUNS)
    for number in reversed(range(RUNS)):
        times = float(noise[number]) * (1.2 if number >= SLOWER_FROM else 1.0)
        with RunWriter(tmp_path / "runs" / f"{RUNS - number:02d}") as writer:
            writer.write_result(scaled(result, number, times))
    RunWriter(tmp_path / "runs" / "damaged").close()
    (tmp_path / "runs" / "damaged" / "result.json").write_text("{")
    return result.name


def test_trend_reports_the_first_run_after_a_level_change(
    nightly_profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "trend"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert out.startswith(f"{nightly_profile}: 16 runs, run-00 to run-15\n")
    (p95,) = [line for line in out.splitlines() if line.startswith("latency_ms.p95 ")]
    assert "since run-08 (worse)" in p95
    steady = [line for line in out.splitlines() if line.startswith("max_rate_within_slo ")]
    assert [line.split()[-2:] for line in steady] == [["req/s", "no"]]


def test_trend_json_of_one_metric_has_every_run_id_and_change(
    nightly_profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "trend", nightly_profile, "--metric", "latency_ms.p95", "--json"]) == ExitCode.OK
    series = json.loads(capsys.readouterr().out)
    assert {(row["metric"], row["aggregate"]) for row in series} == {("latency_ms", "p95")}
    assert series[0]["run_ids"] == [f"run-{number:02d}" for number in range(RUNS)]
    assert series[0]["changes"][0]["index"] == SLOWER_FROM


def test_trend_excludes_invalid_runs_and_other_workloads(
    nightly_profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow_result = scaled(full_run().result, 17, 3.0)
    with RunWriter(tmp_path / "runs" / "odd") as writer:
        writer.write_result(replace(slow_result, workload_hash="another"))
    invalid_result = scaled(replace(full_run().result, verdict=replace(slow_result.verdict, status="INVALID")), 18, 3.0)
    with RunWriter(tmp_path / "runs" / "void") as writer:
        writer.write_result(invalid_result)
    last_result = replace(scaled(full_run().result, 19, 1.2), workload_hash="another")
    with RunWriter(tmp_path / "runs" / "last") as writer:
        writer.write_result(last_result)
    assert main(["runs", "trend"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith("; 17 excluded (INVALID, or another machine or workload)")
    assert "Change detection needs at least 14 runs." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such"], "no run of no-such was found"),
        (["--metric", "ttft_ms.p95"], "no run of this profile has ttft_ms.p95 (16 runs)"),
    ],
)
def test_trend_without_matching_runs_is_a_usage_error(
    nightly_profile: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "trend", *arguments]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_trend_without_any_run_suggests_quickstart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert main(["runs", "trend"]) == ExitCode.USAGE
    assert "Run `sizewise quickstart` to create the first one." in capsys.readouterr().err


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, an interrupted one, and two with unreadable results."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    folder = tmp_path / "runs"
    with RunWriter(folder / "1-whole") as writer:
        writer.write_result(full_run().result)
    for name, result in (("2-cut", None), ("3-damaged", '{"schema": 1, "run'), ("4-nested", "[" * 100_000)):
        RunWriter(folder / name).close()
        if result is not None:
            (folder / name / RESULT).write_text(result)
    assert (folder / "4-nested" / EVENTS).exists()
    return folder


def test_runs_list_shows_runs_beside_damaged_ones(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    result = full_run().result
    assert lines[0].startswith(result.run_id)
    assert result.verdict.status in lines[0]
    unreadable = ["n/a", "n/a", "n/a", "unreadable"]
    assert [line.split()[:5] for line in lines[2:]] == [["3-damaged", *unreadable], ["4-nested", *unreadable]]
    assert "interrupted" in lines[1]


@pytest.mark.parametrize(
    ("events", "pid", "state", "message"),
    [
        ((), os.getpid(), "running", "is still running"),
        ((), GONE_PID, "interrupted", "was interrupted"),
        ((RunFinished(2, "UNAVAILABLE", 3, ("nobody answers",)),), os.getpid(), "not measured", "nobody answers"),
    ],
    ids=["running", "interrupted", "not measured"],
)
def test_commands_report_why_a_run_has_no_result(
    runs: Path, events: tuple[RunFinished, ...], pid: int, state: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunWriter(runs / "5-other") as writer:
        writer.append_event(RunStarted(1, "5-other", "test", str(runs), pid))
        for event in events:
            writer.append_event(event)
        assert main(["runs", "list", "--json"]) == 0
        row = json.loads(capsys.readouterr().out)[-1]
        assert (row["state"], row["exit_code"]) == (state, 3 if events else None)
        for command in (["runs", "show", "5-other"], ["plan", "5-other"], ["report", "5-other"]):
            assert main(command) == ExitCode.USAGE
            assert message in capsys.readouterr().err


def test_runs_list_json_has_verdicts_exit_codes_and_directories(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["verdict"] for row in rows[1:]] == [None, "unreadable", "unreadable"]
    assert rows[0]["exit_code"] == full_run().result.exit.code
    assert rows[2]["directory"] == str(runs / "3-damaged")


def test_runs_list_has_start_target_max_rate_and_duration(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = full_run().result
    clock = replace(result.clock, wall_start="2026-08-01T14:30:59+02:00", duration_s=125.4)
    target = replace(result.target, urls=("http://127.0.0.1:8000/a/path/longer/than/the/column",))
    with RunWriter(runs / "5-dated") as writer:
        writer.write_result(replace(result, run_id="5-dated", clock=clock, target=target))
    assert main(["runs", "list"]) == 0
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert re.split("  +", header) == [
        "run", "started (UTC)", "target", "outcome", "validity", "headline", "duration"
    ]  # fmt: skip
    assert result.max_rate is not None
    assert re.split("  +", lines[-1])[:3] == ["5-dated", "2026-08-01 12:30", "127.0.0.1:8000/a/path/l…"]
    assert re.split("  +", lines[-1])[5:7] == [f"max rate {result.max_rate.per_s.value:.0f} req/s", "2 min 5 s"]


def test_runs_list_with_limit_shows_the_newest_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list", "--limit", "2"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["3-damaged", "4-nested"]
    assert main(["runs", "list", "--limit", "9", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert main(["runs", "list", "--limit", "0"]) == ExitCode.USAGE


def test_runs_list_csv_has_every_column_even_if_empty(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "note", "2-cut", "power loss"]) == 0
    capsys.readouterr()
    assert main(["runs", "list", "--output", "csv"]) == 0
    finished_row, interrupted_row, *_ = csv.DictReader(io.StringIO(capsys.readouterr().out))
    result = full_run().result
    assert result.max_rate is not None
    assert float(finished_row["max_rate_per_s"]) == result.max_rate.per_s.value
    assert (float(finished_row["duration_s"]), finished_row["deleted_at"]) == (result.clock.duration_s, "")
    assert (interrupted_row["notes"], interrupted_row["max_rate_per_s"], interrupted_row["validity"]) == (
        "power loss",
        "",
        "interrupted",
    )


def test_trend_csv_has_full_precision(nightly_profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "trend", nightly_profile, "--metric", "latency_ms.p95", "--json"]) == ExitCode.OK
    (series,) = json.loads(capsys.readouterr().out)
    assert main(["runs", "trend", nightly_profile, "--metric", "latency_ms.p95", "--output", "csv"]) == ExitCode.OK
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (float(row["first"]), float(row["last"])) == (series["values"][0], series["values"][-1])
    assert "since run-08" in row["changes"]


def test_runs_list_shows_the_best_variant_of_a_local_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunWriter(runs / "6-local") as writer:
        writer.write_result(local_run().result)
    assert main(["runs", "list"]) == 0
    assert "1,600 inferences/s, cpu int8-static, batch 4" in capsys.readouterr().out.splitlines()[-1]
    assert main(["runs", "list", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[-1]
    assert (row["max_rate_per_s"], row["max_rate_text"]) == (None, "1,600 inferences/s, cpu int8-static, batch 4")


def test_empty_runs_list_suggests_quickstart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    assert main(["runs", "list"]) == 0
    assert "quickstart" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stop", "1-whole"], "has already finished"),
        (["note", "1-whole", ""], "1 to 500 characters"),
        (["rate", "1-whole", "300"], "Use a value such as 200/s"),
        (["rate", "1-whole", "1e9/s"], "is above the maximum of"),
        (["rate", "no-such-run", "300/s"], "no run matches"),
        (["extend", "1-whole", "30"], "Use a value such as 30s"),
        (["extend", "1-whole", "0s"], "must be greater than 0 s and at most 1 day"),
        (["extend", "1-whole", "25h"], "must be greater than 0 s and at most 1 day"),
        (["extend", "no-such-run", "30s"], "no run matches"),
    ],
)
def test_invalid_requests_to_a_run_are_usage_errors(
    runs: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", *arguments]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_run_title_appears_in_list_search_and_report_and_name_stays(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, sealed = full_run().result, (runs / "1-whole" / RESULT).read_bytes()
    assert main(["runs", "rename", "1-whole", " before the\nnew driver "]) == 0
    assert capsys.readouterr().out == "title: before the new driver\n"
    assert main(["runs", "list"]) == 0
    header, _, line, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[-1] == "title"
    assert line.endswith("before the new driver")
    assert main(["runs", "list", "--find", "NEW driver", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["title"], row["name"]) == ("before the new driver", result.name)
    assert main(["runs", "show", "1-whole"]) == 0
    first, where, *_ = capsys.readouterr().out.splitlines()
    assert "before the new driver (measurement" in first
    assert where.startswith(f"{result.name}: ")
    assert main(["report", "1-whole", "--format", "markdown", "--out", str(runs / "x.md")]) == 0
    assert ": before the new driver\n" in (runs / "x.md").read_text()
    assert main(["runs", "rename", "1-whole", ""]) == 0
    assert main(["runs", "list", "--find", "driver"]) == 0
    assert capsys.readouterr().out.endswith("title: none\nno run matches\n")
    assert main(["runs", "rename", "1-whole", "x" * 121]) == ExitCode.USAGE
    assert (runs / "1-whole" / RESULT).read_bytes() == sealed


def test_tags_and_notes_of_a_finished_run_are_listed_without_changing_its_result(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed = (runs / "1-whole" / RESULT).read_bytes()
    assert main(["runs", "tag", "1-whole", "nightly", "a100", "wrong"]) == 0
    assert main(["runs", "tag", "1-whole", "wrong", "--remove"]) == 0
    assert main(["runs", "note", "1-whole", "the fan was loud"]) == 0
    assert main(["runs", "note", "2-cut", "power loss"]) == 0
    capsys.readouterr()
    assert main(["runs", "list"]) == 0
    header, _, finished_row, interrupted_row, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[-2:] == ["tags", "notes"]
    assert finished_row.endswith("a100, nightly  the fan was loud")
    assert interrupted_row.endswith("power loss")
    assert main(["runs", "list", "--tag", "nightly", "--tag", "a100", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["tags"] == ["a100", "nightly"]
    assert [note["text"] for note in row["notes"]] == ["the fan was loud"]
    assert main(["runs", "list", "--tag", "wrong"]) == 0
    assert capsys.readouterr().out == "no run has this tag\n"
    assert main(["runs", "show", "1-whole"]) == 0
    shown = capsys.readouterr().out
    assert "The run has the tags a100, nightly." in shown
    assert "the fan was loud." in shown
    assert (runs / "1-whole" / RESULT).read_bytes() == sealed


def test_deleted_run_is_listed_as_deleted_and_can_be_restored(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "delete", "1-whole", "2"]) == 0
    assert "restore it with `sizewise runs restore 1-whole`" in capsys.readouterr().out
    assert main(["runs", "show", "1-whole"]) == ExitCode.USAGE
    capsys.readouterr()
    assert main(["runs", "list", "--deleted"]) == 0
    header, _, finished_row, interrupted_row = capsys.readouterr().out.splitlines()
    assert header.endswith("deleted")
    assert finished_row.startswith(full_run().result.run_id)
    assert interrupted_row.startswith("2-cut")
    assert main(["runs", "delete", "--purge"]) == 0
    assert capsys.readouterr().out == "no run in the trash is older than 30 days\n"
    assert main(["runs", "restore", "1-w"]) == 0
    assert capsys.readouterr().out == f"{runs / '1-whole'}\n"
    assert main(["runs", "show", "1-whole"]) == 0


@pytest.mark.parametrize("arguments", [[], ["1-whole", "--purge"]])
def test_delete_requires_either_runs_or_purge(runs: Path, arguments: list[str]) -> None:
    assert main(["runs", "delete", *arguments]) == ExitCode.USAGE
    assert (runs / "1-whole").exists()


def test_runs_show_lists_files_without_a_checksum(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of version 0.1.0 that ended before it wrote its checksums has such files."""
    assert main(["runs", "show", "1-whole"]) == 0
    assert "ot verified" not in capsys.readouterr().out
    (runs / "1-whole" / JOURNAL).unlink()
    assert main(["runs", "show", "1-whole"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "These files are not verified: requests.arrow, " in shown
    assert "result.json. The run has no checksums for them" in shown


@pytest.mark.process
def test_exported_run_is_imported_into_another_home(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_id = full_run().result.run_id
    assert main(["runs", "tag", "1-whole", "shared"]) == 0
    shutil.rmtree(runs / "2-cut")
    (runs / "1-whole" / RESULT).write_text(encode_result_without_artifacts())
    (runs / "1-whole" / JOURNAL).unlink()
    assert main(["runs", "export", "1-whole"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{run_id}.sizewise.zip: {run_id}, 5 files")
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "other"))
    assert main(["runs", "import", f"{run_id}.sizewise.zip"]) == 0
    assert main(["runs", "import", f"{run_id}.sizewise.zip"]) == 0
    assert capsys.readouterr().out.endswith("already contains this run\n")
    assert main(["runs", "list", "--tag", "shared"]) == 0
    assert run_id in capsys.readouterr().out


def test_run_with_a_secret_in_its_profile_is_not_exported(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "1-whole" / "spec.yaml").write_text("target: {headers: {Authorization: hunter2}}\n")
    assert main(["runs", "export", "1-whole", "-o", str(tmp_path / "x.zip")]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "target.headers.Authorization" in error
    assert "hunter2" not in error
    assert not (tmp_path / "x.zip").exists()


def test_export_into_the_exported_run_is_a_usage_error(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "export", "1-whole", "-o", str(runs / "1-whole" / "x.zip")]) == ExitCode.USAGE
    assert "is inside the directory of the exported run" in capsys.readouterr().err


def encode_result_without_artifacts() -> str:
    """Return a result as JSON that lists no artifacts, because this run has none."""
    return msgspec.json.encode(replace(full_run().result, artifacts=())).decode()


def test_report_into_a_missing_folder_is_a_usage_error(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "1-whole", "--out", str(tmp_path / "none" / "report.html")]) == ExitCode.USAGE
    assert "none/report.html cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("filters", "expected_rows"),
    [(["--validity", "WARN"], 1), (["--validity", "VALID"], 0), (["--find", "quick 127.0.0.1"], 1)],
)
def test_runs_list_is_filtered_by_validity_and_words(
    runs: Path, filters: list[str], expected_rows: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "list", "--json", *filters]) == 0
    assert len(json.loads(capsys.readouterr().out)) == expected_rows
    if not expected_rows:
        assert main(["runs", "list", *filters]) == 0
        assert capsys.readouterr().out == "no run matches\n"


@pytest.mark.usefixtures("pages_without_charts")
def test_run_directory_is_imported_unless_damaged(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    with RunWriter(elsewhere) as writer:
        writer.write_result(replace(full_run().result, artifacts=writer.seal()))
    assert main(["runs", "import", str(elsewhere)]) == 0
    assert capsys.readouterr().out == f"{runs / full_run().result.run_id}\n"
    assert main(["runs", "import", str(runs / full_run().result.run_id)]) == 0
    assert "already contains this run" in capsys.readouterr().out
    (elsewhere / "telemetry.arrow").write_bytes(b"changed")
    shutil.rmtree(runs / full_run().result.run_id)
    assert main(["runs", "import", str(elsewhere)]) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith(f"error: {elsewhere} is DAMAGED: telemetry.arrow was")
