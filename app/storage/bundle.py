"""A run as one zip: every file with its hash, and the same bytes each time.

What makes a zip a bundle: its limits, its names, and a result that seals what it holds.

A run from a zip that anybody may have made: read with limits, checked, and taken in whole or not at
all.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from app.errors import UsageError
from app.records.bundle import Bundle, BundledFile
from app.storage.control import CONTROL
from app.storage.names import EVENTS, RESULT
from app.storage.results import decode_result, other_schema
from app.storage.run_directory import StoredRun, runs_home
from loadgen.decoding import decode_json

BUNDLE = "bundle.json"
MOST_FILES = 2_000
MOST_BYTES = 16 << 30
MOST_RATIO = 250
"""What is unpacked is at most so many times as large as the zip: rows of a run take a fifth, zeros a thousandth."""
_LONGEST_LIST = 1 << 20
"""Bytes of the zip's own list of contents, and of ours."""
_LONGEST_RESULT = 64 << 20
_HINT = "Bundles are written by `sizewise runs export RUN`."
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9 ._=+@,()-]{0,98}[A-Za-z0-9_)])?")


def is_name(path: str) -> bool:
    """Whether a run's file may be called so, on any system: in the run's directory, or in one folder of it."""
    parts = path.split("/")
    return len(parts) <= 2 and parts[0] != CONTROL and all(_NAME.fullmatch(part) for part in parts)


def is_run_id(name: str) -> bool:
    return "/" not in name and is_name(name)


class _Bounded(io.FileIO):
    """A zip's list of contents is read in one piece, whose length the zip says: one that would fill the memory is
    refused."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LONGEST_LIST:
            raise zipfile.BadZipFile("its list of contents is longer than that of any run")
        return super().read(size)


@contextmanager
def opened_bundle(path: Path) -> Iterator[zipfile.ZipFile]:
    """Whatever a damaged zip, or the disk, raises while it is read comes out as one sentence."""
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError) as error:
        raise refused(path, f"it is no whole zip: {error}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be taken in: {error.strerror or error}") from error


def listed_bundle(archive: zipfile.ZipFile, path: Path) -> Bundle:
    """What the bundle says it holds, once that is what the zip lists, and within the limits."""
    infos = archive.infolist()
    _keep_within_limits(infos, path)
    for info in infos:
        _look_at(info, path)
    bundle = _bundle(archive, path)
    listed = {f"{bundle.run_id}/{one.path}": one.size for one in bundle.files}
    if len(listed) != len(bundle.files):
        raise refused(path, "it lists a file twice")
    held = {info.filename: info.file_size for info in infos if info.filename != BUNDLE}
    odd = sorted(name for name in held.keys() | listed.keys() if held.get(name) != listed.get(name))
    if odd:
        raise refused(path, f"what it lists is not what it holds: {odd[0]!r}")
    return bundle


def _keep_within_limits(infos: list[zipfile.ZipInfo], path: Path) -> None:
    if len(infos) > MOST_FILES + 1:
        raise refused(path, f"it holds {len(infos):,} files, and a run has at most {MOST_FILES:,}")
    if len({info.filename.casefold() for info in infos}) != len(infos):
        raise refused(path, "it holds two files of one name")
    total = sum(info.file_size for info in infos)
    if total > MOST_BYTES:
        raise refused(path, f"it would unpack to {total / 2**30:,.0f} GiB, and a run takes at most {MOST_BYTES >> 30}")
    if total > MOST_RATIO * path.stat().st_size:
        raise refused(path, f"it would unpack to more than {MOST_RATIO} times its size")


def _look_at(info: zipfile.ZipInfo, path: Path) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.filename.endswith("/"):
        raise refused(path, f"{info.filename!r} is no plain file")
    if info.flag_bits & 0x1 or info.compress_type not in _METHODS:
        raise refused(path, f"{info.filename!r} is encrypted, or packed in a way that bundles are not")


def _bundle(archive: zipfile.ZipFile, path: Path) -> Bundle:
    if BUNDLE not in archive.namelist():
        raise refused(path, f"it has no {BUNDLE}")
    if archive.getinfo(BUNDLE).file_size > _LONGEST_LIST:
        raise refused(path, f"its {BUNDLE} is longer than that of any run")
    try:
        bundle = decode_json(archive.read(BUNDLE), Bundle)
    except msgspec.DecodeError as error:
        raise refused(path, f"its {BUNDLE} is of a newer version, or damaged: {error}") from error
    if not is_run_id(bundle.run_id):
        raise refused(path, f"{bundle.run_id!r} is no id of a run")
    for one in bundle.files:
        if not is_name(one.path):
            raise refused(path, f"{one.path!r} is no name of a run's file")
    missing = {RESULT, EVENTS}.difference(one.path for one in bundle.files)
    if missing:
        raise refused(path, f"it holds no {min(missing)}")
    return bundle


def verify_result(archive: zipfile.ZipFile, path: Path, bundle: Bundle) -> None:
    """The result is of this run, can be read, and its facts are those that it sealed."""
    name = f"{bundle.run_id}/{RESULT}"
    if archive.getinfo(name).file_size > _LONGEST_RESULT:
        raise refused(path, f"its {RESULT} is longer than that of any run")
    text = archive.read(name)
    try:
        result = decode_result(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if (why := other_schema(text)) is not None:
            hint = "Import it with the version of Sizewise that it was measured with."
            raise UsageError(f"{path} cannot be taken in: {why}", hint=hint) from None
        raise refused(path, f"its {RESULT} cannot be read: {error}") from error
    if result.run_id != bundle.run_id:
        raise refused(path, f"its {RESULT} is of another run")
    found = {one.path: one for one in bundle.files}
    for artifact in result.artifacts:
        if not _is_sealed(found.get(artifact.path), artifact.sha256):
            raise refused(path, f"{artifact.path} is not the one that its {RESULT} was made of")


def _is_sealed(file: BundledFile | None, sha256: str) -> bool:
    return file is not None and file.sha256 == sha256


def refused(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} is no bundle that can be taken in: {' '.join(why.split())[:300]}", hint=_HINT)


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
