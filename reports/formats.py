"""List the report formats in one table for the command line, the desktop app and the run
directory."""

from __future__ import annotations

from typing import NamedTuple


class ReportFormat(NamedTuple):
    """Report format and the content that a report in this format can include."""

    id: str
    """ID of the format, as in `sizewise report --format ID`."""
    title: str
    suffix: str
    file: str
    """File name of the report in a run directory; empty for text, which is printed to a
    terminal."""
    is_always_written: bool = True
    """True if every run writes a report in this format."""
    has_linked_files: bool = False
    """True if charts and tables can be written as separate files and linked from the report."""
    has_profile: bool = False
    """True if the report contains the profile, and therefore the requests that were sent."""
    has_definitions: bool = False
    """True if the report can contain metric definitions of other tools."""
    package: str | None = None
    """Name of the additional package that the format requires; `None` if it requires none. The
    extra that installs the package has the ID of the format."""


REPORT_FORMATS = (
    ReportFormat("html", "HTML", ".html", "report.html", has_linked_files=True, has_profile=True, has_definitions=True),
    ReportFormat("json", "JSON", ".json", "report.json", has_linked_files=True, has_profile=True, has_definitions=True),
    ReportFormat("text", "Text", ".txt", "", is_always_written=False, has_definitions=True),
    ReportFormat("markdown", "Markdown", ".md", "summary.md"),
    ReportFormat("junit", "JUnit", ".xml", "junit.xml"),
    ReportFormat("openmetrics", "OpenMetrics", ".prom", "metrics.prom"),
    ReportFormat("pdf", "PDF", ".pdf", "report.pdf", is_always_written=False, has_profile=True, package="weasyprint"),
)
FORMATS_BY_ID = {format_.id: format_ for format_ in REPORT_FORMATS}
"""Formats by ID, as in `FORMATS_BY_ID["html"]`."""
FORMATS_BY_SUFFIX = {format_.suffix: format_ for format_ in REPORT_FORMATS}
RUN_FILES = {format_.id: format_.file for format_ in REPORT_FORMATS if format_.is_always_written}
"""Names of the report files that every run writes, by format ID."""
