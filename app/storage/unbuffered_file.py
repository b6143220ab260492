"""Unbuffered file in which each write is complete or raises an error."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class UnbufferedFile(io.FileIO):
    """A new unbuffered file, or an existing file that is truncated to `intact_bytes`.

    Unlike Python's raw files, which may write only part of the data, `write` writes all data or
    raises OSError.
    """

    def __init__(self, path: Path, intact_bytes: int | None = None) -> None:
        super().__init__(path, "x" if intact_bytes is None else "r+")
        self.path = path
        if intact_bytes is not None:
            self.truncate(intact_bytes)
            self.seek(intact_bytes)

    def sync(self) -> None:
        """Flush all writes to disk."""
        os.fsync(self.fileno())

    def write(self, content: ReadableBuffer, /) -> int:
        remaining_data = data = memoryview(content).cast("B")
        while remaining_data:
            written_bytes = super().write(remaining_data)
            if not written_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.name))
            remaining_data = remaining_data[written_bytes:]
        return len(data)
