"""Render a report as PDF with WeasyPrint, which the extra `pdf` installs."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any, NoReturn

from reports.html import render_html, render_plan_html
from reports.model import PlanReport, Report

_COLOR_PROPERTY = re.compile(r"(--[\w-]+):\s*(#[0-9a-f]{6})")


def render_pdf(report: Report | PlanReport) -> bytes:
    """Render the HTML page of a report as PDF in the light theme, without network access. Raises
    ValueError if WeasyPrint is not installed."""
    try:
        from weasyprint import HTML
    except (ImportError, OSError) as error:  # OSError: Pango, a system library that draws the text, is missing
        raise ValueError(f"PDF export requires the extra `pdf` (WeasyPrint) and Pango: {error}") from error
    page = render_plan_html(report) if isinstance(report, PlanReport) else render_html(report)
    return bytes(HTML(string=_replace_color_properties(page), url_fetcher=_fetch_nothing).write_pdf())


def _replace_color_properties(page: str) -> str:
    """Replace the page's CSS custom properties with their values, because WeasyPrint does not apply
    custom properties to SVG."""
    css = (resources.files("reports") / "templates" / "report.css").read_text("utf-8")
    for name, color in _COLOR_PROPERTY.findall(css[: css.index("@media")]):
        page = page.replace(f"var({name})", color)
    return page


def _fetch_nothing(url: str, *_: Any, **__: Any) -> NoReturn:
    raise ValueError(f"a report must not load external resources: {url}")
