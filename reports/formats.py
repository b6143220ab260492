"""Report formats: one table for the command line, the desktop app and the run directory."""

from __future__ import annotations

from typing import NamedTuple


class ReportFormat(NamedTuple):
    """A report format and what a report in it contains."""

    id: str
    """ID for `sizewise report --format ID`."""
    title: str
    suffix: str
    file: str
    """File name in a run directory; empty for text, which is printed to a terminal."""
    is_always_written: bool = True
    """True if every run writes this format."""
    has_linked_files: bool = False
    """True if rows and tables can be separate files beside it."""
    has_profile: bool = False
    """True if it contains the profile, and with it the requests that were sent."""
    has_definitions: bool = False
    """True if it can contain other tools' definitions of the metrics."""
    package: str | None = None
    """Package that must be installed in addition, with the extra named like the format."""


REPORT_FORMATS = (
    ReportFormat("html", "HTML", ".html", "report.html", has_linked_files=True, has_profile=True, has_definitions=True),
    ReportFormat("json", "JSON", ".json", "report.json", has_linked_files=True, has_profile=True, has_definitions=True),
    ReportFormat("text", "Text", ".txt", "", is_always_written=False, has_definitions=True),
    ReportFormat("markdown", "Markdown", ".md", "summary.md"),
    ReportFormat("junit", "JUnit", ".xml", "junit.xml"),
    ReportFormat("openmetrics", "OpenMetrics", ".prom", "metrics.prom"),
    ReportFormat("pdf", "PDF", ".pdf", "report.pdf", is_always_written=False, has_profile=True, package="weasyprint"),
)
BY_ID = {format_.id: format_ for format_ in REPORT_FORMATS}
"""Formats by ID, as in `BY_ID["html"]`."""
BY_SUFFIX = {format_.suffix: format_ for format_ in REPORT_FORMATS}
RUN_FILES = {format_.id: format_.file for format_ in REPORT_FORMATS if format_.is_always_written}
"""File names of the formats that each run writes, by ID."""
