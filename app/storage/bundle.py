"""A run as one zip: every file with its hash, and the same bytes each time."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from app.errors import UsageError
from app.records.bundle import Bundle, BundledFile
from app.storage.bundle_checks import BUNDLE as BUNDLE
from app.storage.bundle_checks import MOST_FILES, is_name, is_run_id, listed_bundle, opened_bundle, verify_result
from app.storage.control import CONTROL
from app.storage.run_directory import StoredRun

PIECE_BYTES = 1 << 20
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX, _MODE = 3, 0o100644


def export_run(run: StoredRun, path: Path) -> Bundle:
    """Write a bundle of a finished run to `path`: whole, or not at all.

    Raises UsageError for a run that has no result, or holds what no bundle can.
    """
    run_id, names = run.measured.run_id, _names(run.directory)
    if not is_run_id(run_id):
        raise UsageError(f"{run.directory}: {run_id!r} is no id that a bundle can carry")
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as out:
            bundle = _write(out, run.directory, run_id, names)
            out.flush()
            os.fsync(out.fileno())
        _check(draft, run.directory)
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="Choose another -o.") from error
    finally:
        draft.unlink(missing_ok=True)
    return bundle


def _check(draft: Path, directory: Path) -> None:
    """By what an import checks: nobody is handed a bundle that no Sizewise takes in."""
    try:
        with opened_bundle(draft) as archive:
            verify_result(archive, draft, listed_bundle(archive, draft))
    except UsageError as error:
        raise UsageError(
            f"{directory} cannot be exported: {error}", hint="Measure again, or move the file out."
        ) from error


def _names(directory: Path) -> list[str]:
    """All files but hidden ones, drafts and what is asked of a running engine, sorted."""
    names = []
    for path in directory.rglob("*"):
        name = PurePosixPath(path.relative_to(directory)).as_posix()
        parts = name.split("/")
        if any(part.startswith(".") for part in parts) or name.endswith(".part") or parts[0] == CONTROL:
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UsageError(f"{path} is no plain file: a bundle cannot carry it", hint="Move it out of the run.")
        if path.is_file():
            if not is_name(name):
                raise UsageError(f"{path}: a bundle cannot carry a file of that name", hint="Move it out of the run.")
            names.append(name)
    if len(names) > MOST_FILES:
        raise UsageError(f"{directory} holds {len(names):,} files, and a bundle carries {MOST_FILES:,}")
    return sorted(names)


def _write(out: IO[bytes], directory: Path, run_id: str, names: list[str]) -> Bundle:
    with zipfile.ZipFile(out, "w") as archive:
        files = tuple([_add(archive, f"{run_id}/{name}", name, directory / name) for name in names])
        bundle = Bundle(1, run_id, files)
        archive.writestr(_info(BUNDLE), msgspec.json.format(msgspec.json.encode(bundle), indent=2))
    return bundle


def _add(archive: zipfile.ZipFile, entry: str, name: str, path: Path) -> BundledFile:
    """Hashed as it is read: what the hash is of is what is in the zip."""
    info, digest = _info(entry), hashlib.sha256()
    info.file_size = path.stat().st_size  # by which the zip chooses its format
    size = 0
    with path.open("rb") as source, archive.open(info, "w") as target:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
            target.write(piece)
    return BundledFile(name, size, digest.hexdigest())


def _info(entry: str) -> zipfile.ZipInfo:
    """Of no moment, owner or system, so that the same run is the same zip."""
    info = zipfile.ZipInfo(entry, _TIME)
    info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, _UNIX, _MODE << 16
    return info
