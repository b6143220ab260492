"""A no-op server that only streams: `python -m loadgen.reference.null_streams` prints its port.

Every request gets a chat completion of `CHUNKS` chunks, one per `GAP_NS`, each written separately. The number of chunks
that a load generator reads on time is its own capacity. The server exits when its standard input closes.
"""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import cast

from loadgen.pacing import alarm_factory
from loadgen.reference.child import RequestSplitter, serve_until_stdin_closes
from loadgen.reference.openai_events import SSE, Generation, openai_stream
from loadgen.reference.playback import LAST_CHUNK, SocketWriter, encode_chunk, encode_head

CHUNKS = 32
GAP_NS = 10_000_000
TICK_NS = 2_000_000
"""Clock period in ns. All streams share one clock: a chunk is due at a whole number of ticks of CLOCK_MONOTONIC."""
_MIN_ENCODED, _ENCODED_RANGE = 1_000_000, 5_000_000
_SLOTS = GAP_NS // TICK_NS
_MARK = b"1234567"


def encode_tick(tick: int) -> int:
    """Encode the tick at which the first chunk was due as the number of prompt tokens in the usage.

    The number always has seven digits, so that all responses have the same length.
    """
    return _MIN_ENCODED + tick % _ENCODED_RANGE


def decode_due_ns(encoded_tick: int, near_ns: int) -> int:
    """Decode the due time of the first chunk: the latest time at or before `near_ns` with such a tick. Ticks repeat
    every 10,000 s."""
    return near_ns - (near_ns - (encoded_tick - _MIN_ENCODED) * TICK_NS) % (_ENCODED_RANGE * TICK_NS)


def _pieces() -> tuple[bytes, bytes, bytes]:
    """Return the first chunk with the head, a middle chunk, and the last chunk with the end."""
    generation = Generation(tokens=CHUNKS, role_chunk=False, reported_tokens=(int(_MARK), CHUNKS))
    events = [encode_chunk(data) for _, data in openai_stream(generation, 0.0, 0.0)]
    head = encode_head(200, [*SSE, "Transfer-Encoding: chunked"])
    return head + events[0], events[1], b"".join(events[CHUNKS - 1 :]) + LAST_CHUNK


_FIRST, _MIDDLE, _LAST = _pieces()


class _Stream(asyncio.Protocol):
    """One connection and the response on it."""

    def __init__(self, wheel: _TimerWheel) -> None:
        self._wheel = wheel
        self._cut = RequestSplitter().split
        self._left = self._tick = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = SocketWriter(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        if self._cut(data) and not self._left:
            self._left = CHUNKS
            self._tick = self._wheel.add(self)

    def go_on(self) -> bool:
        """Write a chunk; return False if it was the last one, or if the client has closed the connection."""
        wire = self._wire
        left = self._left = self._left - 1
        if not wire.is_open():
            return False
        try:
            if left == 0:
                wire.write(_LAST.replace(_MARK, b"%d" % encode_tick(self._tick)))
            else:
                wire.write(_MIDDLE if left < CHUNKS - 1 else _FIRST)
        except OSError:  # the client has closed the connection
            return False
        return left > 0


class _TimerWheel:
    """A timer wheel: each tick writes a chunk to the streams of one slot, so that every stream has one chunk per
    gap."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._slots: list[list[_Stream]] = [[] for _ in range(_SLOTS)]
        self._next = perf_counter_ns() // TICK_NS + 1
        self._alarm = alarm_factory(loop)(self._on_tick)
        self._alarm.set(self._next * TICK_NS)

    def add(self, stream: _Stream) -> int:
        """Add a stream and return the tick at which its first chunk is due."""
        self._slots[self._next % _SLOTS].append(stream)
        return self._next

    def _on_tick(self) -> None:
        """Write everything that is due, tick by tick, even after a late wake-up."""
        now_ns = perf_counter_ns()
        while self._next * TICK_NS <= now_ns:
            slot = self._next % _SLOTS
            self._slots[slot] = [stream for stream in self._slots[slot] if stream.go_on()]
            self._next += 1
        self._alarm.set(self._next * TICK_NS)


class NullStreamProtocolFactory:
    """Creates a protocol for each connection; all of them share the event loop on which they are created."""

    def __init__(self) -> None:
        self._wheel: _TimerWheel | None = None

    def __call__(self) -> asyncio.Protocol:
        if self._wheel is None:
            self._wheel = _TimerWheel(asyncio.get_running_loop())
        return _Stream(self._wheel)


if __name__ == "__main__":
    serve_until_stdin_closes(NullStreamProtocolFactory(), 0)
