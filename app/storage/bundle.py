"""Export and import runs as bundles: reproducible zip files that contain every file of a run with
its hash.

The size of a bundle and the names of its files are limited, and the result seals the other files by
their hashes. A bundle may come from an untrusted source, so an import reads it within limits,
verifies it, and stores either the complete run or nothing.
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
from app.storage.names import EVENTS, IMPORTED, PRIVATE_MODE, RESERVED_RUN_IDS, RESULT
from app.storage.results import decode_result, describe_other_schema
from app.storage.run_directory import StoredRun, remove_dead_links, runs_home
from loadgen.decoding import decode_json
from loadgen.regular_files import check_regular
from reports.shortening import shorten

BUNDLE = "bundle.json"
MAX_FILES = 2_000
MAX_BYTES = 16 << 30
MAX_COMPRESSION_RATIO = 250
"""Maximum ratio of unpacked size to zip size. Rows of a run compress to about 1/5 of their size,
zeros to 1/1000."""
_MAX_DIRECTORY_BYTES = 1 << 20
"""Maximum size in bytes of the zip's central directory and of `bundle.json`."""
_MAX_RESULT_BYTES = 64 << 20
_EXPORT_HINT = "Create a bundle with `sizewise runs export RUN`."
_COMPRESSION_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FILE_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9 ._=+@,()-]{0,98}[A-Za-z0-9_)])?")


def is_valid_file_path(path: str) -> bool:
    """Return whether a bundle may contain a file at `path`: all names must be portable, and the
    file must be in the run directory or in one of its folders."""
    parts = path.split("/")
    return len(parts) <= 2 and parts[0] != CONTROL and all(_FILE_NAME.fullmatch(part) for part in parts)


def is_valid_run_id(name: str) -> bool:
    return "/" not in name and is_valid_file_path(name) and not is_reserved_run_id(name)


def is_reserved_run_id(name: str) -> bool:
    """Return whether commands use `name` for a run other than the one with this ID, in upper or
    lower case, since some file systems do not distinguish them."""
    return name.casefold() in RESERVED_RUN_IDS


class _BoundedFile(io.FileIO):
    """File that rejects reads above a maximum size. Without this limit, a malicious zip could
    exhaust the memory, because its central directory is read at once, with the length that the zip
    declares."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its central directory is too large for a run")
        return super().read(size)


@contextmanager
def open_bundle(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a bundle. Errors of a corrupted zip or of the disk are raised as UsageError with a
    one-sentence message."""
    try:
        check_regular(path, MAX_BYTES)
        with _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError) as error:
        raise build_bundle_error(path, f"it is not a complete zip file: {error}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be imported: {error.strerror or error}") from error


def read_manifest(archive: zipfile.ZipFile, path: Path) -> Bundle:
    """Return the manifest of a bundle. Raises UsageError if the bundle exceeds a limit, or if the
    manifest does not match the zip's central directory."""
    infos = archive.infolist()
    _check_limits(infos, path)
    for info in infos:
        _check_entry(info, path)
    bundle = _decode_manifest(archive, path)
    manifest_sizes = {f"{bundle.run_id}/{file.path}": file.size for file in bundle.files}
    if len(manifest_sizes) != len(bundle.files):
        raise build_bundle_error(path, "it lists a file twice")
    archive_sizes = {info.filename: info.file_size for info in infos if info.filename != BUNDLE}
    mismatches = sorted(
        name
        for name in archive_sizes.keys() | manifest_sizes.keys()
        if archive_sizes.get(name) != manifest_sizes.get(name)
    )
    if mismatches:
        raise build_bundle_error(path, f"its list of files does not match its contents: {mismatches[0]!r}")
    return bundle


def _check_limits(infos: list[zipfile.ZipInfo], path: Path) -> None:
    if len(infos) > MAX_FILES + 1:
        raise build_bundle_error(path, f"it has {len(infos):,} files, but a run has at most {MAX_FILES:,}")
    if len({info.filename.casefold() for info in infos}) != len(infos):
        raise build_bundle_error(path, "it has two files of the same name")
    total_bytes = sum(info.file_size for info in infos)
    if total_bytes > MAX_BYTES:
        raise build_bundle_error(
            path, f"it would unpack to {total_bytes / 2**30:,.0f} GiB, but a run has at most {MAX_BYTES >> 30} GiB"
        )
    if total_bytes > MAX_COMPRESSION_RATIO * path.stat().st_size:
        raise build_bundle_error(path, f"it would unpack to more than {MAX_COMPRESSION_RATIO} times its size")


def _check_entry(info: zipfile.ZipInfo, path: Path) -> None:
    file_type = stat.S_IFMT(info.external_attr >> 16)
    if file_type not in (0, stat.S_IFREG) or info.filename.endswith("/"):
        raise build_bundle_error(path, f"{info.filename!r} is not a regular file")
    if info.flag_bits & 0x1 or info.compress_type not in _COMPRESSION_METHODS:
        raise build_bundle_error(path, f"{info.filename!r} is encrypted or uses an unsupported compression")


