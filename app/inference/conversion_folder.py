"""Temporary folders in the cache of converted models.

A folder is locked while its process lives, so that the folders of killed processes are recognized
and removed at the next conversion."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "making-"
_MIN_STALE_S = 60.0
"""Age in s from which an unlocked folder is stale. A folder is not locked for a moment when it is new."""
_MIN_STALE_WITHOUT_LOCKS_S = 86_400.0
"""Age in s from which a folder is stale if the operating system or the file system has no locks."""


@contextlib.contextmanager
def open_conversion_folder(cache: Path) -> Iterator[Path]:
    """Create a temporary folder in the cache, and delete it afterwards. Stale folders of killed
    processes are deleted first."""
    cache.mkdir(parents=True, exist_ok=True)
    _remove_stale_folders(cache)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=cache) as name:
        descriptor = _lock(Path(name))[0]
        try:
            yield Path(name)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _remove_stale_folders(cache: Path) -> None:
    for folder in cache.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # Another process has removed it, or it belongs to another user.
            if not folder.is_symlink() and folder.is_dir() and _is_stale(folder):
                shutil.rmtree(folder)


def _is_stale(folder: Path) -> bool:
    age_s = time.time() - folder.stat().st_mtime
    descriptor, is_locked = _lock(folder)
    if descriptor is not None:
        os.close(descriptor)
        return age_s > _MIN_STALE_S
    return is_locked is None and age_s > _MIN_STALE_WITHOUT_LOCKS_S


def _lock(folder: Path) -> tuple[int | None, bool | None]:
    """Lock a folder. Return the descriptor that holds the lock, and whether the folder is locked;
    `None` for the descriptor if another process holds the lock, and for both if there are no
    locks."""
    if sys.platform == "win32":
        return None, None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None, True
    except OSError:
        os.close(descriptor)
        return None, None
    return descriptor, True
