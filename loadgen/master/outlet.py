"""What a master tells the engine, written by a thread of its own: the hub never waits for a pipe that nobody reads."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import BinaryIO

from loadgen.frames import message_frame, packed_rows_frame
from loadgen.records import Report


class Outlet:
    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="outlet", daemon=True)
        self._writer.start()

    def send(self, report: Report) -> None:
        self._frames.put(message_frame(report))

    def send_rows(self, body: bytes) -> None:
        """A batch as it is in a message."""
        self._frames.put(packed_rows_frame(body))

    def close(self, within_s: float) -> None:
        """Once all is written, or after so long."""
        self._frames.put(None)
        self._writer.join(within_s)

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the engine has gone, as standard input tells too
            while (frame := self._frames.get()) is not None:
                self._pipe.write(frame)
                self._pipe.flush()
