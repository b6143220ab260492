"""`journal.crc`: the CRC-32 of everything that a running engine has written, until `checksums.txt` takes its place."""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from app.storage.names import JOURNAL, OUTPUTS, STREAMS, WHOLE_FACTS
from app.storage.whole_file import WholeFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LINE = re.compile(rb"([0-9a-f]{8}) (\d{1,15}) ([!-~]+)\n")
_LONGEST_LINE = 4096
_PIECE_BYTES = 1 << 20


class Journal:
    """Appends to the files of one run, with a line for each append: the CRC-32 of the file up to its new end, that end,
    and the file's name.

    The line is written before the data, and no two threads append at once. So a killed engine leaves at most one append
    that is not whole, that of the last line; whatever else is missing or different is damage.
    """

    def __init__(self, directory: Path, kept: Mapping[str, int] | None = None) -> None:
        """With `kept`, of a run that is resumed: the bytes that remain of each stream. Its other files remain as they
        are. Raises OSError."""
        path = directory / JOURNAL
        self._lock = threading.Lock()
        self._ends: dict[str, tuple[int, int]] = {}
        lines = []
        for name, size in ({} if kept is None else _sizes(directory, kept)).items():
            crc = _crc_of(directory / name, size)
            self._ends[name] = (size, crc)
            lines.append(_line(crc, size, name))
        if kept is not None:
            path.unlink(missing_ok=True)
        self._file = WholeFile(path)
        self._file.write(b"".join(lines))

    def append(self, file: WholeFile, content: ReadableBuffer) -> int:
        """Write `content` at the end of a file, and return the number of bytes. Where there is no room for it, neither
        the file nor the journal has any of it."""
        name = file.path.name
        with self._lock:
            size, crc = self._ends.get(name, (0, 0))
            end = (size + memoryview(content).nbytes, zlib.crc32(content, crc))
            lines = self._file.tell()
            try:
                self._file.write(_line(end[1], end[0], name))
                written = file.write(content)
            except OSError:
                _shorten(file, size)
                _shorten(self._file, lines)
                raise
            self._ends[name] = end
            return written

    def replace(self, name: str, content: bytes) -> None:
        """Call before a file is written as a whole."""
        with self._lock:
            lines = self._file.tell()
            try:
                self._file.write(_line(zlib.crc32(content), len(content), name))
            except OSError:
                _shorten(self._file, lines)
                raise

    def sync(self) -> None:
        """Return once the lines are on the disk."""
        if not self._file.closed:
            self._file.sync()

    def close(self) -> None:
        self._file.close()


class Verified(msgspec.Struct, frozen=True):
    """What the journal of a run says of its files.

    `whole` are the bytes, from the beginning of each stream, that are as they were written; a stream in `cut` or
    `changed` has an append that is missing or different behind them. `changed` also has the names of other files.
    `is_journal_whole` is False where the journal itself lacks lines, or has one that no engine wrote.
    """

    whole: dict[str, int]
    cut: frozenset[str]
    changed: frozenset[str]
    listed: frozenset[str]
    """Names of the files that the journal has a checksum of."""
    is_journal_whole: bool


def verified(directory: Path) -> Verified | None:
    """Compare a run whose engine is gone with its journal; None where it has none."""
    streams = {name: _Stream(directory / name) for name in STREAMS}
    matches: dict[str, bool] = {}
    contents: dict[str, tuple[int, int] | None] = {}
    is_whole, last = True, ""
    try:
        with (directory / JOURNAL).open("rb") as journal:
            while line := journal.readline(_LONGEST_LINE):
                found = _LINE.fullmatch(line)
                if found is None:
                    # An unfinished last line was being written when the engine was killed; its data was not.
                    is_whole &= not line.endswith(b"\n") and len(line) < _LONGEST_LINE
                    continue
                crc, end, name = int(found[1], 16), int(found[2]), found[3].decode()
                last = name
                if name in STREAMS:
                    streams[name].compare(end, crc)
                elif _is_whole_file(name):
                    if name not in contents:  # a journal of anybody's may name it a million times
                        contents[name] = _content(directory / name)
                    matches[name] = matches.get(name, False) or contents[name] in (None, (end, crc))
                else:
                    is_whole = False
    except FileNotFoundError:
        return None
    except OSError:  # a folder, or somebody else's
        is_whole = False
    finally:
        for stream in streams.values():
            stream.close()
    return Verified(
        whole={name: stream.whole for name, stream in streams.items() if stream.size or stream.end},
        cut=frozenset(name for name, stream in streams.items() if stream.is_cut(is_last=name == last)),
        changed=frozenset(
            [name for name, stream in streams.items() if stream.is_changed]
            + [name for name, is_match in matches.items() if not is_match]
        ),
        listed=frozenset([name for name, stream in streams.items() if stream.end] + list(matches)),
        is_journal_whole=is_whole and all(stream.size <= stream.end for stream in streams.values()),
    )


class _Stream:
    """One stream of a run, compared with the lines of the journal in their order."""

    def __init__(self, path: Path) -> None:
        """A stream that is not there is an empty one."""
        self._file = path.open("rb") if path.is_file() else io.BytesIO()
        self.size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self._crc = 0
        self._before = 0
        self.end = 0
        """Of the last line."""
        self.whole = 0
        """Bytes that are as they were written."""
        self.is_changed = False

    def compare(self, end: int, crc: int) -> None:
        self._before, self.end = self.end, end
        if self.is_changed or self.whole < self._before or end > self.size:
            return
        for piece in _pieces(self._file, end - self.whole):
            self._crc = zlib.crc32(piece, self._crc)
        self.is_changed = self._crc != crc or end < self.whole
        if not self.is_changed:
            self.whole = end

    def is_cut(self, *, is_last: bool) -> bool:
        """Whether more is missing than a killed engine can leave unwritten."""
        return not self.is_changed and self.size < (self._before if is_last else self.end)

    def close(self) -> None:
        self._file.close()


def _content(path: Path) -> tuple[int, int] | None:
    """Size and CRC-32; None where the file is not there: the engine was killed before it had written it."""
    try:
        size = path.stat().st_size
        return size, _crc_of(path, size)
    except FileNotFoundError:
        return None


def _sizes(directory: Path, kept: Mapping[str, int]) -> dict[str, int]:
    names = [*WHOLE_FACTS, *(f"{OUTPUTS}/{path.name}" for path in (directory / OUTPUTS).glob("*.npz"))]
    whole = {name: (directory / name).stat().st_size for name in names if (directory / name).is_file()}
    return whole | dict(kept)


def _crc_of(path: Path, size: int) -> int:
    crc = 0
    with path.open("rb") as file:
        for piece in _pieces(file, size):
            crc = zlib.crc32(piece, crc)
    return crc


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := file.read(min(size, _PIECE_BYTES))):
        size -= len(piece)
        yield piece


def _is_whole_file(name: str) -> bool:
    folder, _, rest = name.rpartition("/")
    return name in WHOLE_FACTS or (folder == OUTPUTS and rest == Path(rest).name)


def _shorten(file: WholeFile, size: int) -> None:
    with contextlib.suppress(OSError):
        file.truncate(size)
        file.seek(size)


def _line(crc: int, size: int, name: str) -> bytes:
    return f"{crc:08x} {size} {name}\n".encode()
