"""Verify that the files of a run are unchanged since the end of the run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import DamagedFileError
from app.records.result import Artifact
from app.storage.journal import verify_journal
from app.storage.names import CHECKSUMS, DATA_FILES, EVENTS, JOURNAL, OUTPUTS, RESULT, STREAMS
from app.storage.streams import is_truncated
from loadgen.decoding import decode_json

_CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


class Damage(msgspec.Struct, frozen=True):
    """A damaged file of a run. Its content differs from the content at the end of the run."""

    path: str
    problem: Literal["missing", "changed", "truncated"]
    intact_bytes: int | None = None
    """Number of intact bytes from the start of the file; `None` if unknown."""

    @property
    def text(self) -> str:
        return (f"{self.path} is missing") if self.problem == "missing" else f"{self.path} was {self.problem}"


class _ResultArtifacts(msgspec.Struct):
    """Part of a result with the hashes of the files on which the result is based."""

    artifacts: tuple[Artifact, ...]


def find_damage(directory: Path) -> tuple[Damage, ...]:
    """Return the data files of a run whose content does not match the checksums in `result.json`
    and `checksums.txt` or, for an interrupted run, the journal.

    Files are hashed again only if their size or modification time changed: hashing 2.5 million rows
    takes about 0.3 s.
    """
    damage_by_path: dict[str, Damage] = {}
    for damage in _iter_damage(directory):
        damage_by_path.setdefault(damage.path, damage)
    return tuple(damage_by_path.values())


def find_unverified_files(directory: Path) -> tuple[str, ...]:
    """Return the names of non-empty data files of a run that have no checksum."""
    verified_names = {
        *(_read_checksums(directory) or {}),
        *(artifact.path for artifact in _read_artifacts(directory / RESULT)),
    }
    if (journal_check := verify_journal(directory)) is not None:
        verified_names |= journal_check.file_names
    sizes = {name: (directory / name).stat().st_size for name in DATA_FILES if (directory / name).is_file()}
    return tuple(name for name, size in sizes.items() if size and name not in verified_names)


def find_result_damage(directory: Path) -> Damage | None:
    """Verify only `result.json`, which is fast enough for every run in a list. Return `None` if no
    damage was found."""
    checksums = _read_checksums(directory)
    if checksums is None:
        return Damage(CHECKSUMS, "changed")
    if not checksums:
        return next((damage for damage in _iter_journal_damage(directory) if damage.path == RESULT), None)
    return _compare_checksum(directory, RESULT, checksums[RESULT]) if RESULT in checksums else None


def find_row_damage(directory: Path) -> Damage | None:
    """Return the first file of rows of a finished run that is missing or was truncated, without
    hashing it, which is fast enough for every run in a list. `None` if there is none."""
    for name in _read_checksums(directory) or {}:
        path = directory / name
        if name in STREAMS and name.endswith(".arrow"):
            if not path.is_file():
                return Damage(name, "missing")
            if is_truncated(path):
                return Damage(name, "truncated")
    return None


def build_damaged_error(directory: Path, damages: tuple[Damage, ...]) -> DamagedFileError:
    damage_text = "; ".join(damage.text for damage in damages[:5]) + (
        f"; and {len(damages) - 5} more" if damages[5:] else ""
    )
    hint = "Restore its files from a copy, or report the intact data with `sizewise report RUN --recover`."
    return DamagedFileError(f"{directory} is DAMAGED: {damage_text}", hint=hint)


def _iter_damage(directory: Path) -> Iterator[Damage]:
    checksums = _read_checksums(directory)
    if checksums is None:
        yield Damage(CHECKSUMS, "changed")
    if not checksums:
        yield from _iter_journal_damage(directory)
    expected_checksums = {name: {checksum} for name, checksum in (checksums or {}).items() if _is_data(name)}
    for artifact in _read_artifacts(directory / RESULT):
        if _is_data(artifact.path):
            expected_checksums.setdefault(artifact.path, set()).add(artifact.sha256)
    for name in sorted(expected_checksums):
        for checksum in expected_checksums[name]:
            if (damage := _compare_checksum(directory, name, checksum)) is not None:
                yield damage
                break


def _iter_journal_damage(directory: Path) -> Iterator[Damage]:
    journal_check = verify_journal(directory)
    if journal_check is None:
        return
    if not journal_check.is_journal_intact:
        yield Damage(JOURNAL, "changed")
    for name in sorted(journal_check.truncated | journal_check.changed):
        problem = _classify_problem(directory / name, is_cut=name in journal_check.truncated)
        yield Damage(name, problem, journal_check.intact_bytes.get(name))


def _classify_problem(path: Path, *, is_cut: bool) -> Literal["missing", "changed", "truncated"]:
    if not path.exists():
        return "missing"
    return "truncated" if is_cut else "changed"


def _is_data(name: str) -> bool:
    """Return whether a file is part of the run data. Reports are not part of the run data, because
    they can be rendered again."""
    folder, _, file_name = name.rpartition("/")
    return name in DATA_FILES or (folder == OUTPUTS and file_name == Path(file_name).name)


def _read_checksums(directory: Path) -> dict[str, str] | None:
    """Return the checksums by file name; empty if the run has no checksums, `None` if
    `checksums.txt` is corrupted."""
    try:
        text = (directory / CHECKSUMS).read_bytes().decode()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError):
        return None
    lines = text.split("\n")
    matches = [_CHECKSUM_LINE.fullmatch(line) for line in lines[:-1]]
    checksums = {line[2]: line[1] for line in matches if line is not None}
    is_complete = not lines[-1] and len(checksums) == len(matches) and {EVENTS, RESULT} <= checksums.keys()
    return checksums if is_complete else None


def _read_artifacts(result_path: Path) -> tuple[Artifact, ...]:
    try:
        return decode_json(result_path.read_bytes(), _ResultArtifacts).artifacts
    except (OSError, msgspec.DecodeError):  # callers that read the result report that it cannot be read
        return ()


def _compare_checksum(directory: Path, name: str, checksum: str) -> Damage | None:
    path = directory / name
    try:
        file_status = path.stat()
        sha256 = _compute_sha256(
            path, file_status.st_dev, file_status.st_ino, file_status.st_size, file_status.st_mtime_ns
        )
    except OSError:
        return Damage(name, "missing")
    if sha256 == checksum:
        return None
    return Damage(name, _classify_problem(path, is_cut=name.endswith(".arrow") and is_truncated(path)))


@lru_cache(maxsize=4096)
def _compute_sha256(path: Path, *_version: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
