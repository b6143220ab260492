"""Render a report or a comparison in any of its formats."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name

from reports.formats import FORMATS_BY_ID
from reports.model import PlanReport, Report
from reports.sections.comparison import ComparisonReport

_Document = Report | PlanReport | ComparisonReport


def render_document(document: _Document, format_id: str, warn: Callable[[str], None] = lambda _: None) -> bytes:
    """Render a document as the content of a file in the given format. Only the modules for this format are imported.
    Raises ValueError if the document does not support the format, or if the PDF cannot be created.

    `warn` is called with a message if content is missing from the document; the message states the reason.
    """
    if format_id not in FORMATS_BY_ID:
        raise ValueError(f"the report format {format_id!r} is unknown. Use one of {', '.join(FORMATS_BY_ID)}.")
    report_format = FORMATS_BY_ID[format_id]
    match document:
        case Report():
            kind, renderer = "run", report_format.run
        case PlanReport():
            kind, renderer = "plan", report_format.plan
        case _:
            kind, renderer = "comparison", report_format.comparison
    if not renderer:
        raise ValueError(f"a {kind} has no report in the format {format_id!r}")
    content: str | bytes = resolve_name(renderer)(document, *([warn] if report_format.has_warnings else []))
    return content if isinstance(content, bytes) else content.encode()


def render(document: _Document, format_id: str, warn: Callable[[str], None] = lambda _: None) -> str:
    """Render a document as a string in the given format, which is not PDF."""
    return render_document(document, format_id, warn).decode()
