from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode
from tests.fakes.results import full_run

FILES = Path(__file__).parents[1] / "storage" / "foreign" / "files"


def test_report_of_another_tools_result_is_written_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shutil.copy(FILES / "guidellm-0.7.json", tmp_path)
    assert main(["report", str(file)]) == ExitCode.OK
    page = tmp_path / "guidellm-0.7-report.html"
    assert capsys.readouterr().out == f"{page}\n"
    html = page.read_text()
    assert "GuideLLM 0.7" in html
    assert "8 clients" in html
    assert full_run().result.environment.os not in html, "the other tool does not record the machine"


def test_result_folder_of_another_tool_is_one_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(FILES / "genai-bench"), "--format", "text"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "measurement WARN" in out
    assert "4 clients" in out


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ('{"a": 1}', [], "it is not a supported result file"),
        (None, ["--definitions"], "is another tool's result, which has no requests"),
        (None, ["--format", "llm-d"], "is another tool's result, which has no requests"),
    ],
)
def test_unsupported_reports_of_other_tools_results_are_usage_errors(
    content: str | None, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.json"
    file.write_text(content or (FILES / "guidellm-0.7.json").read_text())
    assert main(["report", str(file), *options]) == ExitCode.USAGE
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def test_results_of_other_tools_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(FILES / "guidellm-0.7.json")
    content = (FILES / "guidellm-0.7.json").read_text()
    (tmp_path / "again.json").write_text(content)
    assert main(["compare", file, str(tmp_path / "again.json")]) == ExitCode.OK
    assert "ADVISORY" in capsys.readouterr().out
    assert main(["compare", file, file]) == ExitCode.OK
    assert "SAME RUN" in capsys.readouterr().out
    (tmp_path / "other.json").write_text("{}")
    assert main(["compare", file, str(tmp_path / "other.json")]) == ExitCode.USAGE
    assert "cannot be read as a result" in capsys.readouterr().err
