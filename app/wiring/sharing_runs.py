"""Export and import of runs. An exported run contains no secrets, and no content of an imported run
is executed."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.errors import SizewiseError, UsageError
from app.extras import find_missing_package
from app.profiles.redaction import find_secret_keys
from app.records.bundle import Bundle
from app.records.result import Result
from app.reporting.stored import build_stored_report
from app.storage.baselines import promote_run, require_promotable
from app.storage.bundle import export_run, import_directory, import_run
from app.storage.checksums import update_checksum
from app.storage.names import REPORT_HTML
from app.storage.run_directory import StoredRun, find_links, runs_home, write_document


def share_run(run: StoredRun, path: Path) -> Bundle:
    """Write the bundle of a run to `path`. Raises UsageError if the run has no result, or if its
    profile may contain a secret."""
    secret_keys = find_secret_keys(run.spec_text or "")
    if secret_keys:
        hint = "Replace it with env:NAME or file:PATH in that file, and export again."
        raise UsageError(f"{run.directory / 'spec.yaml'} may contain a secret: {', '.join(secret_keys)}", hint=hint)
    if path.resolve().is_relative_to(run.directory.resolve()):
        raise UsageError(f"{path} is inside the directory of the exported run", hint="Choose another path with -o.")
    return export_run(run, path)


def set_baseline(run: StoredRun) -> Result:
    """Make a run the baseline of its profile, and return its result. A run outside the runs' home is
    copied there, so that it remains a baseline when its directory is removed.

    Raises UsageError if the run is INVALID or failed, or if it cannot be copied.
    """
    require_promotable(run.complete_result)
    return promote_run(_copy_into_home(run))


def _copy_into_home(run: StoredRun) -> StoredRun:
    """Import a run outside the directory of runs, and remove links to its directory. Return the run if it is inside."""
    home, directory = runs_home(), run.directory.resolve()
    if directory.parent == home.resolve():
        return run
    links = find_links(directory)
    for link in links:
        link.unlink()
    try:
        return StoredRun(import_shared_run(directory, is_own=not run.is_imported)[0])
    except SizewiseError:
        for link in links:
            link.symlink_to(directory, target_is_directory=True)
        raise


def import_shared_run(path: Path, *, is_own: bool = False) -> tuple[Path, bool]:
    """Import a run from a bundle or a run directory. Return the directory of the imported run, and
    whether the run is new on this machine. An imported run is never the last run, unless `is_own`
    says that it was measured with this installation.

    HTML pages in a bundle could contain scripts. Therefore, `report.html` is rendered again from
    the data of the run, if the extra `report` is installed, and all other pages are dropped. Raises
    UsageError if the run cannot be imported.
    """
    directory, is_new = (import_directory if path.is_dir() else import_run)(path, is_own=is_own)
    if is_new:
        try:
            report = build_stored_report(StoredRun(directory))
        except SizewiseError:  # The checksums are correct, but the content is invalid.
            shutil.rmtree(directory)
            raise
        if find_missing_package("report") is None:
            from reports.html import render_html

            write_document(directory / REPORT_HTML, render_html(report).encode())
        update_checksum(directory, REPORT_HTML)
    return directory, is_new
