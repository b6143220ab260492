"""Whether the files of a run are still what they were when it ended."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import DamagedError
from app.records.result import Artifact
from app.storage.names import CHECKSUMS, EVENTS, FACTS, OUTPUTS, RESULT
from app.storage.streams import is_cut_off
from loadgen.decoding import decode_json

_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


class Damage(msgspec.Struct, frozen=True):
    """One file of a run that is not what it was when the run ended."""

    path: str
    problem: Literal["missing", "changed", "cut off"]

    @property
    def text(self) -> str:
        return f"{self.path} is missing" if self.problem == "missing" else f"{self.path} was {self.problem}"


class _Sealed(msgspec.Struct):
    """The part of a result that seals the files it was made of."""

    artifacts: tuple[Artifact, ...]


def damage_of(directory: Path) -> tuple[Damage, ...]:
    """Compare every data file of a run with the checksums in `result.json` and `checksums.txt`.

    A run that was cut short has neither, so nothing of it can be compared. Files are hashed once as long as neither
    their size nor their time changes: 2.5 million rows take about 0.3 s.
    """
    return tuple(_damages(directory))


def result_damage(directory: Path) -> Damage | None:
    """Compare `result.json` alone: cheap enough for every run of a list."""
    sums = _checksums(directory)
    if sums is None:
        return Damage(CHECKSUMS, "changed")
    return _compared(directory, RESULT, sums[RESULT]) if RESULT in sums else None


def damaged_error(directory: Path, found: tuple[Damage, ...]) -> DamagedError:
    what = "; ".join(one.text for one in found[:5]) + (f"; and {len(found) - 5} more" if found[5:] else "")
    hint = "Restore its files from a copy, or use what is whole: `sizewise report RUN --recover`."
    return DamagedError(f"{directory} is DAMAGED: {what}", hint=hint)


def _damages(directory: Path) -> Iterator[Damage]:
    sums = _checksums(directory)
    if sums is None:
        yield Damage(CHECKSUMS, "changed")
    expected = {name: {checksum} for name, checksum in (sums or {}).items() if _is_data(name)}
    for artifact in _artifacts(directory / RESULT):
        if _is_data(artifact.path):
            expected.setdefault(artifact.path, set()).add(artifact.sha256)
    for name in sorted(expected):
        for checksum in expected[name]:
            if (damage := _compared(directory, name, checksum)) is not None:
                yield damage
                break


def _is_data(name: str) -> bool:
    """Whether a name is of the run's own data; reports are made of it, and can be made again."""
    folder, _, rest = name.rpartition("/")
    return name in FACTS or (folder == OUTPUTS and rest == Path(rest).name)


def _checksums(directory: Path) -> dict[str, str] | None:
    """By name; empty where the run has none, None where the list itself is damaged."""
    try:
        text = (directory / CHECKSUMS).read_bytes().decode()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError):
        return None
    lines = text.split("\n")
    found = [_LINE.fullmatch(line) for line in lines[:-1]]
    sums = {line[2]: line[1] for line in found if line is not None}
    is_whole = not lines[-1] and len(sums) == len(found) and {EVENTS, RESULT} <= sums.keys()
    return sums if is_whole else None


def _artifacts(result: Path) -> tuple[Artifact, ...]:
    try:
        return decode_json(result.read_bytes(), _Sealed).artifacts
    except (OSError, msgspec.DecodeError):  # a result that cannot be read is told of by whoever reads it
        return ()


def _compared(directory: Path, name: str, checksum: str) -> Damage | None:
    path = directory / name
    try:
        found = path.stat()
        sha256 = _sha256(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError:
        return Damage(name, "missing")
    if sha256 == checksum:
        return None
    return Damage(name, "cut off" if name.endswith(".arrow") and is_cut_off(path) else "changed")


@lru_cache(maxsize=4096)
def _sha256(path: Path, *_version: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
