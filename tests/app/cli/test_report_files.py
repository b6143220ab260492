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
from tests.fakes.results import run_without_load

pytestmark = pytest.mark.process


def read_json_report(path: Path) -> Report:
    report = read_report(path.read_bytes())
    assert isinstance(report, Report)
    return report


def test_files_beside_a_report_match_its_downloads(runs: Path) -> None:
    assert main(["report", "1-chat", "--format", "json"]) == 0
    downloads = read_json_report(runs / "1-chat" / REPORT_JSON).downloads
    assert [download.name for download in downloads] == [
        "report-requests.parquet",
        "report-stages.csv",
        "report-timeline.csv",
    ]
    for download in downloads:
        content = (runs / "1-chat" / download.name).read_bytes()
        assert len(content) == download.size_bytes
        assert hashlib.sha256(content).hexdigest() == download.sha256
    assert pq.read_metadata(runs / "1-chat" / downloads[0].name).num_rows > 400


def test_report_at_another_path_has_data_files_named_after_it(
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


def test_report_of_a_run_without_requests_has_no_downloads(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.write_result(run_without_load().result)
    assert main(["report", str(tmp_path / "run"), "--format", "json"]) == 0
    assert read_json_report(tmp_path / "run" / REPORT_JSON).downloads == ()


def test_report_into_a_missing_folder_is_a_usage_error(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["report", "1-chat", "--out", str(tmp_path / "gone" / "x.html")]) == ExitCode.USAGE
    assert "hint: Choose another path with --out." in capsys.readouterr().err
