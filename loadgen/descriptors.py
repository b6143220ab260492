"""File descriptors of this process: every connection takes one."""

from __future__ import annotations

import contextlib
import sys

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
