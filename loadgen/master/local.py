"""A worker that the master starts itself."""

from __future__ import annotations

import contextlib
import subprocess
from typing import IO, cast

from loadgen.child import LastWords, end_within, how_it_ended, is_stopped, start_module, used_cpu_s
from loadgen.frames import message_frame
from loadgen.records import Join


class LocalWorker:
    def __init__(self, join: Join) -> None:
        self._child = start_module("loadgen.worker", "--join", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._stdin = cast(IO[bytes], self._child.stdin)
        self.pid = self._child.pid
        self._last_words = LastWords(cast(IO[bytes], self._child.stderr))
        with contextlib.suppress(OSError):  # it has ended already, which `ending` tells
            self._stdin.write(message_frame(join))
            self._stdin.flush()

    def ending(self) -> str | None:
        """How it ended; None while it runs."""
        code = self._child.poll()
        return None if code is None else how_it_ended(code)

    @property
    def is_stopped(self) -> bool:
        return is_stopped(self.pid)

    @property
    def used_cpu_s(self) -> float | None:
        return used_cpu_s(self.pid)

    @property
    def last_words(self) -> str | None:
        return self._last_words.text

    def let_go(self) -> None:
        """It leaves by itself when its standard input closes."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def end(self, within_s: float) -> None:
        """By force, where it has not left by then. Blocks."""
        self.let_go()
        end_within(within_s, self._child)

    def kill(self) -> None:
        self._child.kill()
