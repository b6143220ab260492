"""A server of `loadgen.reference` as a child on a free port of the loopback."""

from __future__ import annotations

import subprocess

from app.errors import InstrumentError
from loadgen.child import Ending, end_within, start_module

_LEAVE_S = 2.0


class ReferenceServer:
    """Up when the constructor returns, which raises InstrumentError when it does not come up. `path` ends its URL."""

    def __init__(self, module: str, *arguments: str, path: str = "/") -> None:
        self._child = start_module(module, *arguments, stdout=subprocess.PIPE)
        assert self._child.stdout is not None
        port = self._child.stdout.readline().strip()
        if not port.isdigit():
            self.close()
            raise InstrumentError(f"{module} did not start", hint="Its own words are above.")
        self.pid = self._child.pid
        self._ending = Ending(self._child)
        self.url = f"http://127.0.0.1:{int(port)}{path}"

    def ending(self) -> str | None:
        """How the server ended; None while it runs."""
        return self._ending.how()

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        end_within(_LEAVE_S, self._child)
        self._child.stdout.close()
