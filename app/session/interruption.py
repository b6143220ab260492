"""Handling of stop signals (Ctrl+C or the Stop button): the first drains in-flight requests, the
second cancels them, and the third exits immediately."""

from __future__ import annotations

import os
from collections.abc import Callable

from app.errors import ExitCode


class Interruption:
    """Stop state of a run. A signal handler sets the state; the session reads it between and during
    stages."""

    def __init__(self) -> None:
        self.code: ExitCode | None = None
        self._stop_request_count = 0
        self._stop_callback: Callable[[bool], None] | None = None
        self._exit_callback: Callable[[], None] | None = None

    @property
    def is_requested(self) -> bool:
        return self.code is not None

    def set_stop_callback(self, callback: Callable[[bool], None]) -> None:
        """Register `callback(drain)`, which ends the running stage, with or without draining
        in-flight requests."""
        self._stop_callback = callback

    def set_exit_callback(self, callback: Callable[[], None]) -> None:
        """Register a callback that runs just before an immediate exit. The exit itself does not
        close open resources, such as child processes."""
        self._exit_callback = callback

    def request_without_exit(self, code: ExitCode) -> None:
        """Request a stop like `request_stop`, but without an immediate exit: the second request
        cancels in-flight requests, and further requests have no effect."""
        if self._stop_request_count < 2:
            self.request_stop(code)

    def request_stop(self, code: ExitCode) -> None:
        self._stop_request_count += 1
        self.code = self.code or code
        if self._stop_request_count > 2:
            if self._exit_callback is not None:
                self._exit_callback()
            os._exit(int(self.code))
        if self._stop_callback is not None:
            self._stop_callback(self._stop_request_count == 1)