def _decode_manifest(archive: zipfile.ZipFile, path: Path) -> Bundle:
    if BUNDLE not in archive.namelist():
        raise build_bundle_error(path, f"it has no {BUNDLE}")
    if archive.getinfo(BUNDLE).file_size > _MAX_DIRECTORY_BYTES:
        raise build_bundle_error(path, f"its {BUNDLE} is too large for a run")
    try:
        bundle = decode_json(archive.read(BUNDLE), Bundle)
    except msgspec.DecodeError as error:
        raise build_bundle_error(path, f"its {BUNDLE} is damaged or from a newer version: {error}") from error
    if not is_valid_run_id(bundle.run_id):
        raise build_bundle_error(path, f"{bundle.run_id!r} is not a valid run ID")
    for file in bundle.files:
        if not is_valid_file_path(file.path):
            raise build_bundle_error(path, f"{file.path!r} is not a valid name for a file of a run")
    missing_names = {RESULT, EVENTS}.difference(file.path for file in bundle.files)
    if missing_names:
        raise build_bundle_error(path, f"it has no {min(missing_names)}")
    return bundle


def verify_result(archive: zipfile.ZipFile, path: Path, bundle: Bundle) -> None:
    """Check that the result can be read, belongs to the bundled run, and contains the hashes of the
    other files. Raises UsageError if a check fails."""
    name = f"{bundle.run_id}/{RESULT}"
    if archive.getinfo(name).file_size > _MAX_RESULT_BYTES:
        raise build_bundle_error(path, f"its {RESULT} is too large for a run")
    content = archive.read(name)
    try:
        result = decode_result(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if (reason := describe_other_schema(content)) is not None:
            hint = "Import it with the version of Sizewise that measured it."
            raise UsageError(f"{path} cannot be imported: {reason}", hint=hint) from None
        raise build_bundle_error(path, f"its {RESULT} cannot be read: {error}") from error
    if result.run_id != bundle.run_id:
        raise build_bundle_error(path, f"its {RESULT} belongs to another run")
    files = {file.path: file for file in bundle.files}
    for artifact in result.artifacts:
        if not _has_checksum(files.get(artifact.path), artifact.sha256):
            raise build_bundle_error(path, f"{artifact.path} does not match its {RESULT}")


def _has_checksum(file: BundledFile | None, sha256: str) -> bool:
    return file is not None and file.sha256 == sha256


def build_bundle_error(path: Path, reason: str) -> UsageError:
    return UsageError(f"{path} is not a valid bundle: {shorten(reason, 300)}", hint=_EXPORT_HINT)


CHUNK_BYTES = 1 << 20
_ENTRY_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX_SYSTEM, _FILE_MODE = 3, 0o100644


def export_run(run: StoredRun, path: Path) -> Bundle:
    """Write the bundle of a finished run to `path`, completely or not at all.

    Raises UsageError if the run has no result, or contains a file that is not allowed in bundles.
    """
    run_id, names = run.complete_result.run_id, _list_files(run.directory)
    if not is_valid_run_id(run_id):
        raise UsageError(f"{run.directory} cannot be exported: {run_id!r} is not a valid run ID for a bundle")
    temporary_path = path.with_name(f".{path.name}.part")
    try:
        with temporary_path.open("wb") as out:
            bundle = _write_archive(out, run.directory, run_id, names)
            out.flush()
            os.fsync(out.fileno())
        _check_bundle(temporary_path, run.directory)
        temporary_path.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="Choose another path with -o.") from error
    finally:
        temporary_path.unlink(missing_ok=True)
    return bundle


def _check_bundle(temporary_path: Path, directory: Path) -> None:
    """Apply the checks of an import to a new bundle, so that no bundle is exported that an import
    would reject."""
    try:
        with open_bundle(temporary_path) as archive:
            verify_result(archive, temporary_path, read_manifest(archive, temporary_path))
    except UsageError as error:
        hint = "Run the benchmark again. If the error names an extra file, move it out of the run directory."
        raise UsageError(f"{directory} cannot be exported: {error}", hint=hint) from error


def _list_files(directory: Path) -> list[str]:
    """Return the sorted names of the files to export: all files of the run except hidden files,
    files that are not completely written, and control files of a running engine."""
    names = []
    for path in directory.rglob("*"):
        name = PurePosixPath(path.relative_to(directory)).as_posix()
        parts = name.split("/")
        if any(part.startswith(".") for part in parts) or name.endswith(".part") or parts[0] == CONTROL:
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UsageError(
                f"{path} is not a regular file, so it cannot be exported", hint="Move it out of the run directory."
            )
        if path.is_file():
            if not is_valid_file_path(name):
                raise UsageError(
                    f"{path} cannot be exported: its name is too long, has special characters or is in a nested folder",
                    hint="Rename it, or move it out of the run directory.",
                )
            names.append(name)
    if len(names) > MAX_FILES:
        raise UsageError(
            f"{directory} has {len(names):,} files, but a bundle has at most {MAX_FILES:,}",
            hint="Move files that are not part of the run out of the directory.",
        )
    return sorted(names)


