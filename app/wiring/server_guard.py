"""Guard process (`python -m app.wiring.server_guard`), which reads a process group ID and stops
that process group if the parent process dies."""

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
    group_id, command = sys.stdin.readline().strip(), sys.stdin.readline().strip()
    if command == "done" or not group_id.isdigit():
        return
    _signal_group(int(group_id), signal.SIGTERM)
    select.select([], [], [], _GRACE_S)
    _signal_group(int(group_id), signal.SIGKILL)


def _signal_group(group_id: int, signal_number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group_id, signal_number)


if __name__ == "__main__":
    main()
