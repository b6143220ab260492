"""Arrow streams that are appended batch by batch and can be read after a kill at any byte."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import pyarrow as pa


class StreamWriter:
    """An Arrow IPC stream in a file. One thread writes; each batch is in the operating system's hands on return."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._file = path.open("xb", buffering=0)
        self._stream = pa.ipc.new_stream(self._file, schema)

    def append(self, batch: pa.RecordBatch) -> None:
        self._stream.write_batch(batch)

    def close(self) -> None:
        if not self._file.closed:
            self._stream.close()
            self._file.close()

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_stream(path: Path, schema: pa.Schema) -> pa.Table:
    """Every whole batch of the file, in order; an empty table when the file holds not even its schema."""
    batches: list[pa.RecordBatch] = []
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
            schema = stream.schema
            while True:
                batches.append(stream.read_next_batch())
    except (StopIteration, pa.ArrowInvalid, OSError):
        pass  # the end of the stream, or the place where the writer was killed
    return pa.Table.from_batches(batches, schema)
