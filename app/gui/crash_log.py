"""Crash detection: the lock file and the fault handler's log show whether the previous window
crashed or was killed."""

from __future__ import annotations

import contextlib
import faulthandler
from pathlib import Path
from typing import TextIO

import msgspec
from PySide6.QtCore import QLockFile

from app.gui.navigation import Notice

LOG, LAST_LOG, LOCK = "window-crash.log", "window-crash-last.log", "window.lock"
_MAX_CHARACTERS = 20_000


class PreviousSession(msgspec.Struct, frozen=True):
    """State that the previous window left behind.

    `crash_text` is the output of the fault handler (an empty string if the window was killed), or
    None if the window closed normally. `other_pid` is the process ID of another open window, or
    None.
    """

    crash_text: str | None
    other_pid: int | None


class CrashLog:
    """Lock file and crash log of a window, in use from `begin` to `end`. `directory` is the parent
    of the runs directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = QLockFile(str(directory / LOCK))
        self._lock.setStaleLockTime(0)  # never considered stale because of its age: a window may stay open for weeks
        self._file: TextIO | None = None

    def begin(self) -> PreviousSession:
        """Lock the folder, start the log of the fault handler, and return what the previous window
        left behind.

        If the folder is not writable, no log is started, and all fields of the returned state are
        None.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if not self._lock.tryLock(0):
                is_locked = self._lock.error() == QLockFile.LockError.LockFailedError
                return PreviousSession(None, self._read_other_pid() if is_locked else None)
            crash_text = self._read_previous_log()
            self._file = (self._directory / LOG).open("w", encoding="utf-8")
        except OSError:
            return PreviousSession(None, None)
        faulthandler.enable(self._file)
        return PreviousSession(crash_text, None)

    def end(self) -> None:
        """Remove the log and the lock after a normal shutdown."""
        if self._file is not None:
            faulthandler.disable()
            self._file.close()
            self._file = None
            with contextlib.suppress(OSError):
                (self._directory / LOG).unlink()
        self._lock.unlock()

    def _read_previous_log(self) -> str | None:
        """Return the log of the previous window, or None if the previous window closed normally. An
        empty log means that the previous window was killed.

        The log file is renamed, so that the new log does not overwrite it.
        """
        path = self._directory / LOG
        if not path.exists():
            return None
        path.replace(self._directory / LAST_LOG)
        text = (self._directory / LAST_LOG).read_text(encoding="utf-8", errors="replace")
        return text[:_MAX_CHARACTERS]

    def _read_other_pid(self) -> int | None:
        lock_info = self._lock.getLockInfo()
        pid = next((value for value in lock_info if isinstance(value, int) and not isinstance(value, bool)), None)
        return pid or None


def build_crash_notice(previous_session: PreviousSession) -> Notice | None:
    if previous_session.other_pid is not None:
        return Notice(
            "news",
            f"Sizewise is already open in another window (process {previous_session.other_pid}).",
            "Both windows share runs and settings, and runs that are measured at the same time disturb each other.",
        )
    if previous_session.crash_text is None:
        return None
    if not previous_session.crash_text.strip():
        return Notice(
            "news",
            "Sizewise did not shut down normally last time.",
            "Runs continue without the window. Unfinished runs are listed below.",
        )
    return Notice(
        "warning",
        "Sizewise crashed last time.",
        "Runs continue without the window. Unfinished runs are listed below.",
        "Copy the details into a bug report.",
        previous_session.crash_text,
    )
