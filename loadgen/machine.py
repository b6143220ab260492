"""What this process can learn of its machine: its clock, its open files, and how long a thread waited for a core."""

from __future__ import annotations

import contextlib
import sys
import uuid
from functools import lru_cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE = Path("/proc/self/ns/time")


@lru_cache(maxsize=1)
def clock_id(boot_id: Path = _BOOT_ID, time_namespace: Path = _TIME_NAMESPACE) -> str:
    """The same for all processes of one boot of one system and one time namespace, which moves CLOCK_MONOTONIC
    (time_namespaces(7)). Where neither can be read, one that no other process has."""
    try:
        return f"boot {boot_id.read_text().strip()}, time namespace {time_namespace.stat().st_ino}"
    except OSError:
        return f"process {uuid.uuid4()}"


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


MAX_DESCRIPTORS = 65_536
"""As far as the soft limit is raised. A load worker cannot have more connections to one address either."""


def raise_limit() -> None:
    """Raise the soft limit as far as the hard limit allows, as Locust does. It is never lowered."""
    if sys.platform == "win32":  # which has no such limit on sockets
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS refuses more than its kernel's own limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (_raised(soft, hard, resource.RLIM_INFINITY), hard))


def reachable_limit() -> int | None:
    """How many descriptors a child may have once it has raised its limit; None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    infinity = resource.RLIM_INFINITY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised = _raised(soft, hard, infinity)
    return None if raised == infinity else raised


def _raised(soft: int, hard: int, infinity: int) -> int:
    if soft == infinity:
        return soft
    wanted = MAX_DESCRIPTORS if hard == infinity else min(hard, MAX_DESCRIPTORS)
    return max(soft, wanted)
