"""A short command of `sizewise` in a process of its own, heard when it has ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, QProcess, Signal

_LEAVE_MS = 300
"""The window waits for it."""
_MOST_BYTES = 4_000_000


class Command(QObject):
    """One at a time. `ended` has the exit code and what was written to standard output and error; a command that was
    stopped tells nothing."""

    ended = Signal(int, bytes, bytes)

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self._process: QProcess | None = None
        owner.destroyed.connect(self.stop)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self, arguments: Sequence[str], given: bytes = b"", folder: Path | None = None) -> None:
        """What `given` holds is its standard input, whole."""
        self.stop()
        process = QProcess(self)
        self._process = process
        process.setProgram(sys.executable)
        process.setArguments(["-P", "-m", "app", *arguments])
        if folder is not None:
            process.setWorkingDirectory(str(folder))
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._failed)
        process.start()
        process.write(given)
        process.closeWriteChannel()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.finished.disconnect(self._finished)
        process.errorOccurred.disconnect(self._failed)
        process.terminate()
        if not process.waitForFinished(_LEAVE_MS):
            process.kill()
            process.waitForFinished(_LEAVE_MS)
        process.deleteLater()

    def _finished(self, code: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        out, said = process.readAllStandardOutput().data(), process.readAllStandardError().data()
        process.deleteLater()
        self.ended.emit(code, bytes(out)[:_MOST_BYTES], bytes(said)[:_MOST_BYTES])

    def _failed(self, error: QProcess.ProcessError) -> None:
        """Of one that could not be started; whatever else goes wrong also finishes it."""
        process = self._process
        if process is None or error != QProcess.ProcessError.FailedToStart:
            return
        self._process = None
        said = process.errorString()
        process.deleteLater()
        self.ended.emit(-1, b"", said.encode())
