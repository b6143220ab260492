from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.storage.run_directory import REPORT_JSON, RunWriter
from reports.marks import drop_marks
from reports.model import Report, read_report
from tests.fakes.results import nothing_measured

pytestmark = pytest.mark.process


def _report(path: Path) -> Report:
    report = read_report(path.read_bytes())
    assert isinstance(report, Report)
    return report


def test_what_lies_beside_a_report_is_what_it_reports_of(runs: Path) -> None:
    assert main(["report", "1-chat", "--format", "json"]) == 0
    downloads = _report(runs / "1-chat" / REPORT_JSON).downloads
    assert [one.name for one in downloads] == ["report-requests.parquet", "report-stages.csv", "report-timeline.csv"]
    for one in downloads:
        content = (runs / "1-chat" / one.name).read_bytes()
        assert len(content) == one.size_bytes
        assert hashlib.sha256(content).hexdigest() == one.sha256
    assert pq.read_metadata(runs / "1-chat" / downloads[0].name).num_rows > 400


def test_a_page_elsewhere_has_them_beside_it_under_its_own_name(
    runs: Path,
    tmp_path: Path,
) -> None:
    assert main(["report", "1-chat", "--out", str(tmp_path / "chat.html")]) == 0
    page = (tmp_path / "chat.html").read_text("utf-8")
    for name in ("chat-requests.parquet", "chat-stages.csv", "chat-timeline.csv"):
        assert (tmp_path / name).exists()
        assert f'href="./{name}"' in page
    assert main(["report", "1-chat", "--format", "text", "--out", str(tmp_path / "words.txt")]) == 0
    assert [path.name for path in tmp_path.glob("words*")] == ["words.txt"]
    text = (tmp_path / "words.txt").read_text("utf-8")
    assert text == drop_marks(text), "a file has no marks"


def test_a_run_that_sent_nothing_has_none(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.write_result(nothing_measured().result)
    assert main(["report", str(tmp_path / "run"), "--format", "json"]) == 0
    assert _report(tmp_path / "run" / REPORT_JSON).downloads == ()


def test_a_folder_that_is_not_there_is_a_usage_error(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["report", "1-chat", "--out", str(tmp_path / "gone" / "x.html")]) == ExitCode.USAGE
    assert "hint: Choose another path with --out." in capsys.readouterr().err
