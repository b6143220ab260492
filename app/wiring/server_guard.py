"""`python -m app.wiring.server_guard`: reads a process group, and ends that group if its parent dies."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

_GRACE_S = 3.0


def main() -> None:
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_IGN)  # The guard exits on request or with its parent, not on signals.
    group, command = sys.stdin.readline().strip(), sys.stdin.readline().strip()
    if command == "done" or not group.isdigit():
        return
    _signal_group(int(group), signal.SIGTERM)
    select.select([], [], [], _GRACE_S)
    _signal_group(int(group), signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
