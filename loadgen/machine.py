"""What this process can find out about its machine: its clock, its file descriptor limit, and how long a thread waited
for a CPU core."""

from __future__ import annotations

import contextlib
import sys
import uuid
from functools import lru_cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE = Path("/proc/self/ns/time")


@lru_cache(maxsize=1)
def get_clock_id(boot_id: Path = _BOOT_ID, time_namespace: Path = _TIME_NAMESPACE) -> str:
    """Return an identifier that is the same for all processes that share one CLOCK_MONOTONIC.

    These are the processes of one boot of one system in one time namespace, which shifts CLOCK_MONOTONIC
    (time_namespaces(7)). Where neither can be read, the identifier is unique to this process.
    """
    try:
        return f"boot {boot_id.read_text().strip()}, time namespace {time_namespace.stat().st_ino}"
    except OSError:
        return f"process {uuid.uuid4()}"


def read_cpu_wait_s(native_id: int) -> float | None:
    """Return the seconds that a thread was ready to run but had no CPU core, since the thread began.

    Return None where the system does not report it. Only Linux does (/proc/self/task/*/schedstat: time on a core and
    time ready without one, in ns).
    """
    try:
        schedstat = Path(f"/proc/self/task/{native_id}/schedstat").read_text("ascii")
        running_ns, waiting_ns = map(int, schedstat.split()[:2])
    except (OSError, ValueError):
        return None
    # A kernel without this accounting has the file too, filled with zeros.
    return waiting_ns / 1e9 if running_ns else None


def cpu_wait_between_s(before_s: float | None, now_s: float | None) -> float | None:
    return None if before_s is None or now_s is None else now_s - before_s


MAX_DESCRIPTORS = 65_536
"""Highest value to which the soft limit on file descriptors is raised. It also bounds the connections of a load worker
to one address, because no more are possible."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit on file descriptors as far as the hard limit allows, as Locust does. The limit is never
    lowered."""
    if sys.platform == "win32":  # Windows has no such limit on sockets
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS refuses more than its kernel's own limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (_raised(soft, hard, resource.RLIM_INFINITY), hard))


def max_descriptor_limit() -> int | None:
    """Return how many descriptors a child may have after it has raised its limit; None if there is no limit."""
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
    target = MAX_DESCRIPTORS if hard == infinity else min(hard, MAX_DESCRIPTORS)
    return max(soft, target)
