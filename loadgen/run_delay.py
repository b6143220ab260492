"""How long a thread of this process was ready to run and had no core."""

from __future__ import annotations

from pathlib import Path


def waited_s(native_id: int) -> float | None:
    """Of the thread, since it began; None where the system does not tell, which only Linux does
    (/proc/self/task/*/schedstat: time on a core, time ready without one, in ns)."""
    try:
        told = Path(f"/proc/self/task/{native_id}/schedstat").read_text("ascii")
        running_ns, waiting_ns = map(int, told.split()[:2])
    except (OSError, ValueError):
        return None
    # a kernel that keeps no account has the file, with noughts in it
    return waiting_ns / 1e9 if running_ns else None


def waited_between_s(before_s: float | None, now_s: float | None) -> float | None:
    return None if before_s is None or now_s is None else now_s - before_s
