"""Export of the shown run, with the same functions as `sizewise report`, and the equivalent command line."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.gui.formatting import plain
from app.gui.results.state import Asked, Shown
from app.storage.run_directory import name_of_run
from reports.formats import BY_ID, REPORT_FORMATS, ReportFormat
from reports.model import Report

if TYPE_CHECKING:
    from app.reporting.hiding import Hidden, Kind, StandIn


class Form(msgspec.Struct, frozen=True):
    """A report format. `why_not` is why it is not available here, or None."""

    key: str
    name: str
    why_not: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """Options of an export. `hidden` lists what is redacted. `is_alone` leaves out the files with rows and tables."""

    form: str = "html"
    hidden: tuple[Kind, ...] = ()
    is_alone: bool = False


class Exported(msgspec.Struct, frozen=True):
    path: Path
    size_bytes: int


def forms() -> tuple[Form, ...]:
    return tuple(
        Form(report_format.id, report_format.title, _why_not(report_format))
        for report_format in REPORT_FORMATS
        if report_format.file
    )


def _why_not(report_format: ReportFormat) -> str | None:
    has_package = report_format.package is None or find_spec(report_format.package) is not None
    return None if has_package else f"takes the extra: pip install sizewise[{report_format.id}]"


def usual_path(shown: Shown, choice: Choice) -> Path:
    """Return the default path in the run's directory. A re-evaluated or redacted report has a suffix, so that it never
    overwrites the run's own report."""
    path = shown.directory / BY_ID[choice.form].file
    stem = path.stem if shown.asked.is_own else f"{path.stem}-rescored"
    return path.with_stem(f"{stem}-hidden" if choice.hidden else stem)


def has_files(shown: Shown, form: str) -> bool:
    """Return whether files with rows and tables are written beside the report: only for the run's own report, in
    formats that link them."""
    return BY_ID[form].links_files and shown.asked.is_own and shown.opened.recovery is None


def has_profile(form: str) -> bool:
    """Return whether the format contains the run's profile, and with it what was sent."""
    return BY_ID[form].holds_profile


def sent_in(shown: Shown) -> tuple[str, ...]:
    """Return the keys of the profile that contain prompts."""
    from app.reporting import hiding

    return hiding.sent_in(shown.report.reproduce.spec_text)


def names_in(shown: Shown) -> tuple[StandIn, ...]:
    """Return everything in the report that can be redacted, with its replacements."""
    from app.reporting.hiding import KINDS, hide

    return hide(shown.report, shown.result, KINDS).stand_ins


def content_of(shown: Shown, choice: Choice) -> bytes:
    """Return the bytes of the report. Raises UsageError if the format is not available."""
    return _content(_redacted(shown, choice).report if choice.hidden else shown.report, choice.form)


def _redacted(shown: Shown, choice: Choice) -> Hidden:
    from app.reporting.hiding import hide

    return hide(shown.report, shown.result, choice.hidden)


def _content(report: Report, form: str) -> bytes:
    from app.errors import UsageError
    from reports.rendering import document

    try:
        return document(report, form)
    except ValueError as error:
        raise UsageError(str(error), hint="Or print the HTML report from a browser.") from error


def write(shown: Shown, choice: Choice, path: Path) -> Exported:
    """Write the report completely or not at all, with the files of rows and tables beside it as the command line does.

    Raises UsageError if it cannot be written.
    """
    from app.errors import UsageError
    from app.reporting.sidecars import with_sidecars
    from app.storage.checksums import renew_checksum
    from app.storage.run_directory import write_whole

    redacted = _redacted(shown, choice) if choice.hidden else None
    report = shown.report if redacted is None else redacted.report
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if has_files(shown, choice.form) and not choice.is_alone:
            report = with_sidecars(report, shown.directory, path, None if redacted is None else redacted.renaming())
        content = _content(report, choice.form)
        write_whole(path, content)
        if path.parent.resolve() == shown.directory.resolve() and redacted is None:
            for name in (path.name, *(download.name for download in report.downloads)):
                renew_checksum(shown.directory, name)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Choose another place.") from error
    return Exported(path, len(content))


def report_command(
    directory: Path, asked: Asked, is_recovered: bool = False, choice: Choice | None = None, out: Path | None = None
) -> str:
    """Return the equivalent command line. `choice` and `out` are set while a file is being written."""
    arguments = ["sizewise", "report", name_of_run(directory)]
    for text in asked.slo or ():
        arguments += ["--slo", text]
    if asked.window_s is not None:
        from_s, to_s = (f"{plain(time_s).replace(',', '')}s" for time_s in asked.window_s)
        arguments += ["--from", from_s, "--to", to_s]
    if is_recovered:
        arguments.append("--recover")
    if choice is not None:
        arguments += [] if choice.form == "html" else ["--format", choice.form]
        arguments += ["--hide", ",".join(choice.hidden)] if choice.hidden else []
        arguments += ["--alone"] if choice.is_alone else []
    if out is not None:
        arguments += ["--out", str(out)]
    return shlex.join(arguments)
