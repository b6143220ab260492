"""What the worker tells the engine, frame by frame."""

from __future__ import annotations

import threading
from collections import deque
from typing import BinaryIO

import pyarrow as pa

from loadgen.frames import message_frame, rows_frame
from loadgen.records import BATCH_ROWS, REQUEST_SCHEMA, Report
from loadgen.worker.stage import Row

_TYPES = tuple(field.type for field in REQUEST_SCHEMA)


class Reports:
    """Frames on the pipe to the engine, whole ones, from any thread."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, report: Report) -> None:
        self._write(message_frame(report))

    def send_rows(self, rows: deque[Row]) -> None:
        """Send and take away what lies in `rows`, in batches of at most BATCH_ROWS."""
        while count := min(len(rows), BATCH_ROWS):
            self._write(rows_frame(record_batch([rows.popleft() for _ in range(count)])))

    def _write(self, frame: bytes) -> None:
        with self._lock:
            self._pipe.write(frame)
            self._pipe.flush()


def record_batch(rows: list[Row]) -> pa.RecordBatch:
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), _TYPES, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=REQUEST_SCHEMA)
