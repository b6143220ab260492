"""Read properties of the local machine: the identity of its clock, the limit on file descriptors,
and the time for which a thread waited for a CPU core."""

from __future__ import annotations

import contextlib
import sys
import uuid
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path

_BOOT_ID_PATH = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE_PATH = Path("/proc/self/ns/time")


@lru_cache(maxsize=1)
def get_clock_id(boot_id_path: Path = _BOOT_ID_PATH, time_namespace_path: Path = _TIME_NAMESPACE_PATH) -> str:
    """Return an identifier of CLOCK_MONOTONIC, which is the same for all processes that share this
    clock.

    Processes share the clock if they run in the same boot of the same system and in the same time
    namespace (a namespace can shift CLOCK_MONOTONIC, see time_namespaces(7)). If the boot ID or the
    namespace cannot be read, the identifier is unique to this process.
    """
    try:
        return f"boot {boot_id_path.read_text().strip()}, time namespace {time_namespace_path.stat().st_ino}"
    except OSError:
        return f"process {uuid.uuid4()}"


def read_cpu_wait_s(native_thread_id: int) -> float | None:
    """Return the total time in seconds that the thread has waited for a CPU core while ready to
    run.

    Return None if the OS does not report this time. Only Linux reports it:
    /proc/self/task/*/schedstat has the time on a core and the time in the run queue, in ns.
    """
    try:
        schedstat = Path(f"/proc/self/task/{native_thread_id}/schedstat").read_text("ascii")
        running_ns, waiting_ns = map(int, schedstat.split()[:2])
    except (OSError, ValueError):
        return None
    # A kernel without this accounting also provides the file, filled with zeros.
    return waiting_ns / 1e9 if running_ns else None


def subtract_cpu_wait_s(wait_before_s: float | None, wait_after_s: float | None) -> float | None:
    return None if wait_before_s is None or wait_after_s is None else wait_after_s - wait_before_s


MAX_DESCRIPTORS = 65_536
"""Highest value to which the soft limit on file descriptors is raised. A load worker cannot have
more connections to one address, because there are only 65,536 local ports."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit on file descriptors to the hard limit or MAX_DESCRIPTORS, whichever is
    lower, as Locust does. A higher soft limit is left unchanged."""
    if sys.platform == "win32":  # Windows has no such limit on sockets
        return
    import resource

    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS rejects values above a limit of its kernel
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (_compute_raised_limit(soft_limit, hard_limit, resource.RLIM_INFINITY), hard_limit)
        )


def get_max_descriptors() -> int | None:
    """Return the limit on file descriptors of a child process after the child has raised its soft
    limit; None if there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    infinity = resource.RLIM_INFINITY
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised_limit = _compute_raised_limit(soft_limit, hard_limit, infinity)
    return None if raised_limit == infinity else raised_limit


def _compute_raised_limit(soft_limit: int, hard_limit: int, infinity: int) -> int:
    if soft_limit == infinity:
        return soft_limit
    target_limit = MAX_DESCRIPTORS if hard_limit == infinity else min(hard_limit, MAX_DESCRIPTORS)
    return max(soft_limit, target_limit)


def never_leaves_machine(host: str) -> bool:
    """Return whether what is sent to a host certainly stays on this machine: `localhost` or a loopback
    address. Names such as `model.localhost` may be resolved by a DNS server, to any address."""
    if host.casefold() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return ((address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address).is_loopback
