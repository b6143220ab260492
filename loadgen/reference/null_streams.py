"""Run a no-op streaming server: `python -m loadgen.reference.null_streams`.

The response to every request is a chat completion of `CHUNK_COUNT` chunks, written at intervals of
`GAP_NS` nanoseconds. The maximum rate of chunks that a load generator reads on time is the capacity
of the load generator. The server prints its port, and exits when standard input closes.
"""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import cast

from loadgen.pacing import get_timer_factory
from loadgen.reference.child import RequestSplitter, serve_until_stdin_closes
from loadgen.reference.openai_events import SSE, Generation, build_openai_stream
from loadgen.reference.playback import LAST_CHUNK, SocketWriter, encode_chunk, encode_head

CHUNK_COUNT = 32
GAP_NS = 10_000_000
TICK_NS = 2_000_000
"""Period in ns of the timer that all streams share. Chunks are due at integer multiples of this
period on CLOCK_MONOTONIC."""
_MIN_ENCODED, _ENCODED_RANGE = 1_000_000, 5_000_000
_SLOT_COUNT = GAP_NS // TICK_NS
_PLACEHOLDER = b"1234567"


def encode_tick(tick: int) -> int:
    """Encode the tick at which the first chunk of a response was due. The response reports the code
    as its number of input tokens.

    The code always has seven digits, so that all responses have the same length.
    """
    return _MIN_ENCODED + tick % _ENCODED_RANGE


def decode_due_ns(encoded_tick: int, max_due_ns: int) -> int:
    """Return the time in ns at which the first chunk of a response was due, from the code that the
    response reports.

    Codes repeat every 10,000 s. The latest matching time at or before `max_due_ns` is returned.
    """
    return max_due_ns - (max_due_ns - (encoded_tick - _MIN_ENCODED) * TICK_NS) % (_ENCODED_RANGE * TICK_NS)


def _build_response_parts() -> tuple[bytes, bytes, bytes]:
    """Return the parts of a response: the head with the first chunk, a middle chunk, and the last
    chunk with the end of the body."""
    generation = Generation(tokens=CHUNK_COUNT, has_role_chunk=False, reported_tokens=(int(_PLACEHOLDER), CHUNK_COUNT))
    events = [encode_chunk(data) for _, data in build_openai_stream(generation, 0.0, 0.0)]
    head = encode_head(200, [*SSE, "Transfer-Encoding: chunked"])
    return head + events[0], events[1], b"".join(events[CHUNK_COUNT - 1 :]) + LAST_CHUNK


_FIRST_CHUNK, _MIDDLE_CHUNK, _LAST_CHUNK = _build_response_parts()


class _Stream(asyncio.Protocol):
    """Connection to a client, and the stream that is being sent on the connection."""

    def __init__(self, wheel: _TimerWheel) -> None:
        self._wheel = wheel
        self._split_requests = RequestSplitter().split
        self._remaining_chunk_count = self._tick = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._writer = SocketWriter(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        if self._split_requests(data) and not self._remaining_chunk_count:
            self._remaining_chunk_count = CHUNK_COUNT
            self._tick = self._wheel.add(self)

    def write_chunk(self) -> bool:
        """Write the next chunk of the stream. Return False after the last chunk, or if the client
        has closed the connection."""
        writer = self._writer
        remaining_chunk_count = self._remaining_chunk_count = self._remaining_chunk_count - 1
        if not writer.is_open():
            return False
        try:
            if remaining_chunk_count == 0:
                writer.write(_LAST_CHUNK.replace(_PLACEHOLDER, b"%d" % encode_tick(self._tick)))
            else:
                writer.write(_MIDDLE_CHUNK if remaining_chunk_count < CHUNK_COUNT - 1 else _FIRST_CHUNK)
        except OSError:  # the client has closed the connection
            return False
        return remaining_chunk_count > 0


class _TimerWheel:
    """Timer wheel of all streams. Each tick writes one chunk to every stream in one slot, so that
    each stream gets one chunk per `GAP_NS`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._slots: list[list[_Stream]] = [[] for _ in range(_SLOT_COUNT)]
        self._next_tick = perf_counter_ns() // TICK_NS + 1
        self._timer = get_timer_factory(loop)(self._on_tick)
        self._timer.set(self._next_tick * TICK_NS)

    def add(self, stream: _Stream) -> int:
        """Add a stream to the timer wheel. Return the tick at which the first chunk of the stream
        is due."""
        self._slots[self._next_tick % _SLOT_COUNT].append(stream)
        return self._next_tick

    def _on_tick(self) -> None:
        """Write all chunks that are due. After a late wake-up, the chunks of missed ticks are
        written too, tick by tick."""
        now_ns = perf_counter_ns()
        while self._next_tick * TICK_NS <= now_ns:
            slot_index = self._next_tick % _SLOT_COUNT
            self._slots[slot_index] = [stream for stream in self._slots[slot_index] if stream.write_chunk()]
            self._next_tick += 1
        self._timer.set(self._next_tick * TICK_NS)


class NullStreamProtocolFactory:
    """Factory of the asyncio protocol for each connection. All connections share one timer wheel on
    the running event loop."""

    def __init__(self) -> None:
        self._wheel: _TimerWheel | None = None

    def __call__(self) -> asyncio.Protocol:
        if self._wheel is None:
            self._wheel = _TimerWheel(asyncio.get_running_loop())
        return _Stream(self._wheel)


if __name__ == "__main__":
    serve_until_stdin_closes(NullStreamProtocolFactory(), 0)
