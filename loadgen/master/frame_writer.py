"""Write the reports of a master to the engine on a separate thread, so that the hub never blocks on
a full pipe."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import BinaryIO

from loadgen.frames import encode_message_frame, wrap_rows_frame
from loadgen.records import Report


class FrameWriterThread:
    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="frame-writer", daemon=True)
        self._thread.start()

    def send(self, report: Report) -> None:
        self._frames.put(encode_message_frame(report))

    def send_rows(self, body: bytes) -> None:
        """Send a batch of rows, which is already serialized."""
        self._frames.put(wrap_rows_frame(body))

    def close(self, timeout_s: float) -> None:
        """Write the queued frames and stop the thread; wait at most `timeout_s` seconds."""
        self._frames.put(None)
        self._thread.join(timeout_s)

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the engine has exited, which the end of standard input also shows
            while (frame := self._frames.get()) is not None:
                self._pipe.write(frame)
                self._pipe.flush()
