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
    run: str
    """Function that renders the report of a run, as module and name. It is imported when it renders."""
    plan: str = ""
    """Function that renders the report of a plan; empty if the format has none."""
    comparison: str = ""
    """Function that renders a comparison; empty if the format has none."""
    has_warnings: bool = False
    """True if the functions take a second argument, which is called with what the document lacks."""
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
    ReportFormat("html", "HTML", ".html", "report.html", "reports.html:render_html", "reports.html:render_plan_html",
                 "reports.html:render_comparison_html", has_warnings=True, has_linked_files=True, has_profile=True,
                 has_definitions=True),
    ReportFormat("json", "JSON", ".json", "report.json", "msgspec.json:encode", "msgspec.json:encode",
                 has_linked_files=True, has_profile=True, has_definitions=True),
    ReportFormat("text", "Text", ".txt", "", "reports.text:render_text", "reports.text:render_plan_report",
                 "reports.comparison_text:render_comparison_report", is_always_written=False, has_definitions=True),
    ReportFormat("markdown", "Markdown", ".md", "summary.md", "reports.markdown:render_markdown",
                 "reports.markdown:render_plan_markdown", "reports.markdown:render_comparison_page"),
    ReportFormat("junit", "JUnit", ".xml", "junit.xml", "reports.junit:render_junit"),
    ReportFormat("openmetrics", "OpenMetrics", ".prom", "metrics.prom", "reports.openmetrics:render_openmetrics"),
    ReportFormat("pdf", "PDF", ".pdf", "report.pdf", "reports.pdf:render_pdf", "reports.pdf:render_pdf",
                 is_always_written=False, has_profile=True, package="weasyprint"),
)  # fmt: skip
FORMATS_BY_ID = {format_.id: format_ for format_ in REPORT_FORMATS}
"""Formats by ID, as in `FORMATS_BY_ID["html"]`."""
FORMATS_BY_SUFFIX = {format_.suffix: format_ for format_ in REPORT_FORMATS}
RUN_FILES = {format_.id: format_.file for format_ in REPORT_FORMATS if format_.is_always_written}
"""Names of the report files that every run writes, by format ID."""
