"""That a window ended badly is found by the next one: a lock that was not given back, and the fault handler's log."""

from __future__ import annotations

import contextlib
import faulthandler
from pathlib import Path
from typing import TextIO

import msgspec
from PySide6.QtCore import QLockFile

from app.gui.navigation import Notice

LOG, LAST_LOG, LOCK = "window-crash.log", "window-crash-last.log", "window.lock"
_MOST_TOLD = 20_000


class Found(msgspec.Struct, frozen=True):
    """`crash` is what the last window's fault handler wrote; `other_pid` is of a window that is open now."""

    crash: str | None
    other_pid: int | None


class CrashLog:
    """Of one window, from `begin` until `end`. `folder` is where the runs' home lies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = QLockFile(str(folder / LOCK))
        self._lock.setStaleLockTime(0)  # by time none is stale: a window may be open for weeks
        self._file: TextIO | None = None

    def begin(self) -> Found:
        """Where the folder cannot be written there is no log, and nothing to find."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not self._lock.tryLock(0):
                known = self._lock.error() == QLockFile.LockError.LockFailedError
                return Found(None, self._other_pid() if known else None)
            crash = self._last_words()
            self._file = (self._folder / LOG).open("w", encoding="utf-8")
        except OSError:
            return Found(None, None)
        faulthandler.enable(self._file)
        return Found(crash, None)

    def end(self) -> None:
        """It closed as it should."""
        if self._file is not None:
            faulthandler.disable()
            self._file.close()
            self._file = None
            with contextlib.suppress(OSError):
                (self._folder / LOG).unlink()
        self._lock.unlock()

    def _last_words(self) -> str | None:
        """Kept beside the new log. A log that is there, though empty, is of a window that did not end as it should: it
        was killed."""
        path = self._folder / LOG
        if not path.exists():
            return None
        path.replace(self._folder / LAST_LOG)
        text = (self._folder / LAST_LOG).read_text(encoding="utf-8", errors="replace")
        return text[:_MOST_TOLD]

    def _other_pid(self) -> int | None:
        told = self._lock.getLockInfo()
        pid = next((part for part in told if isinstance(part, int) and not isinstance(part, bool)), None)
        return pid or None


def notice_of_found(found: Found) -> Notice | None:
    if found.other_pid is not None:
        return Notice(
            "news",
            f"Another window of Sizewise is open (process {found.other_pid}).",
            "Both see the same runs and settings; what is measured at one time in both disturbs each other.",
        )
    if found.crash is None:
        return None
    if not found.crash.strip():
        return Notice(
            "news",
            "The last window was ended from outside, or the machine went down.",
            "Runs go on without their window: what is not finished is told below.",
        )
    return Notice(
        "warning",
        "The last window crashed.",
        "Runs go on without their window: what is not finished is told below.",
        "Copy the details into a report of the bug.",
        found.crash,
    )
