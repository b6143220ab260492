"""`python -m app.wiring.server_guard`: reads a process group, then waits; should its parent die, it ends that group."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

_GRACE_S = 3.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it leaves when told to, or when its parent is gone
    group, told = sys.stdin.readline().strip(), sys.stdin.readline().strip()
    if told == "done" or not group.isdigit():
        return
    _end(int(group), signal.SIGTERM)
    select.select([], [], [], _GRACE_S)
    _end(int(group), signal.SIGKILL)


def _end(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
