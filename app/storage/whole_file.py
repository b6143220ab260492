"""A file that is written without a buffer, each write whole or an error."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class WholeFile(io.FileIO):
    """A new file without a buffer, or an existing one cut off after `kept_bytes`. Python's own may write a part and
    tell it only in the returned count."""

    def __init__(self, path: Path, kept_bytes: int | None = None) -> None:
        super().__init__(path, "x" if kept_bytes is None else "r+")
        self.path = path
        if kept_bytes is not None:
            self.truncate(kept_bytes)
            self.seek(kept_bytes)

    def sync(self) -> None:
        """Return once what was written is on the disk."""
        os.fsync(self.fileno())

    def write(self, content: ReadableBuffer, /) -> int:
        left = whole = memoryview(content).cast("B")
        while left:
            written = super().write(left)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.name))
            left = left[written:]
        return len(whole)
