"""A worker that the master starts itself."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections import deque
from typing import IO, BinaryIO, cast

from loadgen.frames import message_frame
from loadgen.process import start_module
from loadgen.records import Join

_LINES = 20
_MOST_OF_A_LINE = 4096


class LocalWorker:
    def __init__(self, join: Join) -> None:
        self._child = start_module("loadgen.worker", "--join", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._stdin = cast(IO[bytes], self._child.stdin)
        self.pid = self._child.pid
        self._last_lines: deque[str] = deque(maxlen=_LINES)
        threading.Thread(target=self._keep_stderr, name="worker-stderr", daemon=True).start()
        with contextlib.suppress(OSError):  # it has ended already, which `ending` tells
            self._stdin.write(message_frame(join))
            self._stdin.flush()

    def ending(self) -> str | None:
        """How it ended; None while it runs."""
        code = self._child.poll()
        if code is None:
            return None
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"

    @property
    def last_words(self) -> str | None:
        return "\n".join(self._last_lines) or None

    def let_go(self) -> None:
        """It leaves by itself when its standard input closes."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def end(self, within_s: float) -> None:
        """By force, where it has not left by then. Blocks."""
        self.let_go()
        try:
            self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def kill(self) -> None:
        self._child.kill()

    def _keep_stderr(self) -> None:
        stderr = cast(BinaryIO, self._child.stderr)
        while line := stderr.readline(_MOST_OF_A_LINE):
            self._last_lines.append(line.decode(errors="replace").rstrip())
