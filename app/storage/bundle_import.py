"""A run from a zip that anybody may have made: read with limits, checked, and taken in whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from app.errors import UsageError
from app.records.bundle import Bundle, BundledFile
from app.records.result import SCHEMA, Result
from app.storage.bundle import BUNDLE, MOST_FILES, PIECE_BYTES, export_run, is_name, is_run_id
from app.storage.run_directory import EVENTS, RESULT, StoredRun, runs_home
from loadgen.decoding import decode_json

MOST_BYTES = 16 << 30
MOST_RATIO = 250
"""What is unpacked is at most so many times as large as the zip: rows of a run take a fifth, zeros a thousandth."""
_LONGEST_LIST = 1 << 20
"""Bytes of the zip's own list of contents, and of ours."""
_LONGEST_RESULT = 64 << 20
_HINT = "Bundles are written by `sizewise runs export RUN`."
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def import_run(path: Path) -> tuple[Path, bool]:
    """The run's directory in the runs' home, and whether it is new there.

    Raises UsageError for a bundle that is damaged, hostile or of a newer version, and for one whose id another run has;
    nothing is left of it then.
    """
    home = runs_home()
    with _opened(path) as archive:
        bundle = _listed(archive, path)
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
            _verify(path, bundle, unpacked)
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


class _Bounded(io.FileIO):
    """A zip's list of contents is read in one piece, whose length the zip says: one that would fill the memory is
    refused."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LONGEST_LIST:
            raise zipfile.BadZipFile("its list of contents is longer than that of any run")
        return super().read(size)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Whatever a damaged zip, or the disk, raises while it is read comes out as one sentence."""
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError) as error:
        raise _refused(path, f"it is no whole zip: {error}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be taken in: {error.strerror or error}") from error


def _listed(archive: zipfile.ZipFile, path: Path) -> Bundle:
    """What the bundle says it holds, once that is what the zip lists, and within the limits."""
    infos = archive.infolist()
    _keep_within_limits(infos, path)
    for info in infos:
        _look_at(info, path)
    bundle = _bundle(archive, path)
    listed = {f"{bundle.run_id}/{one.path}": one.size for one in bundle.files}
    if len(listed) != len(bundle.files):
        raise _refused(path, "it lists a file twice")
    held = {info.filename: info.file_size for info in infos if info.filename != BUNDLE}
    odd = sorted(name for name in held.keys() | listed.keys() if held.get(name) != listed.get(name))
    if odd:
        raise _refused(path, f"what it lists is not what it holds: {odd[0]!r}")
    return bundle


def _keep_within_limits(infos: list[zipfile.ZipInfo], path: Path) -> None:
    if len(infos) > MOST_FILES + 1:
        raise _refused(path, f"it holds {len(infos):,} files, and a run has at most {MOST_FILES:,}")
    if len({info.filename.casefold() for info in infos}) != len(infos):
        raise _refused(path, "it holds two files of one name")
    total = sum(info.file_size for info in infos)
    if total > MOST_BYTES:
        raise _refused(path, f"it would unpack to {total / 2**30:,.0f} GiB, and a run takes at most {MOST_BYTES >> 30}")
    if total > MOST_RATIO * path.stat().st_size:
        raise _refused(path, f"it would unpack to more than {MOST_RATIO} times its size")


def _look_at(info: zipfile.ZipInfo, path: Path) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.filename.endswith("/"):
        raise _refused(path, f"{info.filename!r} is no plain file")
    if info.flag_bits & 0x1 or info.compress_type not in _METHODS:
        raise _refused(path, f"{info.filename!r} is encrypted, or packed in a way that bundles are not")


def _bundle(archive: zipfile.ZipFile, path: Path) -> Bundle:
    if BUNDLE not in archive.namelist():
        raise _refused(path, f"it has no {BUNDLE}")
    if archive.getinfo(BUNDLE).file_size > _LONGEST_LIST:
        raise _refused(path, f"its {BUNDLE} is longer than that of any run")
    try:
        bundle = decode_json(archive.read(BUNDLE), Bundle)
    except msgspec.DecodeError as error:
        raise _refused(path, f"its {BUNDLE} is of a newer version, or damaged: {error}") from error
    if not is_run_id(bundle.run_id):
        raise _refused(path, f"{bundle.run_id!r} is no id of a run")
    for one in bundle.files:
        if not is_name(one.path):
            raise _refused(path, f"{one.path!r} is no name of a run's file")
    missing = {RESULT, EVENTS}.difference(one.path for one in bundle.files)
    if missing:
        raise _refused(path, f"it holds no {min(missing)}")
    return bundle


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
        with archive.open(f"{bundle.run_id}/{one.path}") as source, target.open("xb") as out:
            while piece := source.read(PIECE_BYTES):  # to the size that the zip lists, whatever it is packed of
                digest.update(piece)
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != one.sha256:
            raise _refused(path, f"{one.path} is not what its checksum says")


def _verify(path: Path, bundle: Bundle, directory: Path) -> None:
    """The result is of this run, can be read, and its facts are those that it sealed."""
    if (directory / RESULT).stat().st_size > _LONGEST_RESULT:
        raise _refused(path, f"its {RESULT} is longer than that of any run")
    text = (directory / RESULT).read_bytes()
    try:
        result = decode_json(text, Result)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        schema = _schema_of(text)
        if isinstance(schema, int) and schema > SCHEMA:
            hint = "Import it with the version of Sizewise that it was measured with, or a later one."
            why = f"its result is of schema {schema}, and this version reads up to {SCHEMA}"
            raise UsageError(f"{path} cannot be taken in: {why}", hint=hint) from None
        raise _refused(path, f"its {RESULT} cannot be read: {error}") from error
    if result.run_id != bundle.run_id:
        raise _refused(path, f"its {RESULT} is of another run")
    found = {one.path: one for one in bundle.files}
    for artifact in result.artifacts:
        if not _is_sealed(found.get(artifact.path), artifact.sha256):
            raise _refused(path, f"{artifact.path} is not the one that its {RESULT} was made of")


def _is_sealed(file: BundledFile | None, sha256: str) -> bool:
    return file is not None and file.sha256 == sha256


def _schema_of(text: bytes) -> Any:
    try:
        document = decode_json(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return document.get("schema") if isinstance(document, dict) else None


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} is no bundle that can be taken in: {' '.join(why.split())[:300]}", hint=_HINT)
