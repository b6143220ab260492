from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.storage.plan_file import PlanFile, write_plan
from app.storage.run_directory import REPORT_HTML, REPORT_JSON, RunWriter
from loadgen.records import REQUEST_SCHEMA
from tests.fakes.results import nothing_measured
from tests.fakes.traffic import streaming_run
from tests.fakes.whole_plan import question, whole_plan


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of streamed answers, and one that sent nothing."""
    home = tmp_path_factory.mktemp("home")
    run = streaming_run()
    rows = pa.Table.from_pandas(run.rows, REQUEST_SCHEMA, preserve_index=False)
    with RunWriter(home / "runs" / "1-chat") as writer:
        for batch in rows.to_batches():
            writer.append_requests(batch)
        writer.write_result(run.result)
    with RunWriter(home / "runs" / "2-nothing") as writer:
        writer.write_result(nothing_measured().result)
    return home


@pytest.fixture
def runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(home))
    return home / "runs"


def test_definitions_alone_are_a_table_on_standard_output(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "1-chat", "--definitions"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("The same requests by other tools' definitions\n")
    assert "inference-perf" in text
    assert not (runs / "1-chat" / REPORT_HTML).exists()
    assert main(["report", "1-chat", "--definitions", "--out", str(tmp_path / "table.txt")]) == 0
    assert (tmp_path / "table.txt").read_text() == text.removesuffix("\n")
    assert capsys.readouterr().out == f"{tmp_path / 'table.txt'}\n"


def test_with_a_format_they_are_in_the_report(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "1-chat", "--definitions", "--format", "json"]) == 0
    assert len(json.loads((runs / "1-chat" / REPORT_JSON).read_text())["definitions"]["tools"]) == 6
    assert main(["report", "1-chat", "--definitions", "--format", "html"]) == 0
    assert 'id="definitions"' in (runs / "1-chat" / REPORT_HTML).read_text()
    capsys.readouterr()
    assert main(["report", "1-chat", "--definitions", "--format", "text"]) == 0
    text = capsys.readouterr().out
    assert "\nNumbers " in text
    assert "The same requests by other tools' definitions\n" in text


def test_a_report_that_was_not_asked_for_them_has_none(runs: Path) -> None:
    assert main(["report", "1-chat"]) == 0
    assert 'id="definitions"' not in (runs / "1-chat" / REPORT_HTML).read_text()


def test_a_run_that_sent_nothing_has_no_request_to_compare(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "2-nothing", "--definitions"]) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "no request to compare definitions by" in told
    assert "hint: " in told


def test_a_plan_file_has_a_report_of_its_own_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chat.yaml"
    write_plan(path, PlanFile(1, "sizewise 0.1.0", whole_plan(), question()))

    assert main(["report", str(path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'chat.html'}\n"
    assert "Plan: 5 × gcp/g2-standard-4@us-central1" in (tmp_path / "chat.html").read_text("utf-8")
    assert main(["report", str(path), "--format", "json", "--out", str(tmp_path / "x.json")]) == 0
    assert json.loads((tmp_path / "x.json").read_text("utf-8"))["kind"] == "plan"
    capsys.readouterr()
    assert main(["report", str(path), "--format", "text"]) == 0
    assert capsys.readouterr().out.startswith("Plan      5 × gcp/g2-standard-4@us-central1")


def test_a_plan_file_that_is_broken_or_asked_for_definitions_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("sizewise_plan: 1\ntool: x\n")
    assert main(["report", str(path)]) == ExitCode.USAGE
    assert "is not a plan file that can be read" in capsys.readouterr().err
    write_plan(path, PlanFile(1, "sizewise 0.1.0", whole_plan(), question()))
    assert main(["report", str(path), "--definitions"]) == ExitCode.USAGE
    assert "holds no request to compare definitions by" in capsys.readouterr().err
