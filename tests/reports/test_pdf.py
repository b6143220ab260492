from __future__ import annotations

import builtins
import re
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import reports.pdf
from reports.model import PlanReport, Report
from reports.pdf import render_pdf
from tests.reports.hostile import hostile

pytestmark = pytest.mark.process

FindReport = Callable[[str], Report | PlanReport]


@pytest.fixture
def find_report(request: pytest.FixtureRequest) -> FindReport:
    return lambda name: request.getfixturevalue(name)


def count_pages(content: bytes) -> int:
    """Count the pages in plain and in compressed objects."""
    streams = [zlib.decompress(stream) for stream in re.findall(rb"stream\n(x.*?)\nendstream", content, re.DOTALL)]
    return sum(len(re.findall(rb"/Type */Page[^s]", stream)) for stream in (content, *streams))


class Printed(NamedTuple):
    content: bytes
    page: str
    page_without_properties: str
    fetched: list[str]


@pytest.fixture(scope="module", params=["small_report", pytest.param("full_report", marks=pytest.mark.soak)])
def printed(request: pytest.FixtureRequest) -> Printed:
    """A report of a run with hostile text in every place, printed once for all tests."""
    page_versions: list[tuple[str, str]] = []
    fetched: list[str] = []
    replace = reports.pdf._replace_color_properties

    def record_page(page: str) -> str:
        page_versions.append((page, replace(page)))
        return page_versions[-1][1]

    payload = '"><img src=https://example.com/x.png><link rel=stylesheet href=https://example.com/x.css>'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports.pdf, "_replace_color_properties", record_page)
        patch.setattr(reports.pdf, "_fetch_nothing", lambda url, *_, **__: fetched.append(url))
        content = render_pdf(hostile(request.getfixturevalue(request.param), payload))
    return Printed(content, *page_versions[0], fetched)


@pytest.mark.parametrize(
    "name",
    ["empty_report", *(pytest.param(name, marks=pytest.mark.soak) for name in ("planned_report", "whole_plan_report"))],
)
def test_pdf_has_pages_and_is_reproducible(find_report: FindReport, name: str) -> None:
    """The planned report is the full report with a plan; the full report itself is rendered in the next test."""
    report = find_report(name)
    content = render_pdf(report)
    assert content.startswith(b"%PDF-")
    assert count_pages(content) >= 1
    assert content == render_pdf(report)


def test_pdf_of_full_report_has_pages_and_literal_chart_colors(printed: Printed) -> None:
    assert printed.content.startswith(b"%PDF-")
    assert count_pages(printed.content) >= 1
    assert "var(--" in printed.page
    assert "var(--" not in printed.page_without_properties
    assert 'stroke="#0b5cad"' in printed.page_without_properties, "the first series of the light theme"


def test_hostile_text_fetches_nothing_while_pdf_is_printed(printed: Printed) -> None:
    assert "https://example.com/x.png" in printed.page
    assert printed.fetched == []


def test_missing_weasyprint_error_names_extra_to_install(full_report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def import_without_weasyprint(name: str, *rest: Any, **more: Any) -> Any:
        if name == "weasyprint":
            raise ModuleNotFoundError("No module named 'weasyprint'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", import_without_weasyprint)
    with pytest.raises(ValueError, match="PDF export requires the extra `pdf`"):
        render_pdf(full_report)
