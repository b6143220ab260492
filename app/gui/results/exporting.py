"""A shown run as a file: what the command line's `report` writes, by the same functions."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec

from app.gui.results.state import Shown
from reports.rendering import FILES, Format

PDF = "pdf"
_WITH_FILES = ("html", "json")


class Form(msgspec.Struct, frozen=True):
    """`why_not`: why it cannot be had here."""

    key: str
    name: str
    why_not: str | None = None


class Exported(msgspec.Struct, frozen=True):
    path: Path
    size_bytes: int


def forms() -> tuple[Form, ...]:
    has_pdf = find_spec("weasyprint") is not None
    why_not = None if has_pdf else "takes the extra: pip install sizewise[pdf]"
    return (
        Form("html", "HTML"),
        Form("markdown", "Markdown"),
        Form("json", "JSON"),
        Form("junit", "JUnit"),
        Form("openmetrics", "OpenMetrics"),
        Form(PDF, "PDF", why_not),
    )


def usual_path(shown: Shown, key: str) -> Path:
    """In the run's directory; the run's own report is never written over by one of another judgement."""
    name = "report.pdf" if key == PDF else FILES[_format(key)]
    path = shown.directory / name
    return path if shown.asked.is_own else path.with_name(f"{path.stem}-rescored{path.suffix}")


def content_of(shown: Shown, key: str) -> bytes:
    """Raises UsageError where the format cannot be had."""
    from app.errors import UsageError
    from reports.rendering import render

    if key != PDF:
        return render(shown.report, _format(key)).encode()
    from reports.pdf import render_pdf

    try:
        return render_pdf(shown.report)
    except ValueError as error:
        raise UsageError(str(error), hint="Or print the HTML report from a browser.") from error


def write(shown: Shown, key: str, path: Path) -> Exported:
    """Whole or not at all, with the rows and tables beside it as the command line writes them: of the run's own report
    as a page or as JSON. Raises UsageError where it cannot be written."""
    from app.errors import UsageError
    from app.reporting.sidecars import with_sidecars
    from app.storage.checksums import renew_checksum
    from app.storage.run_directory import write_whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if key in _WITH_FILES and shown.asked.is_own and shown.opened.recovery is None:
            report = with_sidecars(shown.report, shown.directory, path)
            shown = msgspec.structs.replace(shown, report=report)
        content = content_of(shown, key)
        write_whole(path, content)
        if path.parent.resolve() == shown.directory.resolve():
            for name in (path.name, *(one.name for one in shown.report.downloads)):
                renew_checksum(shown.directory, name)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Choose another place.") from error
    return Exported(path, len(content))


def _format(key: str) -> Format:
    return next(one for one in FILES if one == key)
