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
from typing import NamedTuple

from loadgen.records import RoundTrips

_MAX_CONNECTIONS = 256
"""Maximum number of connections to read, which takes a few milliseconds."""
_RTT_OFFSET, _MIN_RTT_OFFSET = 68, 148
_READ_BYTES = 192
_UNKNOWN_US = 0xFFFF_FFFF


class _RoundTrip(NamedTuple):
    smoothed_ms: float
    min_ms: float


def measure_round_trips(descriptors: Iterable[int]) -> RoundTrips | None:
    """Return statistics of the round-trip times of connections, given their file descriptors.

    Return None if no time is known: on another OS than Linux, for Unix sockets, and without an open
    connection.
    """
    if sys.platform != "linux":
        return None
    found = [
        round_trip
        for descriptor in islice(descriptors, _MAX_CONNECTIONS)
        if (round_trip := _read_round_trip(descriptor)) is not None
    ]
    if not found:
        return None
    return RoundTrips(
        connections=len(found),
        min_ms=fmean(round_trip.min_ms for round_trip in found),
        smoothed_ms=fmean(round_trip.smoothed_ms for round_trip in found),
    )


def _read_round_trip(descriptor: int) -> _RoundTrip | None:
    """Return the round-trip times of a connection; None if it is closed, or not a TCP connection."""
    try:
        # a copy, because a socket object closes its descriptor
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _READ_BYTES)
    except OSError:
        return None
    return parse_tcp_info(info)


def parse_tcp_info(info: bytes) -> _RoundTrip | None:
    """Return the round-trip times in a `struct tcp_info`; None if it has none, as before the first
    acknowledgment and on kernels before 4.6."""
    if len(info) < _MIN_RTT_OFFSET + 4:
        return None
    (smoothed_us,), (min_us,) = (struct.unpack_from("=I", info, offset) for offset in (_RTT_OFFSET, _MIN_RTT_OFFSET))
    if not smoothed_us or not min_us or min_us == _UNKNOWN_US:
        return None
    return _RoundTrip(smoothed_us / 1000, min_us / 1000)
