"""Open and read files that a profile, an import or a stored run names.

Such a file may come from anybody, and a device or a pipe may never end: `/dev/zero` fills the memory,
and a pipe without a writer blocks. Only regular files are opened.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

NOT_REGULAR = "not a regular file"
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_CHUNK_BYTES = 1 << 20


def open_regular(path: Path | str) -> BufferedReader:
    """Open a regular file for reading. Raises OSError for any other file, without blocking and
    without opening a device, because opening some devices has effects."""
    _require_regular(Path(path).stat(), path)
    descriptor = os.open(path, _FLAGS)
    try:
        _require_regular(os.fstat(descriptor), path)  # The file may have been replaced since.
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path | str, max_bytes: int) -> bytes:
    """Return the content of a regular file. Raises OSError if the file is not regular or is larger
    than `max_bytes`."""
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise _build_size_error(path, max_bytes)
    return content


def check_regular(path: Path | str, max_bytes: int) -> None:
    """Raise OSError if a file, which a library will read by its path, is not regular or is larger
    than `max_bytes`."""
    status = Path(path).stat()
    _require_regular(status, path)
    if status.st_size > max_bytes:
        raise _build_size_error(path, max_bytes)


def hash_regular(path: Path | str) -> str:
    """Return the SHA-256 hash of a regular file, as hexadecimal digits. At most the size that the file
    has when it is opened is read, because some files in `/proc` never end. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        remaining_bytes = os.fstat(file.fileno()).st_size
        while remaining_bytes > 0 and (chunk := file.read(min(_CHUNK_BYTES, remaining_bytes))):
            digest.update(chunk)
            remaining_bytes -= len(chunk)
    return digest.hexdigest()


def _require_regular(status: os.stat_result, path: Path | str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))


def _build_size_error(path: Path | str, max_bytes: int) -> OSError:
    size = f"{max_bytes >> 20} MiB" if max_bytes >= 1 << 20 else f"{max_bytes >> 10} KiB"
    return OSError(errno.EFBIG, f"it is larger than {size}", str(path))
