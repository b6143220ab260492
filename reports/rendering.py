"""Render a report or a comparison in any of its formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from reports.formats import FORMATS_BY_ID
from reports.model import PlanReport, Report
from reports.sections.comparison import ComparisonReport

ComparisonFormat = Literal["text", "markdown", "html"]


def render_document(report: Report | PlanReport, format_id: str, warn: Callable[[str], None] = lambda _: None) -> bytes:
    """Render a report as the content of a file in the given format. Raises ValueError if a plan
    does not support the format, or if the PDF cannot be created."""
    if format_id == "pdf":
        from reports.pdf import render_pdf

        return render_pdf(report)
    return render(report, format_id, warn).encode()


def render(report: Report | PlanReport, format_id: str, warn: Callable[[str], None] = lambda _: None) -> str:
    """Render a report as a string in the given format. Only the modules for this format are
    imported. Raises ValueError if the format is not supported.

    `warn` is called with a message if content is missing from the document; the message states the
    reason.
    """
    if format_id == "json":
        return msgspec.json.encode(report).decode()
    return (
        _render_plan(report, format_id, warn)
        if isinstance(report, PlanReport)
        else _render_run(report, format_id, warn)
    )


def render_comparison(report: ComparisonReport, format_id: ComparisonFormat) -> str:
    """Render a comparison as a separate document in the given format."""
    if format_id == "html":
        from reports.html import render_comparison_html

        return render_comparison_html(report)
    if format_id == "markdown":
        from reports.markdown import render_comparison_page

        return render_comparison_page(report)
    from reports.comparison_text import render_comparison

    return render_comparison(report.comparison)


def _render_run(report: Report, format_id: str, warn: Callable[[str], None]) -> str:
    if format_id == "html":
        from reports.html import render_html

        return render_html(report, warn)
    if format_id == "text":
        from reports.text import render_text

        return render_text(report)
    if format_id == "markdown":
        from reports.markdown import render_markdown

        return render_markdown(report)
    if format_id == "junit":
        from reports.junit import render_junit

        return render_junit(report)
    if format_id == "openmetrics":
        from reports.openmetrics import render_openmetrics

        return render_openmetrics(report)
    raise ValueError(f"the report format {format_id!r} is unknown. Use one of {', '.join(FORMATS_BY_ID)}.")


def _render_plan(report: PlanReport, format_id: str, warn: Callable[[str], None]) -> str:
    if format_id == "html":
        from reports.html import render_plan_html

        return render_plan_html(report, warn)
    if format_id == "text":
        from reports.text import render_plan

        return render_plan(report.plan)
    if format_id == "markdown":
        from reports.markdown import render_plan_markdown

        return render_plan_markdown(report)
    raise ValueError(f"a plan has no report in the format {format_id!r}")
