from __future__ import annotations

import msgspec
import pytest

from app.analysis.comparisons.comparison import compare_runs
from app.reporting.comparison import build_comparison_section
from reports.comparison_text import render_comparison
from reports.html import render_html
from reports.model import Quantity, Report
from reports.sections.comparison import ComparisonSection, format_effect
from reports.text import render_text
from tests.fakes.repeated import repeats, result, steady

QUIET = (10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98)


@pytest.fixture
def section() -> ComparisonSection:
    return build_comparison_section(compare_runs(repeats(QUIET), repeats([1.2 * one for one in QUIET])))


@pytest.mark.parametrize(
    ("ratio", "reported"),
    [
        (Quantity(1.123, "", (1.098, 1.141)), "+12.3 % (+9.8 % to +14.1 %)"),
        (Quantity(0.9, ""), "-10.0 %"),
        (Quantity(1.0, "", (0.9, 1.1)), "+0.0 % (-10.0 % to +10.0 %)"),
        (Quantity(None, "", reason="the baseline is 0"), "n/a"),
        (Quantity(12.0, ""), "+1,100 %"),
    ],
)
def test_ratio_is_formatted_as_percent_change(ratio: Quantity, reported: str) -> None:
    assert format_effect(ratio).replace("\u202f", " ") == reported


def test_environment_differences_precede_regressed_metrics(section: ComparisonSection) -> None:
    lines = render_comparison(section).splitlines()
    environment = next(index for index, line in enumerate(lines) if line.startswith("Environment"))
    (row,) = (index for index, line in enumerate(lines) if line.startswith("latency_ms.p95"))
    assert environment < row
    assert "10.0 ms" in lines[row]
    assert "12.0 ms" in lines[row]
    assert "+20.0 %" in lines[row]
    assert "worse" in lines[row]


def test_inconclusive_comparison_reports_needed_repeats() -> None:
    section = build_comparison_section(compare_runs([result(steady(10.0, 0.1))], [result(steady(10.8, 0.5))]))
    assert "about 6 more runs per side are needed" in render_comparison(section)


def test_run_report_contains_its_comparison(empty_report: Report, section: ComparisonSection) -> None:
    report = msgspec.structs.replace(empty_report, comparison=section)
    assert "Comparison REGRESSION: 2 headline metrics" in render_text(report)
    page = render_html(report)
    assert page.count('<section id="comparison">') == 1
    assert "+20.0\u202f%" in page
    assert '<section id="comparison">' not in render_html(empty_report)


def test_html_shows_200_metrics_per_kind_and_counts_others(empty_report: Report, section: ComparisonSection) -> None:
    many = msgspec.structs.replace(section, rows=section.rows[:1] * 250)
    page = render_html(msgspec.structs.replace(empty_report, comparison=many))
    assert page.count('<span class="badge worse">') == 200
    assert "… and 50 more in the result" in page
