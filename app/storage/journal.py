"""Journal of a running engine (`journal.crc`): the CRC-32 of all written data, until
`checksums.txt` replaces the journal."""

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

from app.storage.names import JOURNAL, OUTPUTS, SINGLE_WRITE_FILES, STREAMS
from app.storage.unbuffered_file import UnbufferedFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LINE = re.compile(rb"([0-9a-f]{8}) (\d{1,15}) ([!-~]+)\n")
_MAX_LINE_BYTES = 4096
_PIECE_BYTES = 1 << 20


class Journal:
    """Append-only journal of the writes to the files of one run. Each line holds the CRC-32 of a
    file up to its new end, the new end in bytes, and the name of the file.

    A line is written before the data, and only one thread can append at a time. A killed engine
    therefore leaves at most one incomplete append, which belongs to the last line; any other
    missing or different data is corruption.
    """

    def __init__(self, directory: Path, kept_bytes: Mapping[str, int] | None = None) -> None:
        """Create the journal. Raises OSError if the file cannot be created.

        When a run is resumed, `kept_bytes` maps each stream to the number of bytes that are kept;
        the other files of the run are unchanged.
        """
        path = directory / JOURNAL
        self._lock = threading.Lock()
        self._ends: dict[str, tuple[int, int]] = {}
        lines = []
        for name, size in ({} if kept_bytes is None else _kept_sizes(directory, kept_bytes)).items():
            crc = _compute_crc(directory / name, size)
            self._ends[name] = (size, crc)
            lines.append(_line(crc, size, name))
        if kept_bytes is not None:
            path.unlink(missing_ok=True)
        self._file = UnbufferedFile(path)
        self._file.write(b"".join(lines))

    def append(self, file: UnbufferedFile, content: ReadableBuffer) -> int:
        """Append `content` to a file and return the number of bytes written.

        If the disk is full, OSError is raised and neither the file nor the journal contains any
        part of `content`.
        """
        name = file.path.name
        with self._lock:
            size, crc = self._ends.get(name, (0, 0))
            end = (size + memoryview(content).nbytes, zlib.crc32(content, crc))
            lines = self._file.tell()
            try:
                self._file.write(_line(end[1], end[0], name))
                written = file.write(content)
            except OSError:
                _truncate(file, size)
                _truncate(self._file, lines)
                raise
            self._ends[name] = end
            return written

    def replace(self, name: str, content: bytes) -> None:
        """Log the new content of a file that is written as a whole. Call this before writing the
        file."""
        with self._lock:
            lines = self._file.tell()
            try:
                self._file.write(_line(zlib.crc32(content), len(content), name))
            except OSError:
                _truncate(self._file, lines)
                raise

    def sync(self) -> None:
        """Flush the journal to disk."""
        if not self._file.closed:
            self._file.sync()

    def close(self) -> None:
        self._file.close()


class JournalCheck(msgspec.Struct, frozen=True):
    """State of a run's files according to the journal.

    `intact_bytes` maps each stream to the number of intact bytes from its start. `truncated` and
    `changed` contain the streams in which the data after the intact bytes is missing or different;
    `changed` also contains other changed files. `is_journal_intact` is false if lines of the
    journal are missing or invalid.
    """

    intact_bytes: dict[str, int]
    truncated: frozenset[str]
    changed: frozenset[str]
    listed: frozenset[str]
    """Names of the files whose checksum is in the journal."""
    is_journal_intact: bool


def verify_journal(directory: Path) -> JournalCheck | None:
    """Compare the files of a run whose engine has ended with the journal. Return `None` if the run
    has no journal."""
    streams = {name: _Stream(directory / name) for name in STREAMS}
    matches: dict[str, bool] = {}
    contents: dict[str, tuple[int, int] | None] = {}
    is_whole, last = True, ""
    try:
        with (directory / JOURNAL).open("rb") as journal:
            while line := journal.readline(_MAX_LINE_BYTES):
                match = _LINE.fullmatch(line)
                if match is None:
                    # An incomplete last line means that the engine was killed before it wrote the
                    # data of that line.
                    is_whole &= not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES
                    continue
                crc, end, name = int(match[1], 16), int(match[2]), match[3].decode()
                last = name
                if name in STREAMS:
                    streams[name].compare(end, crc)
                elif _is_whole_file(name):
                    if (
                        name not in contents
                    ):  # hashed only once, because an untrusted journal may list a file a million times
                        contents[name] = _content(directory / name)
                    matches[name] = matches.get(name, False) or contents[name] in (None, (end, crc))
                else:
                    is_whole = False
    except FileNotFoundError:
        return None
    except OSError:  # the journal is a folder or belongs to another user
        is_whole = False
    finally:
        for stream in streams.values():
            stream.close()
    return JournalCheck(
        intact_bytes={name: stream.whole for name, stream in streams.items() if stream.size or stream.end},
        truncated=frozenset(name for name, stream in streams.items() if stream.is_cut(is_last=name == last)),
        changed=frozenset(
            [name for name, stream in streams.items() if stream.is_changed]
            + [name for name, is_match in matches.items() if not is_match]
        ),
        listed=frozenset([name for name, stream in streams.items() if stream.end] + list(matches)),
        is_journal_intact=is_whole and all(stream.size <= stream.end for stream in streams.values()),
    )


class _Stream:
    """One stream of a run, verified line by line against the journal."""

    def __init__(self, path: Path) -> None:
        """Open the stream. A missing file is treated as an empty stream."""
        self._file = path.open("rb") if path.is_file() else io.BytesIO()
        self.size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self._crc = 0
        self._previous_end = 0
        self.end = 0
        """End of the stream according to the last journal line, in bytes."""
        self.whole = 0
        """Number of intact bytes from the start of the stream."""
        self.is_changed = False

    def compare(self, end: int, crc: int) -> None:
        self._previous_end, self.end = self.end, end
        if self.is_changed or self.whole < self._previous_end or end > self.size:
            return
        for piece in _pieces(self._file, end - self.whole):
            self._crc = zlib.crc32(piece, self._crc)
        self.is_changed = self._crc != crc or end < self.whole
        if not self.is_changed:
            self.whole = end

    def is_cut(self, *, is_last: bool) -> bool:
        """Return whether more data is missing than a killed engine can have left unwritten.
        `is_last` is true for the stream of the last journal line."""
        return not self.is_changed and self.size < (self._previous_end if is_last else self.end)

    def close(self) -> None:
        self._file.close()


def _content(path: Path) -> tuple[int, int] | None:
    """Return the size and CRC-32 of a file; `None` if the file is missing because the engine was
    killed before writing the file."""
    try:
        size = path.stat().st_size
        return size, _compute_crc(path, size)
    except FileNotFoundError:
        return None


def _kept_sizes(directory: Path, kept_bytes: Mapping[str, int]) -> dict[str, int]:
    names = [*SINGLE_WRITE_FILES, *(f"{OUTPUTS}/{path.name}" for path in (directory / OUTPUTS).glob("*.npz"))]
    whole = {name: (directory / name).stat().st_size for name in names if (directory / name).is_file()}
    return whole | dict(kept_bytes)


def _compute_crc(path: Path, size: int) -> int:
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
    return name in SINGLE_WRITE_FILES or (folder == OUTPUTS and rest == Path(rest).name)


def _truncate(file: UnbufferedFile, size: int) -> None:
    with contextlib.suppress(OSError):
        file.truncate(size)
        file.seek(size)


def _line(crc: int, size: int, name: str) -> bytes:
    return f"{crc:08x} {size} {name}\n".encode()
