from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from app.analysis.comparisons.comparison import compare_runs
from app.reporting.comparison import build_comparison_report
from reports.rendering import render
from reports.sections.comparison import ComparisonReport
from tests.fakes.repeated import repeats
from tests.reports.hostile import PAYLOADS

QUIET = (10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98)


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))


@pytest.fixture
def report() -> ComparisonReport:
    compared = compare_runs(repeats(QUIET), repeats([1.2 * value for value in QUIET]))
    return build_comparison_report(compared, "sizewise compare baseline now")


def poisoned(report: ComparisonReport, text: str) -> ComparisonReport:
    """The report with `text` in place of every text that may come from someone else."""
    section = report.comparison
    differences = tuple(msgspec.structs.replace(row, name=text, baseline=text) for row in section.differences)
    rows = tuple(msgspec.structs.replace(row, metric=text, stage=text) for row in section.rows)
    section = msgspec.structs.replace(
        section, baseline=(text,), candidate=(text,), notes=(text,), rows=rows, differences=differences, summary=text
    )
    return msgspec.structs.replace(report, comparison=section, command=text)


def test_comparison_page_has_verdict_and_command_and_loads_nothing(report: ComparisonReport) -> None:
    page, text = render(report, "html"), render(report, "text")
    assert "REGRESSION: 2 headline metrics were compared: 1 worse, 1 same (tolerance" in text
    assert "REGRESSION: 2 headline metrics were compared: 1 worse, 1 same (tolerance" in page
    assert '<pre tabindex="0">sizewise compare baseline now</pre>' in page
    assert "script-src &#39;none&#39;" in page
    assert not re.findall(r"(?:src|href)=", page)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_adds_no_element_to_comparison_page(report: ComparisonReport, payload: str) -> None:
    attacked, harmless = (Tags(render(poisoned(report, text), "html")) for text in (payload, "plain"))
    assert attacked.tags == harmless.tags


def test_comparison_markdown_ends_with_command(report: ComparisonReport) -> None:
    markdown = render(report, "markdown")
    assert markdown.startswith("# run-0, run-1")
    assert markdown.endswith("sizewise compare baseline now\n")
