"""What makes a zip a bundle: its limits, its names, and a result that seals what it holds."""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.records.bundle import Bundle, BundledFile
from app.storage.control import CONTROL
from app.storage.names import EVENTS, RESULT
from app.storage.results import decode_result, other_schema
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
