"""Export of the displayed run with the same functions as `sizewise report`, and the equivalent
command line."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.gui.formatting import format_plain
from app.gui.results.state import DisplayedRun, EvaluationRequest
from app.storage.run_directory import format_run_name
from reports.formats import FORMATS_BY_ID, REPORT_FORMATS, ReportFormat
from reports.model import Report

if TYPE_CHECKING:
    from app.reporting.redaction import RedactedKind, RedactedReport, Redaction


class ExportFormat(msgspec.Struct, frozen=True):
    """Report format. `unavailable_reason` is the reason why the format is not available on this
    machine, or None if the format is available."""

    key: str
    name: str
    unavailable_reason: str | None = None


class ExportOptions(msgspec.Struct, frozen=True):
    """Options of an export. `redacted_kinds` lists the kinds of names to redact. If
    `is_report_only` is true, no raw data files are written beside the report."""

    format: str = "html"
    redacted_kinds: tuple[RedactedKind, ...] = ()
    is_report_only: bool = False


class ExportedFile(msgspec.Struct, frozen=True):
    path: Path
    size_bytes: int


def export_formats() -> tuple[ExportFormat, ...]:
    return tuple(
        ExportFormat(report_format.id, report_format.title, _get_unavailable_reason(report_format))
        for report_format in REPORT_FORMATS
        if report_format.file
    )


def _get_unavailable_reason(report_format: ReportFormat) -> str | None:
    has_package = report_format.package is None or find_spec(report_format.package) is not None
    return None if has_package else f'requires `pip install "sizewise[{report_format.id}]"`'


def get_default_path(displayed_run: DisplayedRun, options: ExportOptions) -> Path:
    """Return the default path in the directory of the run. The file name of a re-evaluated or
    redacted report has a suffix, so that the export never overwrites the original report."""
    path = displayed_run.directory / FORMATS_BY_ID[options.format].file
    stem = path.stem if displayed_run.request.is_as_measured else f"{path.stem}-reevaluated"
    return path.with_stem(f"{stem}-redacted" if options.redacted_kinds else stem)


def has_sidecars(displayed_run: DisplayedRun, format_key: str) -> bool:
    """Return whether raw data files are written beside the report. Only formats with links have raw
    data files, and only if the run was neither re-evaluated nor recovered."""
    return (
        FORMATS_BY_ID[format_key].has_linked_files
        and displayed_run.request.is_as_measured
        and displayed_run.opened_run.recovery is None
    )


def has_profile(format_key: str) -> bool:
    """Return whether the format contains the profile of the run, which may include prompts."""
    return FORMATS_BY_ID[format_key].has_profile


def find_prompt_keys(displayed_run: DisplayedRun) -> tuple[str, ...]:
    """Return the profile keys that contain prompts."""
    from app.reporting import redaction

    return redaction.find_prompt_keys(displayed_run.report.reproduce.spec_text)


def find_redactions(displayed_run: DisplayedRun) -> tuple[Redaction, ...]:
    """Return the names in the report that can be redacted, with their replacements."""
    from app.reporting.redaction import REDACTED_KINDS, redact

    return redact(displayed_run.report, displayed_run.result, REDACTED_KINDS).redactions


def render_report(displayed_run: DisplayedRun, options: ExportOptions) -> bytes:
    """Render the report. Raises UsageError if the format is not available."""
    return _render(
        _redact(displayed_run, options).report if options.redacted_kinds else displayed_run.report, options.format
    )


def _redact(displayed_run: DisplayedRun, options: ExportOptions) -> RedactedReport:
    from app.reporting.redaction import redact

    return redact(displayed_run.report, displayed_run.result, options.redacted_kinds)


def _render(report: Report, format_key: str) -> bytes:
    from app.errors import UsageError
    from reports.rendering import render_document

    try:
        return render_document(report, format_key)
    except ValueError as error:
        raise UsageError(str(error), hint="Alternatively, print the HTML report from a browser.") from error


def write_report(displayed_run: DisplayedRun, options: ExportOptions, path: Path) -> ExportedFile:
    """Write the report atomically, with the raw data files beside the report, as the command line
    does.

    Raises UsageError if the report cannot be written.
    """
    from app.errors import UsageError
    from app.reporting.sidecars import write_sidecars
    from app.storage.checksums import update_checksum
    from app.storage.run_directory import write_atomically

    redacted_report = _redact(displayed_run, options) if options.redacted_kinds else None
    report = displayed_run.report if redacted_report is None else redacted_report.report
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if has_sidecars(displayed_run, options.format) and not options.is_report_only:
            report = write_sidecars(
                report,
                displayed_run.directory,
                path,
                None if redacted_report is None else redacted_report.build_replacer(),
            )
        content = _render(report, options.format)
        write_atomically(path, content)
        if path.parent.resolve() == displayed_run.directory.resolve() and redacted_report is None:
            for name in (path.name, *(download.name for download in report.downloads)):
                update_checksum(displayed_run.directory, name)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="Choose another location.") from error
    return ExportedFile(path, len(content))


def report_command(
    directory: Path,
    request: EvaluationRequest,
    is_recovered: bool = False,
    options: ExportOptions | None = None,
    output_path: Path | None = None,
) -> str:
    """Return the command line that produces the same report. `options` and `output_path` are only
    set for a report that is written to a file."""
    arguments = ["sizewise", "report", format_run_name(directory)]
    for objective_text in request.slo or ():
        arguments += ["--slo", objective_text]
    if request.window_s is not None:
        from_s, to_s = (f"{format_plain(time_s).replace(',', '')}s" for time_s in request.window_s)
        arguments += ["--from", from_s, "--to", to_s]
    if is_recovered:
        arguments.append("--recover")
    if options is not None:
        arguments += [] if options.format == "html" else ["--format", options.format]
        arguments += ["--redact", ",".join(options.redacted_kinds)] if options.redacted_kinds else []
        arguments += ["--report-only"] if options.is_report_only else []
    if output_path is not None:
        arguments += ["--out", str(output_path)]
    return shlex.join(arguments)
