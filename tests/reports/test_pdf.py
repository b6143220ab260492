from __future__ import annotations

import builtins
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import reports.pdf
from reports.html import render_html
from reports.model import PlanReport, Report
from reports.pdf import render_pdf
from tests.reports.hostile import hostile

pytestmark = pytest.mark.process

Reported = Callable[[str], Report | PlanReport]


@pytest.fixture
def reported(request: pytest.FixtureRequest) -> Reported:
    return lambda name: request.getfixturevalue(name)


def pages(content: bytes) -> int:
    """Of plain and of packed objects."""
    streams = [zlib.decompress(one) for one in re.findall(rb"stream\n(x.*?)\nendstream", content, re.DOTALL)]
    return sum(len(re.findall(rb"/Type */Page[^s]", one)) for one in (content, *streams))


@pytest.mark.parametrize(
    "name", ["empty_report", pytest.param("planned_report", marks=pytest.mark.soak), "whole_plan_report"]
)
def test_every_kind_of_report_has_pages_and_the_same_bytes_each_time(reported: Reported, name: str) -> None:
    """The planned report is the full report with a plan; the full report itself is rendered in the next test."""
    report = reported(name)
    content = render_pdf(report)
    assert content.startswith(b"%PDF-")
    assert pages(content) >= 1
    assert content == render_pdf(report)


def test_a_full_report_has_pages_and_its_pictures_have_colours_of_their_own(
    full_report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    keep = reports.pdf._replace_color_properties

    def note(page: str) -> str:
        drawn.append(keep(page))
        return drawn[-1]

    monkeypatch.setattr(reports.pdf, "_replace_color_properties", note)
    content = render_pdf(full_report)
    assert content.startswith(b"%PDF-")
    assert pages(content) >= 1
    assert "var(--" in render_html(full_report)
    assert "var(--" not in drawn[0]
    assert 'stroke="#0b5cad"' in drawn[0], "the first series of the light theme"


def test_hostile_text_fetches_nothing(full_report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(reports.pdf, "_fetch_nothing", lambda url, *_, **__: asked.append(url))
    payload = '"><img src=https://example.com/x.png><link rel=stylesheet href=https://example.com/x.css>'
    assert render_pdf(hostile(full_report, payload)).startswith(b"%PDF-")
    assert asked == []


def test_without_weasyprint_it_says_what_to_install(full_report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "weasyprint":
            raise ModuleNotFoundError("No module named 'weasyprint'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="PDF export requires the extra `pdf`"):
        render_pdf(full_report)
