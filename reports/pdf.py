"""A report on paper: the page as PDF, by WeasyPrint, which the extra `pdf` installs."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any, NoReturn

from reports.html import render_html, render_plan_html
from reports.model import PlanReport, Report

_PROPERTY = re.compile(r"(--[\w-]+):\s*(#[0-9a-f]{6})")


def render_pdf(report: Report | PlanReport) -> bytes:
    """In the colours of the light theme. Nothing is fetched. Raises ValueError where WeasyPrint is not installed."""
    try:
        from weasyprint import HTML
    except (ImportError, OSError) as error:  # OSError: Pango, which it draws text with, is a library of the system
        raise ValueError(f"a PDF takes the extra `pdf` (WeasyPrint) and Pango: {error}") from error
    page = render_plan_html(report) if isinstance(report, PlanReport) else render_html(report)
    return bytes(HTML(string=_in_light_colours(page), url_fetcher=_fetch_nothing).write_pdf())


def _in_light_colours(page: str) -> str:
    """WeasyPrint draws pictures without the page's custom properties."""
    css = (resources.files("reports") / "templates" / "report.css").read_text("utf-8")
    for name, colour in _PROPERTY.findall(css[: css.index("@media")]):
        page = page.replace(f"var({name})", colour)
    return page


def _fetch_nothing(url: str, *_: Any, **__: Any) -> NoReturn:
    raise ValueError(f"a report fetches nothing, and not {url}")
