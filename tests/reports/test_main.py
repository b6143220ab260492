"""Rendering a stored report again, from report.json alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from reports.__main__ import main
from reports.formats import FORMATS_BY_SUFFIX
from reports.model import PlanReport, Report
from reports.rendering import render
from reports.text import render_plan, render_text
from tests.reports.conftest import Rendered


@pytest.mark.process
def test_html_and_text_rendered_from_report_json_are_identical(
    full_report: Report, full_html: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored, out = tmp_path / "report.json", tmp_path / "x.html"
    stored.write_bytes(msgspec.json.encode(full_report))

    assert main([str(stored), "-o", str(out)]) == 0
    assert main([str(stored)]) == 0
    assert out.read_text("utf-8") == full_html
    assert capsys.readouterr().out == render_text(full_report) + "\n"


def test_html_and_text_rendered_from_plan_json_are_identical(
    whole_plan_report: PlanReport, rendered: Rendered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored, out = tmp_path / "plan.json", tmp_path / "x.html"
    stored.write_bytes(msgspec.json.encode(whole_plan_report))

    assert main([str(stored), "-o", str(out)]) == 0
    assert main([str(stored)]) == 0
    assert out.read_text("utf-8") == rendered("whole_plan_report")
    assert capsys.readouterr().out == render_plan(whole_plan_report.plan) + "\n"


@pytest.mark.process
@pytest.mark.parametrize("name", ["small_report", pytest.param("full_report", marks=pytest.mark.soak)])
def test_rendering_does_not_import_product_window_or_inference_libraries(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A process that cannot import them writes the same files as this process."""
    report: Report = request.getfixturevalue(name)
    stored = tmp_path / "report.json"
    outputs = [tmp_path / f"x{ending}" for ending in (".html", ".md", ".txt", ".xml", ".prom", ".json")]
    stored.write_bytes(msgspec.json.encode(report))
    program = (
        "import sys; "
        "sys.modules.update(dict.fromkeys(('app', 'loadgen', 'onnxruntime', 'onnx', 'PySide6', 'locust', 'gevent'))); "
        f"from reports.__main__ import main; sys.exit(any(main([{str(stored)!r}, '-o', out]) for out in sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *map(str, outputs)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    for out in outputs:
        assert out.read_text("utf-8") == render(report, FORMATS_BY_SUFFIX[out.suffix].id), out.suffix


def test_unsupported_file_extension_exits_with_2(
    full_report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "report.json"
    stored.write_bytes(msgspec.json.encode(full_report))
    assert main([str(stored), "-o", str(tmp_path / "x.docx")]) == 2
    assert "error: the extension of x.docx is not supported. Use one of .html" in capsys.readouterr().err


def test_junit_report_of_plan_exits_with_2(
    whole_plan_report: PlanReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "plan.json"
    stored.write_bytes(msgspec.json.encode(whole_plan_report))
    assert main([str(stored), "-o", str(tmp_path / "x.xml")]) == 2
    assert "a plan has no report in the format" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"{}"])
def test_missing_or_invalid_report_json_exits_with_2(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "report.json"
    if content is not None:
        stored.write_bytes(content)
    assert main([str(stored)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
