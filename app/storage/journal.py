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

_JOURNAL_LINE = re.compile(rb"([0-9a-f]{8}) (\d{1,15}) ([!-~]+)\n")
_MAX_LINE_BYTES = 4096
_CHUNK_BYTES = 1 << 20


class Journal:
    """Append-only journal of the writes to the files of one run. Each line holds the CRC-32 of a
    file up to its new end, the new end in bytes, and the name of the file.

    A line is written before the data, and only one thread can append at a time. A killed engine
    therefore leaves at most one incomplete append, which belongs to the last line; any other
    missing or different data is corruption.
    """

    def __init__(self, directory: Path, intact_bytes: Mapping[str, int] | None = None) -> None:
        """Create the journal. Raises OSError if the file cannot be created.

        When a run is resumed, `intact_bytes` maps each stream to the number of bytes that are intact;
        the other files of the run are unchanged.
        """
        path = directory / JOURNAL
        self._lock = threading.Lock()
        self._ends: dict[str, tuple[int, int]] = {}
        lines = []
        for name, size_bytes in ({} if intact_bytes is None else _get_intact_sizes(directory, intact_bytes)).items():
            crc = _compute_crc(directory / name, size_bytes)
            self._ends[name] = (size_bytes, crc)
            lines.append(_format_line(crc, size_bytes, name))
        if intact_bytes is not None:
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
            size_bytes, crc = self._ends.get(name, (0, 0))
            new_size_and_crc = (size_bytes + memoryview(content).nbytes, zlib.crc32(content, crc))
            journal_size = self._file.tell()
            try:
                self._file.write(_format_line(new_size_and_crc[1], new_size_and_crc[0], name))
                written_bytes = file.write(content)
            except OSError:
                _truncate(file, size_bytes)
                _truncate(self._file, journal_size)
                raise
            self._ends[name] = new_size_and_crc
            return written_bytes

    def replace(self, name: str, content: bytes) -> None:
        """Log the new content of a file that is written as a whole. Call this before writing the
        file."""
        with self._lock:
            journal_size = self._file.tell()
            try:
                self._file.write(_format_line(zlib.crc32(content), len(content), name))
            except OSError:
                _truncate(self._file, journal_size)
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
    file_names: frozenset[str]
    """Names of the files whose checksum is in the journal."""
    is_journal_intact: bool


def verify_journal(directory: Path) -> JournalCheck | None:
    """Verify the files of a run against its journal. The engine of the run must have ended. Return
    `None` if the run has no journal."""
    streams = {name: _Stream(directory / name) for name in STREAMS}
    match_states: dict[str, bool] = {}
    sizes_and_crcs: dict[str, tuple[int, int] | None] = {}
    is_intact, last_name = True, ""
    try:
        with (directory / JOURNAL).open("rb") as journal:
            while line := journal.readline(_MAX_LINE_BYTES):
                match = _JOURNAL_LINE.fullmatch(line)
                if match is None:
                    # An incomplete last line means that the engine was killed before it wrote the
                    # data of that line.
                    is_intact &= not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES
                    continue
                crc, end, name = int(match[1], 16), int(match[2]), match[3].decode()
                last_name = name
                if name in STREAMS:
                    streams[name].compare(end, crc)
                elif _is_single_write_file(name):
                    # Hashed once, because an untrusted journal may list a file a million times.
                    if name not in sizes_and_crcs:
                        sizes_and_crcs[name] = _read_size_and_crc(directory / name)
                    match_states[name] = match_states.get(name, False) or sizes_and_crcs[name] in (None, (end, crc))
                else:
                    is_intact = False
    except FileNotFoundError:
        return None
    except OSError:  # the journal is a folder or belongs to another user
        is_intact = False
    finally:
        for stream in streams.values():
            stream.close()
    return JournalCheck(
        intact_bytes={name: stream.intact_size for name, stream in streams.items() if stream.size or stream.end},
        truncated=frozenset(name for name, stream in streams.items() if stream.is_truncated(is_last=name == last_name)),
        changed=frozenset(
            [name for name, stream in streams.items() if stream.is_changed]
            + [name for name, is_match in match_states.items() if not is_match]
        ),
        file_names=frozenset([name for name, stream in streams.items() if stream.end] + list(match_states)),
        is_journal_intact=is_intact
        and all(stream.size <= stream.end and stream.is_ordered for stream in streams.values()),
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
        """End of the stream in bytes, according to the last journal line."""
        self.intact_size = 0
        """Number of intact bytes from the start of the stream."""
        self.is_changed = False
        self.is_ordered = True
        """Whether each journal line ends at or after the line before it, as appends do."""

    def compare(self, end: int, crc: int) -> None:
        self.is_ordered &= end >= self.end
        self._previous_end, self.end = self.end, end
        if self.is_changed or self.intact_size < self._previous_end or end > self.size:
            return
        for chunk in _read_chunks(self._file, end - self.intact_size):
            self._crc = zlib.crc32(chunk, self._crc)
        self.is_changed = self._crc != crc or end < self.intact_size
        if not self.is_changed:
            self.intact_size = end

    def is_truncated(self, *, is_last: bool) -> bool:
        """Return whether data is missing from the stream beyond the one append that a killed engine
        can leave incomplete. `is_last` is true for the stream of the last journal line."""
        return not self.is_changed and self.size < (self._previous_end if is_last else self.end)

    def close(self) -> None:
        self._file.close()


def _read_size_and_crc(path: Path) -> tuple[int, int] | None:
    """Return the size and CRC-32 of a file; `None` if the file is missing because the engine was
    killed before writing the file."""
    try:
        size = path.stat().st_size
        return size, _compute_crc(path, size)
    except FileNotFoundError:
        return None


def _get_intact_sizes(directory: Path, intact_bytes: Mapping[str, int]) -> dict[str, int]:
    names = [*SINGLE_WRITE_FILES, *(f"{OUTPUTS}/{path.name}" for path in (directory / OUTPUTS).glob("*.npz"))]
    sizes = {name: (directory / name).stat().st_size for name in names if (directory / name).is_file()}
    return sizes | dict(intact_bytes)


def _compute_crc(path: Path, size_bytes: int) -> int:
    crc = 0
    with path.open("rb") as file:
        for chunk in _read_chunks(file, size_bytes):
            crc = zlib.crc32(chunk, crc)
    return crc


def _read_chunks(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    while size_bytes > 0 and (chunk := file.read(min(size_bytes, _CHUNK_BYTES))):
        size_bytes -= len(chunk)
        yield chunk


def _is_single_write_file(name: str) -> bool:
    folder, _, file_name = name.rpartition("/")
    return name in SINGLE_WRITE_FILES or (folder == OUTPUTS and file_name == Path(file_name).name)


def _truncate(file: UnbufferedFile, size_bytes: int) -> None:
    with contextlib.suppress(OSError):
        file.truncate(size_bytes)
        file.seek(size_bytes)


def _format_line(crc: int, size_bytes: int, name: str) -> bytes:
    return f"{crc:08x} {size_bytes} {name}\n".encode()
