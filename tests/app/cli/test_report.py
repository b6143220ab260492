from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.storage.checksums import CHECKSUMS, write_checksums
from app.storage.run_directory import REPORT_HTML, REPORT_JSON, StoredRun
from app.wiring.plan_files import UNCHECKED_NOTE, PlanFile, write_plan
from tests.fakes.stored_runs import stored_run, truncate_run
from tests.fakes.whole_plan import planning_inputs, whole_plan

pytestmark = pytest.mark.usefixtures("short_simulations", "pages_without_charts")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_run(tmp_path_factory.mktemp("finished") / "run").directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    directory = shutil.copytree(finished, tmp_path / "run")
    (directory / REPORT_HTML).write_text("the run's own")
    return directory


def test_reevaluated_report_is_written_beside_the_original(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slo = ["--slo", "latency_ms.p95 < 90", "--slo", "error_rate < 1%"]
    command = ["report", str(run), *slo, "--from", "5s", "--to", "30s"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{run / 'report-reevaluated.html'}\n"
    assert (run / REPORT_HTML).read_text() == "the run's own"
    page = (run / "report-reevaluated.html").read_text()
    assert "The run was re-evaluated with SLO p95 latency &lt; 90 ms, error rate &lt; 1 %, time range 5–30" in page
    assert main([*command, "--format", "json", "--out", str(run / "x.json")]) == 0
    report = json.loads((run / "x.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["low", "middle"]
    assert [row["text"] for row in report["objectives"]] == ["latency_ms.p95 < 90", "error_rate < 1%"]


@pytest.mark.parametrize(
    ("options", "code"),
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
def test_reevaluated_report_exits_with_the_new_verdict(
    run: Path, options: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run), "--format", "text", *options]) == code
    output = capsys.readouterr()
    assert output.err.startswith("error: ") is (code == 2)


def test_report_of_an_interrupted_run_requires_recover(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truncate_run(StoredRun(run), 1)
    assert main(["report", str(run), "--format", "text"]) == 2
    assert "--recover" in capsys.readouterr().err
    assert main(["report", str(run), "--format", "text", "--recover"]) == 0
    assert "The result was recovered from an interrupted run: 1 of 2 stages finished" in " ".join(
        capsys.readouterr().out.split()
    )


def test_definitions_without_a_format_are_a_printed_table(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "1-chat" / REPORT_HTML).unlink(missing_ok=True)  # left by another test
    assert main(["report", "1-chat", "--definitions"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Metrics by other tools' definitions\n")
    assert "inference-perf" in text
    assert not (runs / "1-chat" / REPORT_HTML).exists()
    assert main(["report", "1-chat", "--definitions", "--out", str(tmp_path / "table.txt")]) == 0
    assert (tmp_path / "table.txt").read_text() == text.removesuffix("\n")
    assert capsys.readouterr().out == f"{tmp_path / 'table.txt'}\n"


@pytest.mark.process
def test_definitions_with_a_format_are_part_of_the_report(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "1-chat", "--definitions", "--format", "json"]) == 0
    assert len(json.loads((runs / "1-chat" / REPORT_JSON).read_text())["definitions"]["tools"]) == 6
    assert main(["report", "1-chat", "--definitions", "--format", "html"]) == 0
    assert 'id="definitions"' in (runs / "1-chat" / REPORT_HTML).read_text()
    capsys.readouterr()
    assert main(["report", "1-chat", "--definitions", "--format", "text"]) == 0
    text = capsys.readouterr().out
    assert "\nNumbers " in text
    assert "Metrics by other tools' definitions\n" in text


def test_report_without_definitions_option_has_no_definitions(runs: Path) -> None:
    assert main(["report", "1-chat"]) == 0
    assert 'id="definitions"' not in (runs / "1-chat" / REPORT_HTML).read_text()


@pytest.mark.parametrize(
    ("report_format", "name", "prefix"),
    [
        ("markdown", "summary.md", "## INCONCLUSIVE: chat"),
        ("junit", "junit.xml", "<?xml version"),
        ("openmetrics", "metrics.prom", "# HELP sizewise_run_info"),
    ],
)
def test_report_formats_are_written_to_the_run_directory_or_output_path(
    runs: Path, tmp_path: Path, report_format: str, name: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "1-chat", "--format", report_format]) == 0
    assert main(["report", "1-chat", "--format", report_format, "--out", str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out == f"{runs / '1-chat' / name}\n{tmp_path / 'x'}\n"
    assert (runs / "1-chat" / name).read_text("utf-8").startswith(prefix)
    assert (runs / "1-chat" / name).read_bytes() == (tmp_path / "x").read_bytes()


def test_rewritten_report_updates_the_checksums(runs: Path) -> None:
    write_checksums(runs / "1-chat", [REPORT_HTML])
    (runs / "1-chat" / REPORT_HTML).write_text("another")
    assert main(["report", "1-chat"]) == 0
    lines = [line.split("  ") for line in (runs / "1-chat" / CHECKSUMS).read_text().splitlines()]
    sums = {name: checksum for checksum, name in lines}
    assert sums[REPORT_HTML] == hashlib.sha256((runs / "1-chat" / REPORT_HTML).read_bytes()).hexdigest()
    (runs / "1-chat" / CHECKSUMS).unlink()


@pytest.mark.process
def test_pdf_report_is_written_to_the_run_directory(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "1-chat", "--format", "pdf"]) == 0
    pdf = runs / "1-chat" / "report.pdf"
    assert capsys.readouterr().out == f"{pdf}\n"
    assert pdf.read_bytes().startswith(b"%PDF-")


def test_llm_d_report_has_a_file_per_load_point(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deep" / "llm-d"
    assert main(["report", "1-chat", "--format", "llm-d", "--out", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / '000.json'}\n"
    assert json.loads((folder / "000.json").read_text())["version"] == "0.2.1"


def test_run_without_load_points_has_no_llm_d_report(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "2-nothing", "--format", "llm-d"]) == ExitCode.USAGE
    assert "has no load point" in capsys.readouterr().err
    assert not (runs / "2-nothing" / "llm-d").exists()


@pytest.mark.parametrize("report_format", ["markdown", "junit", "openmetrics", "llm-d"])
def test_definitions_in_unsupported_formats_are_usage_errors(
    runs: Path, report_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "1-chat", "--definitions", "--format", report_format]) == ExitCode.USAGE
    assert f"{report_format} cannot show other tools' definitions" in capsys.readouterr().err


def test_definitions_of_a_run_without_requests_are_a_usage_error(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "2-nothing", "--definitions"]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "has no requests to apply other definitions to" in error
    assert "hint: " in error


def test_plan_file_report_is_written_beside_the_plan_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chat.yaml"
    write_plan(path, PlanFile("sizewise 0.1.0", whole_plan(), planning_inputs()))

    assert main(["report", str(path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'chat.html'}\n"
    assert "Plan: 5 × gcp/g2-standard-4@us-central1" in (tmp_path / "chat.html").read_text("utf-8")
    assert main(["report", str(path), "--format", "json", "--out", str(tmp_path / "x.json")]) == 0
    assert json.loads((tmp_path / "x.json").read_text("utf-8"))["kind"] == "plan"
    assert main(["report", str(path), "--format", "markdown"]) == 0
    assert "## 5 × gcp/g2-standard-4, " in (tmp_path / "chat.md").read_text("utf-8")
    capsys.readouterr()
    assert main(["report", str(path), "--format", "text"]) == 0
    assert capsys.readouterr().out.startswith("Decision     5 × gcp/g2-standard-4, $2,577/month")


def test_edited_plan_file_is_rejected_and_plan_without_digest_is_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chat.yaml"
    write_plan(path, PlanFile("sizewise", whole_plan(), planning_inputs()))
    written = path.read_text("utf-8")
    edited = written.replace("    instances: 5\n", "    instances: 2\n").replace(
        "      instances: 5\n", "      instances: 2\n"
    )
    assert edited != written
    path.write_text(edited, "utf-8")
    for command in ("report", "simulate"):
        assert main([command, str(path)]) == ExitCode.USAGE
        assert f"sizewise plan {path} --out {path}" in capsys.readouterr().err
    unchecked = "".join(line for line in written.splitlines(keepends=True) if not line.startswith("digest:"))
    for text, has_note in ((written, False), (unchecked, True)):
        path.write_text(text, "utf-8")
        assert main(["report", str(path), "--format", "json", "--out", str(tmp_path / "x.json")]) == ExitCode.OK
        notes = json.loads((tmp_path / "x.json").read_text("utf-8"))["plan"]["notes"]
        assert (UNCHECKED_NOTE in notes) is has_note


def test_invalid_plan_files_and_unsupported_plan_reports_are_usage_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("sizewise_plan: 3\ntool: x\n")
    assert main(["report", str(path)]) == ExitCode.USAGE
    assert "is not a valid plan file" in capsys.readouterr().err
    write_plan(path, PlanFile("sizewise 0.1.0", whole_plan(), planning_inputs()))
    for report_format, message in (
        ("junit", "a plan has no report in the format 'junit'"),
        ("openmetrics", "a plan has no report in the format 'openmetrics'"),
        ("llm-d", "a plan cannot be written as llm-d"),
    ):
        assert main(["report", str(path), "--format", report_format]) == ExitCode.USAGE
        assert message in capsys.readouterr().err
    assert main(["report", str(path), "--definitions"]) == ExitCode.USAGE
    assert "has no requests to apply other definitions to" in capsys.readouterr().err
