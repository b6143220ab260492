from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.measuring import write_github_annotations
from app.reporting.report import build_report
from reports.markdown import MAX_BYTES, render_markdown
from reports.model import Report
from tests.fakes.results import COMMAND, SPEC, interrupted_run


@pytest.fixture(scope="module")
def report() -> Report:
    run = interrupted_run()
    return build_report(run.result, run.rows, run.telemetry, SPEC, COMMAND, "{}")


def test_annotations_outside_github_are_not_printed(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    write_github_annotations(report, "p.yaml", {"HOME": "/"})
    assert capsys.readouterr() == ("", "")


def test_job_summary_is_appended_to_existing_summary(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("before\n")
    write_github_annotations(report, None, {"GITHUB_STEP_SUMMARY": str(path)})
    assert path.read_text("utf-8") == "before\n" + render_markdown(report)


def test_job_summary_stays_within_the_maximum_size(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_bytes(b"x" * (MAX_BYTES - 1500))
    write_github_annotations(report, None, {"GITHUB_STEP_SUMMARY": str(path)})
    written = path.read_bytes()
    assert MAX_BYTES - 1500 < len(written) <= MAX_BYTES
    assert written.rstrip().endswith(b"See report.html for the full report._")


def test_unwritable_job_summary_is_reported_in_one_line(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_github_annotations(report, None, {"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "summary")})
    assert capsys.readouterr().err == "the job summary could not be written: No such file or directory\n"


def test_annotations_have_the_profile_path_relative_to_the_checkout(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "p.yaml").write_text('name: x\nslo: ["latency_ms.p95 < 50"]\n')
    monkeypatch.chdir(tmp_path / "bench")
    write_github_annotations(report, "p.yaml", {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(tmp_path)})
    captured = capsys.readouterr()
    assert captured.out == "", "standard output is for results"
    assert "::warning file=bench/p.yaml,line=2,title=sizewise%3A SLO::latency_ms.p95 < 50: observed n/a" in captured.err


def test_annotations_of_a_bundled_profile_have_no_file(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    write_github_annotations(report, "quickstart", {"GITHUB_ACTIONS": "true"})
    annotations = capsys.readouterr().err.splitlines()
    assert annotations
    assert not any("file=" in line for line in annotations)
