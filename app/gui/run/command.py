"""Runner for short `sizewise` commands in a separate process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, QProcess, Signal

_EXIT_WAIT_MS = 300
"""Time, in ms, that the window waits for the process to exit after a signal."""
_MAX_OUTPUT_BYTES = 4_000_000


class CommandRunner(QObject):
    """Runner that executes one `sizewise` command at a time.

    `finished` is emitted with the exit code, standard output and standard error. Nothing is emitted
    for a command that was stopped.
    """

    finished = Signal(int, bytes, bytes)

    def __init__(self, owner: QObject) -> None:
        super().__init__(owner)
        self._process: QProcess | None = None
        owner.destroyed.connect(self.stop)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self, arguments: Sequence[str], stdin: bytes = b"", directory: Path | None = None) -> None:
        """Start a command with `stdin` as its complete standard input. A command that is still
        running is stopped first."""
        self.stop()
        process = QProcess(self)
        self._process = process
        process.setProgram(sys.executable)
        process.setArguments(["-P", "-m", "app", *arguments])
        if directory is not None:
            process.setWorkingDirectory(str(directory))
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        process.start()
        process.write(stdin)
        process.closeWriteChannel()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.finished.disconnect(self._on_finished)
        process.errorOccurred.disconnect(self._on_error)
        process.terminate()
        if not process.waitForFinished(_EXIT_WAIT_MS):
            process.kill()
            process.waitForFinished(_EXIT_WAIT_MS)
        process.deleteLater()

    def _on_finished(self, exit_code: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        stdout, stderr = process.readAllStandardOutput().data(), process.readAllStandardError().data()
        process.deleteLater()
        self.finished.emit(exit_code, bytes(stdout)[:_MAX_OUTPUT_BYTES], bytes(stderr)[:_MAX_OUTPUT_BYTES])

    def _on_error(self, error: QProcess.ProcessError) -> None:
        """Emit `finished` if the process could not be started. After any other error, Qt emits the
        process's own `finished` signal."""
        process = self._process
        if process is None or error != QProcess.ProcessError.FailedToStart:
            return
        self._process = None
        message = process.errorString()
        process.deleteLater()
        self.finished.emit(-1, b"", message.encode())
