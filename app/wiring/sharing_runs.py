"""A run that leaves this machine: nothing of it may be a secret. One that comes to it: nothing of it may run."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.errors import SizewiseError, UsageError
from app.profiles.redaction import places_of_secrets
from app.records.bundle import Bundle
from app.reporting.stored import report_of
from app.storage.bundle import export_run, import_directory, import_run
from app.storage.checksums import renew_checksum
from app.storage.names import REPORT_HTML
from app.storage.run_directory import StoredRun, write_document
from reports.html import render_html


def share_run(run: StoredRun, path: Path) -> Bundle:
    """Write its bundle to `path`. Raises UsageError for a run without a result, and for one whose profile holds what
    may be a secret."""
    found = places_of_secrets(run.spec_text or "")
    if found:
        hint = "Give it as env:NAME or file:PATH there, and export again."
        raise UsageError(f"{run.directory / 'spec.yaml'} holds what may be a secret: {', '.join(found)}", hint=hint)
    if path.resolve().is_relative_to(run.directory.resolve()):
        raise UsageError(f"{path} is in the run that it is to hold", hint="Choose another -o.")
    return export_run(run, path)


def take_run(path: Path) -> tuple[Path, bool]:
    """The directory of the run that `path`, a bundle or a run's directory, holds, and whether it is new here.

    A page that came with it could hold a script of anybody: `report.html` is rendered again from the run's own data,
    and other pages are left out. Raises UsageError for what cannot be taken in.
    """
    directory, is_new = import_directory(path) if path.is_dir() else import_run(path)
    if is_new:
        try:
            page = render_html(report_of(StoredRun(directory)))
        except SizewiseError:  # its checksums are right, and its content is not
            shutil.rmtree(directory)
            raise
        write_document(directory / REPORT_HTML, page.encode())
        renew_checksum(directory, REPORT_HTML)
    return directory, is_new
