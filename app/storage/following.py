"""Reading what a run writes while it goes on: each whole line or batch once, what is cut short the next time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.records.events import Event, RunFinished, RunStarted
from app.storage.control import CONTROL, is_engine_there
from app.storage.run_directory import EVENTS
from app.storage.streams import whole_batch_ahead
from loadgen.decoding import json_decoder

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 1 << 18
_LONGEST_LINE = 1 << 24
"""No event comes near it: what is longer is no line of ours, and is not kept in memory."""


class EventFollower:
    """The events of `events.jsonl`, one at a time, in their order. The file may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._rest = path, 0, b""
        self._lines: deque[bytes] = deque()
        self._decode: Callable[[bytes], Event] = json_decoder(Event)
        self.damaged = 0
        """Lines that are no event of this version, and were left out."""

    def take(self) -> Event | None:
        """The next one; None where there is no further whole line yet."""
        while True:
            if not self._lines and not self._read():
                return None
            while self._lines:
                line = self._lines.popleft()
                try:
                    return self._decode(line)
                except msgspec.DecodeError:
                    self.damaged += 1

    def _read(self) -> bool:
        """Whether anything came."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                content = file.read(_CHUNK)
        except OSError:
            return False
        self._at += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self._rest, self.damaged = b"", self.damaged + 1
        self._lines.extend(lines)
        return bool(content)


class RunFollower:
    """The events of a run, and whether its engine still writes them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._events = EventFollower(directory / EVENTS)
        self._pid: int | None = None
        self.finished: RunFinished | None = None

    @property
    def damaged(self) -> int:
        return self._events.damaged

    def take(self) -> Event | None:
        """The next one; None where there is no further one yet."""
        event = self._events.take()
        match event:
            case RunStarted(pid=pid):
                self._pid = pid
            case RunFinished():
                self.finished = event
        return event

    def is_written(self) -> bool:
        """Whether more may come. What was written just before the engine went is still to be taken."""
        if self.finished is not None:
            return False
        if self._pid is None:
            return (self.directory / CONTROL).is_dir()
        return is_engine_there(self.directory, self._pid)


class StreamFollower:
    """The batches of an Arrow stream that is being written. The file may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at: int | None = None

    def take(self, most: int) -> list[pa.RecordBatch]:
        """The next whole ones, at most so many."""
        import pyarrow as pa

        batches: list[pa.RecordBatch] = []
        try:
            if self._at is not None and self._path.stat().st_size <= self._at:
                return batches
            with pa.OSFile(str(self._path)) as source, pa.ipc.open_stream(source) as stream:
                if self._at is None:
                    self._at = source.tell()
                source.seek(self._at)  # the reader takes each batch from where the file stands
                while len(batches) < most and whole_batch_ahead(source):
                    batch = stream.read_next_batch()
                    batch.validate(full=True)
                    batches.append(batch)
                    self._at = source.tell()
        except (StopIteration, EOFError, ValueError, OSError, pa.ArrowException):
            return batches  # no schema yet, or damage: nothing behind it can be read
        return batches
