"""The formats that a report can be written in: one table for the command line, the window and the run directory."""

from __future__ import annotations

from typing import NamedTuple


class ReportFormat(NamedTuple):
    """A format, and what a report in it holds."""

    id: str
    """As in `sizewise report --format ID`."""
    title: str
    suffix: str
    file: str
    """Its name in a run directory; empty for text, which is for a terminal."""
    is_of_each_run: bool = True
    """Whether every run writes it."""
    links_files: bool = False
    """Whether rows and tables can lie beside it as files of their own."""
    holds_profile: bool = False
    """Whether the profile, and with it the requests that were sent, is in it."""
    has_definitions: bool = False
    """Whether other tools' definitions of the metrics can be in it."""
    package: str | None = None
    """What must be installed besides, by the extra of the format's name."""


REPORT_FORMATS = (
    ReportFormat("html", "HTML", ".html", "report.html", links_files=True, holds_profile=True, has_definitions=True),
    ReportFormat("json", "JSON", ".json", "report.json", links_files=True, holds_profile=True, has_definitions=True),
    ReportFormat("text", "Text", ".txt", "", is_of_each_run=False, has_definitions=True),
    ReportFormat("markdown", "Markdown", ".md", "summary.md"),
    ReportFormat("junit", "JUnit", ".xml", "junit.xml"),
    ReportFormat("openmetrics", "OpenMetrics", ".prom", "metrics.prom"),
    ReportFormat("pdf", "PDF", ".pdf", "report.pdf", is_of_each_run=False, holds_profile=True, package="weasyprint"),
)
BY_ID = {known.id: known for known in REPORT_FORMATS}
"""`BY_ID["html"]`."""
BY_SUFFIX = {known.suffix: known for known in REPORT_FORMATS}
FILES = {known.id: known.file for known in REPORT_FORMATS if known.is_of_each_run}
"""The files of each run."""
