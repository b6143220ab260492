"""Damaged run directories are read right, refused with a reason, or marked DAMAGED; none ends the process."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.cli.main import main
from app.reporting.opened import load_run
from app.storage.names import CHECKSUMS, EVENTS, REQUESTS, RESULT, TELEMETRY
from app.storage.run_directory import RunWriter, StoredRun, runs_home
from loadgen.decoding import decode_json
from tests.fakes.damaged_runs import OF_JOURNALED, OF_KILLED, SEALED, Case
from tests.fakes.golden_runs import golden_run

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """The cases of all damaged copies, opened by one process, which does not crash."""
    folder = tmp_path_factory.mktemp("damaged")
    command = [sys.executable, "-m", "tests.fakes.damaged_runs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    return [decode_json(line, Case) for line in done.stdout.splitlines()]


@pytest.mark.soak
def test_damaged_copies_never_show_other_numbers_silently(cases: list[Case]) -> None:
    assert Counter(case.damage for case in cases) == dict.fromkeys(
        ("flip", "cut"), sum(SEALED.values()) + OF_KILLED + OF_JOURNALED
    )
    assert [case for case in cases if "other" in (case.as_is, case.recovered)] == []


@pytest.mark.soak
def test_damaged_measurement_is_refused_and_marked_when_recovered(cases: list[Case]) -> None:
    reports = (".html", ".json", ".parquet", ".csv", ".xml", ".prom", ".md")
    measured = [
        case
        for case in cases
        if (case.run != "killed" and not case.path.endswith(reports)) or case.path == RESULT
        if (case.path, case.as_is) != (CHECKSUMS, "same")  # in the line of a report, which can be rendered again
    ]
    assert len(measured) > 250
    assert {case.as_is for case in measured} == {"refused"}
    assert all("DAMAGED" in case.reason for case in measured)
    sealed = [case for case in measured if case.run != "journaled"]
    assert [case for case in sealed if case.recovered != "DAMAGED"] == []


@pytest.mark.soak
def test_damaged_telemetry_of_killed_run_is_detected(cases: list[Case]) -> None:
    """Checksums of telemetry are written during the run."""
    journaled = [case for case in cases if case.run == "journaled"]
    assert {case.as_is for case in journaled} == {"refused"}
    telemetry = [case for case in journaled if case.path == TELEMETRY]
    assert len(telemetry) > 2
    assert {case.recovered for case in telemetry} == {"DAMAGED"}
    assert all("telemetry.arrow was" in case.reason for case in telemetry)


@pytest.fixture
def cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The LLM run without the last third of its rows."""
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    run = golden_run("llm", tmp_path)
    content = (run / REQUESTS).read_bytes()
    (run / REQUESTS).write_bytes(content[: len(content) * 2 // 3])
    return run


@pytest.mark.parametrize(
    "command",
    [
        "report RUN --format text",
        "report RUN --slo latency_ms.p95<500",
        "report RUN --format llm-d",
        "report RUN --definitions",
        "runs show RUN",
        "runs show RUN --json",
        "runs promote RUN",
        "runs export RUN -o OUT",
        "runs import RUN",
        "compare RUN RUN",
        "plan RUN",
    ],
)
def test_commands_refuse_run_with_truncated_rows(
    command: str, cut_off: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(cut_off.parent / "out.zip")
    arguments = [{"RUN": str(cut_off), "OUT": out}.get(word, word) for word in command.split()]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{cut_off} is DAMAGED: requests.arrow was truncated" in captured.err
    assert "--recover" in captured.err
    assert not Path(out).exists()


def test_recover_shows_stored_result_as_invalid_and_names_damage(
    cut_off: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(cut_off), "--recover", "--format", "text"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("Results are based on the undamaged files.") == 2  # below the result, and among all checks
    assert "DAMAGED: requests.arrow was truncated" in text
    assert "INVALID" in text


def test_recover_evaluates_only_stages_with_all_rows(cut_off: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(cut_off), "--recover", "--slo", "latency_ms.p95<500", "--format", "text"]) == 4
    text = " ".join(capsys.readouterr().out.split())
    assert "DAMAGED: requests.arrow was truncated" in text
    assert "These stages are not evaluated because rows are missing: high." in text
    evaluated = load_run(StoredRun(cut_off), recover=True).reevaluate(["latency_ms.p95<500"])
    undamaged_run = load_run(StoredRun(golden_run("llm", cut_off.parent / "whole")))
    recomputed = undamaged_run.reevaluate()  # with another SLO, the estimates that version 0.1.0 stored would be copied
    assert 0 < len(evaluated.stages) < len(recomputed.stages)
    assert evaluated.verdict.status == "INVALID"
    for stage, recomputed_stage in zip(evaluated.stages, recomputed.stages, strict=False):
        assert stage.metrics["latency_ms"] == recomputed_stage.metrics["latency_ms"]


def test_corrupt_rows_are_not_reevaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = golden_run("llm", tmp_path)
    content = bytearray((run / REQUESTS).read_bytes())
    content[len(content) // 2] ^= 1
    (run / REQUESTS).write_bytes(content)
    for window in (["--slo", "latency_ms.p95<500"], ["--from", "0s", "--to", "5s"]):
        assert main(["report", str(run), "--recover", *window]) == 2
        assert "Only warm-up stages have all rows, so the run cannot be re-evaluated" in capsys.readouterr().err


def test_recover_rebuilds_missing_result_from_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = golden_run("llm", tmp_path)
    (run / RESULT).unlink()
    assert main(["report", str(run), "--format", "text"]) == 2
    assert "result.json is missing" in capsys.readouterr().err
    assert main(["report", str(run), "--recover", "--format", "text"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "DAMAGED: result.json is missing" in text
    assert "The result was recovered" in text


def test_run_with_truncated_events_is_not_reevaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = golden_run("llm", tmp_path)
    (run / CHECKSUMS).unlink()  # as where the engine was killed just before it wrote them
    lines = (run / EVENTS).read_bytes().splitlines(keepends=True)
    (run / EVENTS).write_bytes(b"".join(lines[: len(lines) // 2]))
    assert main(["report", str(run), "--slo", "latency_ms.p95<500"]) == 2
    assert "is DAMAGED: events.jsonl has 7 finished stages, but result.json has 9" in capsys.readouterr().err


def test_run_names_print_no_terminal_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    run = golden_run("local", tmp_path)
    result = StoredRun(run).complete_result
    name, run_id = "red\x1b[31m", "id\x1b]0;title\x07\x9b1m"
    for number in range(2):
        with RunWriter(runs_home() / f"run-{number}") as writer:
            writer.write_result(replace(result, name=name, run_id=run_id, artifacts=writer.seal()))
    shown = ""
    for command in ("runs trend", "runs list", "runs show run-0", "runs promote run-0", "runs show \x1b[31m"):
        main(command.split())
        captured = capsys.readouterr()
        shown += captured.out + captured.err
    assert "red" in shown
    assert not [character for character in shown if not character.isprintable() and character != "\n"]