def _write_archive(file: IO[bytes], directory: Path, run_id: str, names: list[str]) -> Bundle:
    with zipfile.ZipFile(file, "w") as archive:
        files = tuple([_add_file(archive, f"{run_id}/{name}", name, directory / name) for name in names])
        bundle = Bundle(1, run_id, files)
        archive.writestr(_build_zip_info(BUNDLE), msgspec.json.format(msgspec.json.encode(bundle), indent=2))
    return bundle


def _add_file(archive: zipfile.ZipFile, entry_name: str, name: str, path: Path) -> BundledFile:
    """Add a file to the zip and return its manifest entry. The bytes are hashed as they are
    written, so that the hash matches the content of the zip."""
    info, digest = _build_zip_info(entry_name), hashlib.sha256()
    info.file_size = path.stat().st_size  # large files need the Zip64 format, so the size must be known
    size = 0
    with path.open("rb") as source, archive.open(info, "w") as target:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
    return BundledFile(name, size, digest.hexdigest())


def _build_zip_info(entry_name: str) -> zipfile.ZipInfo:
    """Build a zip entry without time, owner or operating system, so that bundles are
    reproducible."""
    info = zipfile.ZipInfo(entry_name, _ENTRY_TIME)
    info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, _UNIX_SYSTEM, _FILE_MODE << 16
    return info


ACTIVE_EXTENSIONS = (".html", ".htm", ".xhtml", ".mht", ".mhtml", ".svg")
"""Extensions of files whose scripts a browser would execute. Such files in a bundle are verified
but not stored, because reports can be rendered again."""


def import_run(path: Path, *, is_own: bool = False) -> tuple[Path, bool]:
    """Import a bundle. Return the directory of the run in the runs' home, and whether the run was
    new. The run is marked as imported, unless `is_own` says that it was measured with this
    installation.

    Raises UsageError, and imports nothing, if the bundle is corrupted, malicious or from a newer
    version, or if another run has the same ID.
    """
    remove_dead_links()
    home = runs_home()
    with open_bundle(path) as archive:
        bundle = read_manifest(archive, path)
        home.mkdir(parents=True, exist_ok=True)
        directory = home / bundle.run_id
        if os.path.lexists(directory):
            return _check_existing_run(path, bundle, directory), False
        total_bytes = sum(file.size for file in bundle.files)
        if total_bytes > shutil.disk_usage(home).free:
            raise UsageError(
                f"{path} needs {total_bytes / 2**20:,.0f} MiB unpacked, but {home} has less free space",
                hint="Free disk space, or set SIZEWISE_HOME to a folder on another disk.",
            )
        staging_directory = Path(tempfile.mkdtemp(prefix=".import-", dir=home))
        try:
            unpacked_directory = staging_directory / bundle.run_id
            unpacked_directory.mkdir(PRIVATE_MODE)
            _unpack(archive, path, bundle, unpacked_directory)
            verify_result(archive, path, bundle)
            if not is_own:
                (unpacked_directory / IMPORTED).touch()
            unpacked_directory.rename(directory)
        finally:
            shutil.rmtree(staging_directory, ignore_errors=True)
    return directory, True


def import_directory(path: Path, *, is_own: bool = False) -> tuple[Path, bool]:
    """Import a run directory through a temporary bundle, so that all checks of `import_run` apply.
    Return the directory of the run in the runs' home, and whether the run was new.

    Raises UsageError like `import_run`, and also if the run is not finished.
    """
    run = StoredRun(path)
    if path.resolve().parent == runs_home().resolve():
        return path, False
    with tempfile.TemporaryDirectory(prefix="sizewise-") as folder:
        bundle_path = Path(folder) / "run.zip"
        export_run(run, bundle_path)
        try:
            return import_run(bundle_path, is_own=is_own)
        except UsageError as error:  # replace the path of the temporary bundle in the message
            raise UsageError(str(error).replace(str(bundle_path), str(path)), hint=error.hint) from None


def _check_existing_run(path: Path, bundle: Bundle, directory: Path) -> Path:
    """Return `directory` if it contains the bundled run, which is identified by the hash of its
    result; otherwise raise UsageError."""
    (sha256,) = (file.sha256 for file in bundle.files if file.path == RESULT)
    result_path = directory / RESULT
    if result_path.is_file() and hashlib.sha256(result_path.read_bytes()).hexdigest() == sha256:
        return directory
    hint = "Rename that directory, or remove it with `sizewise runs delete`, and import again."
    raise UsageError(f"another run already has the ID of the run in {path}: {directory}", hint=hint)


def _unpack(archive: zipfile.ZipFile, path: Path, bundle: Bundle, directory: Path) -> None:
    for file in bundle.files:
        target = directory / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        destination = target if target.suffix.casefold() not in ACTIVE_EXTENSIONS else Path(os.devnull)
        with (
            archive.open(f"{bundle.run_id}/{file.path}") as source,
            destination.open("xb" if destination is target else "wb") as out,
        ):
            while chunk := source.read(CHUNK_BYTES):  # reads at most the size that the zip declares
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            if destination is target:
                os.fsync(out.fileno())
        if digest.hexdigest() != file.sha256:
            raise build_bundle_error(path, f"{file.path} does not match its checksum")
