"""A server that streams and does nothing else: `python -m loadgen.reference.null_streams` prints its port.

Every request is answered by `CHUNKS` chunks of a chat completion, one each `GAP_NS`, each written alone. What a load
generator reads of them in time is its own ceiling. The server leaves when its standard input closes.
"""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import cast

from loadgen.pacing import alarm_on
from loadgen.reference.child import RequestCutter, serve_until_stdin_closes
from loadgen.reference.courses import LAST_CHUNK, Wire, chunk, head_bytes
from loadgen.reference.openai_events import SSE, Generation, openai_stream

CHUNKS = 32
GAP_NS = 10_000_000
TICK_NS = 2_000_000
"""All streams are written by one clock: a chunk is due at a whole number of ticks of CLOCK_MONOTONIC."""
_TOLD_FROM, _TOLD = 1_000_000, 5_000_000
_SLOTS = GAP_NS // TICK_NS
_MARK = b"1234567"


def told_of(tick: int) -> int:
    """What the usage of an answer says of prompt tokens: the tick that its first chunk was due at, in seven digits, so
    that all answers are of one length."""
    return _TOLD_FROM + tick % _TOLD


def due_ns(told: int, near_ns: int) -> int:
    """When that was: the time nearest below or at `near_ns` that such a tick has. They repeat every 10,000 s."""
    return near_ns - (near_ns - (told - _TOLD_FROM) * TICK_NS) % (_TOLD * TICK_NS)


def _pieces() -> tuple[bytes, bytes, bytes]:
    """The first chunk with the head, one between, and the last with the end."""
    generation = Generation(tokens=CHUNKS, role_chunk=False, counted=(int(_MARK), CHUNKS))
    events = [chunk(data) for _, data in openai_stream(generation, 0.0, 0.0)]
    head = head_bytes(200, [*SSE, "Transfer-Encoding: chunked"])
    return head + events[0], events[1], b"".join(events[CHUNKS - 1 :]) + LAST_CHUNK


_FIRST, _BETWEEN, _LAST = _pieces()


class _Stream(asyncio.Protocol):
    """One connection, and the answer that it carries."""

    def __init__(self, wheel: _Wheel) -> None:
        self._wheel = wheel
        self._cut = RequestCutter().cut
        self._left = self._tick = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = Wire(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        if self._cut(data) and not self._left:
            self._left = CHUNKS
            self._tick = self._wheel.add(self)

    def go_on(self) -> bool:
        """Write a chunk; false when it was the last, or nobody is there to read it."""
        wire = self._wire
        left = self._left = self._left - 1
        if not wire.is_open():
            return False
        try:
            if left == 0:
                wire.write(_LAST.replace(_MARK, b"%d" % told_of(self._tick)))
            else:
                wire.write(_BETWEEN if left < CHUNKS - 1 else _FIRST)
        except OSError:  # the other side has gone
            return False
        return left > 0


class _Wheel:
    """Each tick writes a chunk of the streams of one slot, so that every stream has its turn once in a gap."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._slots: list[list[_Stream]] = [[] for _ in range(_SLOTS)]
        self._next = perf_counter_ns() // TICK_NS + 1
        self._alarm = alarm_on(loop)(self._turn)
        self._alarm.set(self._next * TICK_NS)

    def add(self, stream: _Stream) -> int:
        """The tick that its first chunk will be due at."""
        self._slots[self._next % _SLOTS].append(stream)
        return self._next

    def _turn(self) -> None:
        """After a late wake everything that was due is written, tick by tick."""
        now_ns = perf_counter_ns()
        while self._next * TICK_NS <= now_ns:
            slot = self._next % _SLOTS
            self._slots[slot] = [stream for stream in self._slots[slot] if stream.go_on()]
            self._next += 1
        self._alarm.set(self._next * TICK_NS)


class NullStreams:
    """Makes a protocol for each connection; all of them share the loop that they are made on."""

    def __init__(self) -> None:
        self._wheel: _Wheel | None = None

    def __call__(self) -> asyncio.Protocol:
        if self._wheel is None:
            self._wheel = _Wheel(asyncio.get_running_loop())
        return _Stream(self._wheel)


if __name__ == "__main__":
    serve_until_stdin_closes(NullStreams(), 0)
