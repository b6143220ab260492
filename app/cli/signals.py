"""Handle Ctrl-C, SIGTERM and SIGHUP: exit immediately while a command starts, or request a stop
while it measures."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from app.errors import ExitCode

if TYPE_CHECKING:
    from app.session.interruption import Interruption

_EXIT_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
_STOP_MESSAGES = (
    "Stopping… Press Ctrl-C again to cancel in-flight requests.",
    "Canceling in-flight requests… Press Ctrl-C again to exit at once, without a report.",
)
_LOCAL_STOP_MESSAGES = (
    "Stopping… The running measurement ends now, and the results so far are stored.",
    "Storing the results so far… Press Ctrl-C again to exit at once, without a report.",
)
"""Messages for a model on this machine, which has no requests that could finish or be canceled."""


def handle_signals() -> None:
    """Install the signal handlers of the process: SIGHUP acts like SIGTERM, and Ctrl-C raises
    KeyboardInterrupt.

    During an import, Ctrl-C exits silently instead. Otherwise, the interrupted import could raise
    any exception or print a traceback.
    """
    signal.signal(signal.SIGINT, _exit_or_raise)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores SIGHUP
        signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))


@contextmanager
def handle_stop_signals(*, has_requests: bool = True) -> Iterator[Interruption]:
    """Handle stop signals within the context: the first signal lets in-flight requests finish, the
    second cancels them, and the third exits immediately. Without requests, the first ends the
    measurement."""
    from app.session.interruption import Interruption

    interruption = Interruption()
    messages = iter(_STOP_MESSAGES if has_requests else _LOCAL_STOP_MESSAGES)

    def stop(signal_number: int, _frame: FrameType | None) -> None:
        _write_unbuffered(next(messages, None))
        interruption.request_stop(_EXIT_CODES[signal.Signals(signal_number)])

    previous_handlers = {signal_number: signal.signal(signal_number, stop) for signal_number in _EXIT_CODES}
    try:
        yield interruption
    finally:
        for signal_number, handler in previous_handlers.items():
            signal.signal(signal_number, handler)


def _write_unbuffered(message: str | None) -> None:
    """Write a line to standard error without Python's buffers, because the signal may have
    interrupted code that is writing to them."""
    if message is None:
        return
    with contextlib.suppress(OSError):  # standard error may be closed
        os.write(2, f"{chr(10) * os.isatty(2)}{message}\n".encode())


def _exit_or_raise(_number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(ExitCode.INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt
