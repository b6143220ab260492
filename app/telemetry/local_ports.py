"""Local ports for connections to one address."""

from __future__ import annotations

from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def local_ports(path: Path = _RANGE) -> int | None:
    """How many there are; None where the system does not report its range, which only Linux does."""
    try:
        first, last = map(int, path.read_text("ascii").split())
    except (OSError, ValueError):
        return None
    return last - first + 1 if last >= first else None
