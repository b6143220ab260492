"""Export of the displayed run with the same functions as `sizewise report`, and the equivalent
command line."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.gui.formatting import format_plain
from app.gui.results.state import EvaluationRequest, ShownRun
from app.storage.run_directory import format_run_name
from reports.formats import BY_ID, REPORT_FORMATS, ReportFormat
from reports.model import Report

if TYPE_CHECKING:
    from app.reporting.redaction import RedactedKind, RedactedReport, Redaction


class ExportFormat(msgspec.Struct, frozen=True):
    """Report format. `unavailable_reason` is the reason why the format is not available on this
    machine, or None if it is."""

    key: str
    name: str
    unavailable_reason: str | None = None


class ExportOptions(msgspec.Struct, frozen=True):
    """Options of an export. `redacted` lists the kinds of names to redact. If `is_report_only`, no
    files with rows and tables are written beside the report."""

    format: str = "html"
    redacted: tuple[RedactedKind, ...] = ()
    is_report_only: bool = False


class Exported(msgspec.Struct, frozen=True):
    path: Path
    size_bytes: int


def export_formats() -> tuple[ExportFormat, ...]:
    return tuple(
        ExportFormat(report_format.id, report_format.title, _why_not(report_format))
        for report_format in REPORT_FORMATS
        if report_format.file
    )


def _why_not(report_format: ReportFormat) -> str | None:
    has_package = report_format.package is None or find_spec(report_format.package) is not None
    return None if has_package else f"requires `pip install sizewise[{report_format.id}]`"


def default_path(shown: ShownRun, choice: ExportOptions) -> Path:
    """Return the default path in the directory of the run. The file name of a re-evaluated or
    redacted report has a suffix, so that the export never overwrites the original report."""
    path = shown.directory / BY_ID[choice.format].file
    stem = path.stem if shown.request.is_as_measured else f"{path.stem}-rescored"
    return path.with_stem(f"{stem}-hidden" if choice.redacted else stem)


def has_sidecars(shown: ShownRun, form: str) -> bool:
    """Return whether files with rows and tables are written beside the report. Only the original
    report in a format with links has such files."""
    return BY_ID[form].has_linked_files and shown.request.is_as_measured and shown.opened.recovery is None


def has_profile(form: str) -> bool:
    """Return whether the format contains the profile of the run, which includes what was sent."""
    return BY_ID[form].has_profile


def find_prompt_keys(shown: ShownRun) -> tuple[str, ...]:
    """Return the profile keys that contain prompts."""
    from app.reporting import redaction

    return redaction.find_prompt_keys(shown.report.reproduce.spec_text)


def find_redactions(shown: ShownRun) -> tuple[Redaction, ...]:
    """Return everything in the report that can be redacted, with the replacements."""
    from app.reporting.redaction import REDACTED_KINDS, redact

    return redact(shown.report, shown.result, REDACTED_KINDS).redactions


def render_report(shown: ShownRun, choice: ExportOptions) -> bytes:
    """Render the report. Raises UsageError if the format is not available."""
    return _content(_redacted(shown, choice).report if choice.redacted else shown.report, choice.format)


def _redacted(shown: ShownRun, choice: ExportOptions) -> RedactedReport:
    from app.reporting.redaction import redact

    return redact(shown.report, shown.result, choice.redacted)


def _content(report: Report, form: str) -> bytes:
    from app.errors import UsageError
    from reports.rendering import render_document

    try:
        return render_document(report, form)
    except ValueError as error:
        raise UsageError(str(error), hint="Or print the HTML report from a browser.") from error


def write_report(shown: ShownRun, choice: ExportOptions, path: Path) -> Exported:
    """Write the report atomically, with the files of rows and tables beside it, as the command line
    does.

    Raises UsageError if the report cannot be written.
    """
    from app.errors import UsageError
    from app.reporting.sidecars import write_sidecars
    from app.storage.checksums import update_checksum
    from app.storage.run_directory import write_atomically

    redacted = _redacted(shown, choice) if choice.redacted else None
    report = shown.report if redacted is None else redacted.report
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if has_sidecars(shown, choice.format) and not choice.is_report_only:
            report = write_sidecars(
                report, shown.directory, path, None if redacted is None else redacted.build_replacer()
            )
        content = _content(report, choice.format)
        write_atomically(path, content)
        if path.parent.resolve() == shown.directory.resolve() and redacted is None:
            for name in (path.name, *(download.name for download in report.downloads)):
                update_checksum(shown.directory, name)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Choose another location.") from error
    return Exported(path, len(content))


def report_command(
    directory: Path,
    request: EvaluationRequest,
    is_recovered: bool = False,
    choice: ExportOptions | None = None,
    out: Path | None = None,
) -> str:
    """Return the command line that produces the same report. `choice` and `out` are set if the
    report is written to a file."""
    arguments = ["sizewise", "report", format_run_name(directory)]
    for text in request.slo or ():
        arguments += ["--slo", text]
    if request.window_s is not None:
        from_s, to_s = (f"{format_plain(time_s).replace(',', '')}s" for time_s in request.window_s)
        arguments += ["--from", from_s, "--to", to_s]
    if is_recovered:
        arguments.append("--recover")
    if choice is not None:
        arguments += [] if choice.format == "html" else ["--format", choice.format]
        arguments += ["--redact", ",".join(choice.redacted)] if choice.redacted else []
        arguments += ["--report-only"] if choice.is_report_only else []
    if out is not None:
        arguments += ["--out", str(out)]
    return shlex.join(arguments)
