"""The user's wish to stop: first let what is in flight finish, then cut it, then leave at once."""

from __future__ import annotations

import os
from collections.abc import Callable

from app.errors import ExitCode


class Interruption:
    """Set from a signal handler, read by the session between and during stages."""

    def __init__(self) -> None:
        self.code: ExitCode | None = None
        self._asked = 0
        self._stop_load: Callable[[bool], None] | None = None
        self._last_act: Callable[[], None] | None = None

    @property
    def is_requested(self) -> bool:
        return self.code is not None

    def attach(self, stop_load: Callable[[bool], None]) -> None:
        """`stop_load(drain)` ends the stage that runs."""
        self._stop_load = stop_load

    def before_leaving(self, last_act: Callable[[], None]) -> None:
        """What to do before leaving at once: nothing that was started is closed then."""
        self._last_act = last_act

    def ask(self, code: ExitCode) -> None:
        """Like `request`, by someone who may have the load cut and not have us leave at once."""
        if self._asked < 2:
            self.request(code)

    def request(self, code: ExitCode) -> None:
        self._asked += 1
        self.code = self.code or code
        if self._asked > 2:
            if self._last_act is not None:
                self._last_act()
            os._exit(int(self.code))
        if self._stop_load is not None:
            self._stop_load(self._asked == 1)
