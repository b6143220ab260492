"""Ctrl-C and SIGTERM as a wish to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from app.errors import ExitCode
from app.session.interruption import Interruption

_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


@contextmanager
def stoppable() -> Iterator[Interruption]:
    """The first signal lets what is in flight finish, the second cuts it, the third leaves at once."""
    interruption = Interruption()

    def stop(number: int, _frame: FrameType | None) -> None:
        interruption.request(_CODES[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in _CODES}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
