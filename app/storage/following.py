"""Follow the files of a running run: each line or batch is read once, as soon as it is complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.records.events import Event, RunFinished, RunStarted
from app.storage.control import CONTROL, is_engine_alive
from app.storage.run_directory import EVENTS
from app.storage.streams import has_complete_batch
from loadgen.decoding import json_decoder

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK_BYTES = 1 << 18
_MAX_LINE_BYTES = 1 << 24
"""Maximum length of a line in bytes.

Events are much shorter; a longer line is not an event and is not kept in memory.
"""


class EventFollower:
    """Reader that returns the events of `events.jsonl` one at a time, in order. The file need not
    exist yet."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._partial_line = path, 0, b""
        self._lines: deque[bytes] = deque()
        self._decode: Callable[[bytes], Event] = json_decoder(Event)
        self.damaged_count = 0
        """Number of lines that were skipped because they are not valid events of this version."""

    def read_next(self) -> Event | None:
        """Return the next event; `None` if there is no further complete line yet."""
        while True:
            if not self._lines and not self._read_chunk():
                return None
            while self._lines:
                line = self._lines.popleft()
                try:
                    return self._decode(line)
                except msgspec.DecodeError:
                    self.damaged_count += 1

    def _read_chunk(self) -> bool:
        """Read the next part of the file, and return whether any data was read."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read(_CHUNK_BYTES)
        except OSError:
            return False
        self._offset += len(content)
        *lines, self._partial_line = (self._partial_line + content).split(b"\n")
        if len(self._partial_line) > _MAX_LINE_BYTES:
            self._partial_line, self.damaged_count = b"", self.damaged_count + 1
        self._lines.extend(lines)
        return bool(content)


class RunFollower:
    """Reader of the events of a run, which also reports whether the engine is still writing
    events."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._events = EventFollower(directory / EVENTS)
        self._pid: int | None = None
        self.finished_event: RunFinished | None = None

    @property
    def damaged_count(self) -> int:
        return self._events.damaged_count

    def read_next(self) -> Event | None:
        """Return the next event; `None` if there is no further event yet."""
        event = self._events.read_next()
        match event:
            case RunStarted(pid=pid):
                self._pid = pid
            case RunFinished():
                self.finished_event = event
        return event

    def is_active(self) -> bool:
        """Return whether more events may be written. If the engine has ended, events that it wrote
        earlier may still be unread."""
        if self.finished_event is not None:
            return False
        if self._pid is None:
            return (self.directory / CONTROL).is_dir()
        return is_engine_alive(self.directory, self._pid)


class StreamFollower:
    """Reader of the batches of an Arrow stream that is still being written. The file need not exist
    yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset: int | None = None

    def read_batches(self, max_batches: int) -> list[pa.RecordBatch]:
        """Return the next complete batches, at most `max_batches`."""
        import pyarrow as pa

        batches: list[pa.RecordBatch] = []
        try:
            if self._offset is not None and self._path.stat().st_size <= self._offset:
                return batches
            with pa.OSFile(str(self._path)) as source, pa.ipc.open_stream(source) as stream:
                if self._offset is None:
                    self._offset = source.tell()
                source.seek(self._offset)  # the reader reads each batch from the file's current position
                while len(batches) < max_batches and has_complete_batch(source):
                    batch = stream.read_next_batch()
                    batch.validate(full=True)
                    batches.append(batch)
                    self._offset = source.tell()
        except (StopIteration, EOFError, ValueError, OSError, pa.ArrowException):
            return batches  # no schema yet, or a corrupted batch, after which nothing can be read
        return batches
