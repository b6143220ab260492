"""Read the round-trip times that the kernel measured on open TCP connections.

Linux reports them in `struct tcp_info` (linux/tcp.h). Reading it sends nothing, and is done between
stages, so requests are not affected.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterable
from itertools import islice
from statistics import fmean

from loadgen.records import RoundTrips

_MAX_CONNECTIONS = 256
"""Maximum number of connections to read, which takes a few milliseconds."""
_MIN_RTT_OFFSET = 148
_READ_BYTES = 192
_UNKNOWN_US = 0xFFFF_FFFF


def measure_round_trips(descriptors: Iterable[int]) -> RoundTrips | None:
    """Return the round-trip times of connections, given their file descriptors.

    Return None if no time is known: on another OS than Linux, for Unix sockets, and without an open
    connection.
    """
    if sys.platform != "linux":
        return None
    times_ms = [
        min_ms
        for descriptor in islice(descriptors, _MAX_CONNECTIONS)
        if (min_ms := _read_min_round_trip_ms(descriptor)) is not None
    ]
    return RoundTrips(connections=len(times_ms), min_ms=fmean(times_ms)) if times_ms else None


def _read_min_round_trip_ms(descriptor: int) -> float | None:
    """Return the lowest round-trip time of a connection; None if it is closed, or not a TCP
    connection."""
    try:
        # a copy, because a socket object closes its descriptor
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _READ_BYTES)
    except OSError:
        return None
    return parse_min_round_trip_ms(info)


def parse_min_round_trip_ms(info: bytes) -> float | None:
    """Return the lowest round-trip time in a `struct tcp_info`; None if it has none, as before the
    first acknowledgment and on kernels before 4.6."""
    if len(info) < _MIN_RTT_OFFSET + 4:
        return None
    (min_us,) = struct.unpack_from("=I", info, _MIN_RTT_OFFSET)
    return None if min_us in (0, _UNKNOWN_US) else min_us / 1000
