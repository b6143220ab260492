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

Reported = Callable[[str], Report | PlanReport]


@pytest.fixture
def reported(request: pytest.FixtureRequest) -> Reported:
    return lambda name: request.getfixturevalue(name)


def pages(content: bytes) -> int:
    """Of plain and of packed objects."""
    streams = [zlib.decompress(one) for one in re.findall(rb"stream\n(x.*?)\nendstream", content, re.DOTALL)]
    return sum(len(re.findall(rb"/Type */Page[^s]", one)) for one in (content, *streams))


class Printed(NamedTuple):
    content: bytes
    page: str
    page_without_properties: str
    fetched: list[str]


@pytest.fixture(scope="module", params=["small_report", pytest.param("full_report", marks=pytest.mark.soak)])
def printed(request: pytest.FixtureRequest) -> Printed:
    """A report of a run with hostile text in every place, printed once for all that is asked of it."""
    pages: list[tuple[str, str]] = []
    fetched: list[str] = []
    replace = reports.pdf._replace_color_properties

    def note(page: str) -> str:
        pages.append((page, replace(page)))
        return pages[-1][1]

    payload = '"><img src=https://example.com/x.png><link rel=stylesheet href=https://example.com/x.css>'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports.pdf, "_replace_color_properties", note)
        patch.setattr(reports.pdf, "_fetch_nothing", lambda url, *_, **__: fetched.append(url))
        content = render_pdf(hostile(request.getfixturevalue(request.param), payload))
    return Printed(content, *pages[0], fetched)


@pytest.mark.parametrize(
    "name",
    ["empty_report", *(pytest.param(name, marks=pytest.mark.soak) for name in ("planned_report", "whole_plan_report"))],
)
def test_every_kind_of_report_has_pages_and_the_same_bytes_each_time(reported: Reported, name: str) -> None:
    """The planned report is the full report with a plan; the full report itself is rendered in the next test."""
    report = reported(name)
    content = render_pdf(report)
    assert content.startswith(b"%PDF-")
    assert pages(content) >= 1
    assert content == render_pdf(report)


def test_a_full_report_has_pages_and_its_pictures_have_colours_of_their_own(printed: Printed) -> None:
    assert printed.content.startswith(b"%PDF-")
    assert pages(printed.content) >= 1
    assert "var(--" in printed.page
    assert "var(--" not in printed.page_without_properties
    assert 'stroke="#0b5cad"' in printed.page_without_properties, "the first series of the light theme"


def test_hostile_text_fetches_nothing(printed: Printed) -> None:
    assert "https://example.com/x.png" in printed.page
    assert printed.fetched == []


def test_without_weasyprint_it_says_what_to_install(full_report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "weasyprint":
            raise ModuleNotFoundError("No module named 'weasyprint'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="PDF export requires the extra `pdf`"):
        render_pdf(full_report)
