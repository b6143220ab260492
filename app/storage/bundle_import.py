"""A run from a zip that anybody may have made: read with limits, checked, and taken in whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from app.errors import UsageError
from app.records.bundle import Bundle
from app.storage.bundle import PIECE_BYTES, export_run
from app.storage.bundle_checks import listed_bundle, opened_bundle, refused, verify_result
from app.storage.run_directory import RESULT, StoredRun, runs_home

ACTIVE = (".html", ".htm", ".xhtml", ".mht", ".mhtml", ".svg")
"""Files that a browser runs scripts of. A bundle's own are read, checked and left out: a report is made again."""


def import_run(path: Path) -> tuple[Path, bool]:
    """The run's directory in the runs' home, and whether it is new there.

    Raises UsageError for a bundle that is damaged, hostile or of a newer version, and for one whose id another run has;
    nothing is left of it then.
    """
    home = runs_home()
    with opened_bundle(path) as archive:
        bundle = listed_bundle(archive, path)
        home.mkdir(parents=True, exist_ok=True)
        directory = home / bundle.run_id
        if os.path.lexists(directory):
            return _known(path, bundle, directory), False
        total = sum(one.size for one in bundle.files)
        if total > shutil.disk_usage(home).free:
            raise UsageError(f"{path} takes {total / 2**20:,.0f} MiB unpacked, and {home} has less")
        staging = Path(tempfile.mkdtemp(prefix=".import-", dir=home))
        try:
            unpacked = staging / bundle.run_id
            _unpack(archive, path, bundle, unpacked)
            verify_result(archive, path, bundle)
            unpacked.rename(directory)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return directory, True


def import_directory(path: Path) -> tuple[Path, bool]:
    """As `import_run`, of a run's directory that lies elsewhere: it goes through a bundle, and so through every check.

    Raises UsageError for one that was not measured to its end too.
    """
    run = StoredRun(path)
    if path.resolve().parent == runs_home().resolve():
        return path, False
    with tempfile.TemporaryDirectory(prefix="sizewise-") as folder:
        bundle = Path(folder) / "run.zip"
        export_run(run, bundle)
        try:
            return import_run(bundle)
        except UsageError as error:  # which names the bundle that nobody saw
            raise UsageError(str(error).replace(str(bundle), str(path)), hint=error.hint) from None


def _known(path: Path, bundle: Bundle, directory: Path) -> Path:
    """The directory, where the run that is there is the same: its result seals all its facts."""
    (given,) = (one.sha256 for one in bundle.files if one.path == RESULT)
    there = directory / RESULT
    if there.is_file() and hashlib.sha256(there.read_bytes()).hexdigest() == given:
        return directory
    hint = "Rename that directory, or `sizewise runs delete` it, and import again."
    raise UsageError(f"another run has the id of the one in {path}: {directory}", hint=hint)


def _unpack(archive: zipfile.ZipFile, path: Path, bundle: Bundle, directory: Path) -> None:
    for one in bundle.files:
        target = directory / one.path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        kept = target if target.suffix.casefold() not in ACTIVE else Path(os.devnull)
        with archive.open(f"{bundle.run_id}/{one.path}") as source, kept.open("xb" if kept is target else "wb") as out:
            while piece := source.read(PIECE_BYTES):  # to the size that the zip lists, whatever it is packed of
                digest.update(piece)
                out.write(piece)
            out.flush()
            if kept is target:
                os.fsync(out.fileno())
        if digest.hexdigest() != one.sha256:
            raise refused(path, f"{one.path} is not what its checksum says")
