"""A shown run as a file: what the command line's `report` writes, by the same functions.

The line that shows the same in a terminal.
"""

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
    """`why_not`: why it cannot be had here."""

    key: str
    name: str
    why_not: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """`hidden` is what the file does not tell; `is_alone` without rows and tables beside it."""

    form: str = "html"
    hidden: tuple[Kind, ...] = ()
    is_alone: bool = False


class Exported(msgspec.Struct, frozen=True):
    path: Path
    size_bytes: int


def forms() -> tuple[Form, ...]:
    return tuple(Form(known.id, known.title, _why_not(known)) for known in REPORT_FORMATS if known.file)


def _why_not(known: ReportFormat) -> str | None:
    has_package = known.package is None or find_spec(known.package) is not None
    return None if has_package else f"takes the extra: pip install sizewise[{known.id}]"


def usual_path(shown: Shown, choice: Choice) -> Path:
    """In the run's directory; the run's own report is never written over by another one."""
    path = shown.directory / BY_ID[choice.form].file
    stem = path.stem if shown.asked.is_own else f"{path.stem}-rescored"
    return path.with_stem(f"{stem}-hidden" if choice.hidden else stem)


def has_files(shown: Shown, form: str) -> bool:
    """Whether rows and tables go beside it: beside the run's own report, as a page or as JSON."""
    return BY_ID[form].links_files and shown.asked.is_own and shown.opened.recovery is None


def has_profile(form: str) -> bool:
    """Whether the run's profile, and with it what was sent, goes into it."""
    return BY_ID[form].holds_profile


def sent_in(shown: Shown) -> tuple[str, ...]:
    """Keys of the profile that hold prompts."""
    from app.reporting import hiding

    return hiding.sent_in(shown.report.reproduce.spec_text)


def names_in(shown: Shown) -> tuple[StandIn, ...]:
    """Everything in the report that can be hidden, with what would stand for it."""
    from app.reporting.hiding import KINDS, hide

    return hide(shown.report, shown.result, KINDS).stand_ins


def content_of(shown: Shown, choice: Choice) -> bytes:
    """Raises UsageError where the format cannot be had."""
    return _content(_hidden(shown, choice).report if choice.hidden else shown.report, choice.form)


def _hidden(shown: Shown, choice: Choice) -> Hidden:
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
    """Whole or not at all, with the rows and tables beside it as the command line writes them. Raises UsageError where
    it cannot be written."""
    from app.errors import UsageError
    from app.reporting.sidecars import with_sidecars
    from app.storage.checksums import renew_checksum
    from app.storage.run_directory import write_whole

    hidden = _hidden(shown, choice) if choice.hidden else None
    report = shown.report if hidden is None else hidden.report
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if has_files(shown, choice.form) and not choice.is_alone:
            report = with_sidecars(report, shown.directory, path, None if hidden is None else hidden.renaming())
        content = _content(report, choice.form)
        write_whole(path, content)
        if path.parent.resolve() == shown.directory.resolve() and hidden is None:
            for name in (path.name, *(one.name for one in report.downloads)):
                renew_checksum(shown.directory, name)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Choose another place.") from error
    return Exported(path, len(content))


def report_command(
    directory: Path, asked: Asked, is_recovered: bool = False, choice: Choice | None = None, out: Path | None = None
) -> str:
    """`choice` and `out` where a file of it is being written."""
    words = ["sizewise", "report", name_of_run(directory)]
    for text in asked.slo or ():
        words += ["--slo", text]
    if asked.window_s is not None:
        from_s, to_s = (f"{plain(at).replace(',', '')}s" for at in asked.window_s)
        words += ["--from", from_s, "--to", to_s]
    if is_recovered:
        words.append("--recover")
    if choice is not None:
        words += [] if choice.form == "html" else ["--format", choice.form]
        words += ["--hide", ",".join(choice.hidden)] if choice.hidden else []
        words += ["--alone"] if choice.is_alone else []
    if out is not None:
        words += ["--out", str(out)]
    return shlex.join(words)
