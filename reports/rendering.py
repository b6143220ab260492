"""The formats of a report and the files they go by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import msgspec

from reports.comparison_section import ComparisonReport
from reports.model import PlanReport, Report

Format = Literal["html", "json", "text", "markdown", "junit", "openmetrics"]
ComparisonFormat = Literal["text", "markdown", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)
FILES: dict[Format, str] = {
    "html": "report.html",
    "json": "report.json",
    "markdown": "summary.md",
    "junit": "junit.xml",
    "openmetrics": "metrics.prom",
}
"""By which a run directory holds them; text is for a terminal."""
SUFFIXES: dict[str, Format] = {
    ".html": "html",
    ".json": "json",
    ".txt": "text",
    ".md": "markdown",
    ".xml": "junit",
    ".prom": "openmetrics",
}


def render(report: Report | PlanReport, form: Format, warn: Callable[[str], None] = lambda _: None) -> str:
    """Raises ValueError where a plan has no such format. Only what the format needs is imported. `warn` is called with
    what is missing from the document, and why."""
    if form == "json":
        return msgspec.json.encode(report).decode()
    return _plan(report, form, warn) if isinstance(report, PlanReport) else _run(report, form, warn)


def render_comparison(report: ComparisonReport, form: ComparisonFormat) -> str:
    """One that stands alone."""
    if form == "html":
        from reports.html import render_comparison_html

        return render_comparison_html(report)
    if form == "markdown":
        from reports.markdown import comparison_page

        return comparison_page(report)
    from reports.comparison_text import render_comparison

    return render_comparison(report.comparison)


def _run(report: Report, form: Format, warn: Callable[[str], None]) -> str:
    if form == "html":
        from reports.html import render_html

        return render_html(report, warn)
    if form == "text":
        from reports.text import render_text

        return render_text(report)
    if form == "markdown":
        from reports.markdown import render_markdown

        return render_markdown(report)
    if form == "junit":
        from reports.junit import render_junit

        return render_junit(report)
    from reports.openmetrics import render_openmetrics

    return render_openmetrics(report)


def _plan(report: PlanReport, form: Format, warn: Callable[[str], None]) -> str:
    if form == "html":
        from reports.html import render_plan_html

        return render_plan_html(report, warn)
    if form == "text":
        from reports.text import render_plan

        return render_plan(report.plan)
    if form == "markdown":
        from reports.markdown import render_plan_markdown

        return render_plan_markdown(report)
    raise ValueError(f"a plan is not written as {form}: nothing of it passed or failed")
