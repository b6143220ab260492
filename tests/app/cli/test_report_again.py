from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli.main import main
from app.storage.run_directory import REPORT_HTML, StoredRun
from tests.fakes.stored_runs import cut_short, stored_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = stored_run(tmp_path / "run").directory
    (directory / REPORT_HTML).write_text("the run's own")
    return directory


def test_another_slo_and_window_are_written_beside_the_runs_own_report(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slo = ["--slo", "latency_ms.p95 < 90", "--slo", "error_rate < 1%"]
    again = ["report", str(run), *slo, "--from", "5s", "--to", "30s"]
    assert main(again) == 0
    assert capsys.readouterr().out == f"{run / 'report-rescored.html'}\n"
    assert (run / REPORT_HTML).read_text() == "the run's own"
    page = (run / "report-rescored.html").read_text()
    assert "Re-scored: SLO latency_ms.p95 &lt; 90 and error_rate &lt; 1%; window 5–30" in page
    assert main([*again, "--format", "json", "--out", str(run / "x.json")]) == 0
    told = json.loads((run / "x.json").read_text())
    assert [stage["name"] for stage in told["stages"]] == ["low", "middle"]
    assert [row["text"] for row in told["objectives"]] == ["latency_ms.p95 < 90", "error_rate < 1%"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (["--slo", "latency_ms.p50 < 0.5"], 10),
        (["--slo", "latency_ms.p95 < 900"], 0),
        (["--slo", "latency_ms.p95"], 2),
        (["--from", "9s", "--to", "3s"], 2),
        (["--from", "soon"], 2),
        (["--slo", "latency_ms.p95 < 9", "--definitions"], 2),
        (["--from", "1s", "--format", "llm-d"], 2),
    ],
)
def test_it_exits_as_the_new_judgement_does(
    run: Path, asked: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run), "--format", "text", *asked]) == code
    said = capsys.readouterr()
    assert said.err.startswith("error: ") is (code == 2)


def test_what_a_killed_run_had_stored_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut_short(StoredRun(run), 1)
    assert main(["report", str(run), "--format", "text"]) == 2
    assert "--recover" in capsys.readouterr().err
    assert main(["report", str(run), "--format", "text", "--recover"]) == 0
    assert "1 of 2 stages that had begun came to an end" in " ".join(capsys.readouterr().out.split())
