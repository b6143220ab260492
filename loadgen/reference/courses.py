"""How an answer goes out: its bytes, each at its time, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from loadgen.reference.script import Reply, Stream

_BUFFERED_BYTES = 2**20
"""A reader this far behind is waited for."""
_JOINED_BYTES = 16_384
_PATIENCE_NS = 1_000_000
_NO_LINGER = struct.pack("ii", 1, 0)

End = Literal["open", "close", "reset", "repeat"]


class Course(NamedTuple):
    """`pieces` go out at `offsets_ns` from the request, ascending; the last `repeated` again and again if so ended."""

    offsets_ns: Sequence[int]
    pieces: Sequence[bytes]
    end: End = "open"
    repeated: int = 0
    period_ns: int = 0


class Wire:
    """One connection. Bytes go straight into the socket where they can, so that they leave when they should."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        # Windows has no write to a socket
        is_plain = transport.get_extra_info("ssl_object") is None and sys.platform != "win32"
        self._fd: int | None = transport.get_extra_info("socket").fileno() if is_plain else None

    def write(self, data: bytes) -> None:
        transport = self._transport
        if self._fd is not None and not transport.get_write_buffer_size():
            with contextlib.suppress(BlockingIOError):
                sent = os.write(self._fd, data)
                if sent == len(data):
                    return
                data = data[sent:]
        transport.write(data)

    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def is_full(self) -> bool:
        return self._transport.get_write_buffer_size() > _BUFFERED_BYTES

    def close(self) -> None:
        self._transport.close()

    def reset(self) -> None:
        """Close as a crash does: the other side gets a reset, and what it has not read is lost."""
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()


class ResponsePlayback:
    """A course on its way."""

    __slots__ = ("_at", "_course", "_hold", "_start_ns", "_wire")

    def __init__(self, wire: Wire, course: Course, start_ns: int, hold: Callable[[int], int] | None) -> None:
        self._wire, self._course, self._start_ns, self._hold = wire, course, start_ns, hold
        self._at = 0

    def go(self) -> int | None:
        """Send what is due, and tell when to go on; None when that was all."""
        wire, (offsets, pieces, end, repeated, period_ns) = self._wire, self._course
        now_ns = time.perf_counter_ns()
        try:
            while wire.is_open():
                if self._at == len(pieces):
                    if end != "repeat":
                        self._finish()
                        return None
                    self._at -= repeated
                    self._start_ns += period_ns
                due_ns = self._start_ns + offsets[self._at]
                if self._hold is not None:
                    due_ns = self._hold(due_ns)
                if due_ns > now_ns:
                    return due_ns
                if wire.is_full():
                    return now_ns + _PATIENCE_NS
                wire.write(pieces[self._at])
                self._at += 1
        except OSError:  # the other side has gone
            wire.close()
        return None

    def _finish(self) -> None:
        if self._course.end == "close":
            self._wire.close()
        elif self._course.end == "reset":
            self._wire.reset()


def course_of_stream(stream: Stream, delay_ns: int) -> Course:
    repeated = stream.repeated if stream.end == "repeat" else 0
    whole = len(stream.pieces) - repeated
    pieces = [*_together(stream.pieces[:whole]), *stream.pieces[whole:]]
    offsets = [delay_ns + round(at_s * 1e9) for at_s, _ in pieces]
    return Course(offsets, [data for _, data in pieces], stream.end, repeated, round(stream.period_s * 1e9))


def _together(pieces: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Small ones that are due together, as one."""
    joined: list[tuple[float, bytes]] = []
    for at_s, data in pieces:
        if joined and joined[-1][0] == at_s and len(joined[-1][1]) + len(data) < _JOINED_BYTES:
            joined[-1] = (at_s, joined[-1][1] + data)
        else:
            joined.append((at_s, data))
    return joined


_MILLISECOND_NS = 1_000_000
_CLOSING = ("until-close", "close-after", "close-unsaid", "cut-body", "drop", "http-1.0")


def course_of_reply(reply: Reply, delay_ns: int, *, is_head: bool) -> Course:
    manner = reply.manner
    head, body = _parts(reply)
    end: End = "close" if manner in _CLOSING else "reset" if manner == "reset" else "open"
    if manner in ("hang", "drop", "reset"):
        return Course([delay_ns], [b""], end)
    if is_head:
        body = b""
    whole, slow = {"slow-head": (b"", head + body), "slow-body": (head, body)}.get(manner, (head + body, b""))
    pieces = [whole, *(slow[at : at + 1] for at in range(len(slow)))]
    return Course([delay_ns + _MILLISECOND_NS * at for at in range(len(pieces))], pieces, end)


def _parts(reply: Reply) -> tuple[bytes, bytes]:
    """Head and body as they are on the wire."""
    if reply.manner == "garbage":
        return b"this is not HTTP\r\n\r\n", b""
    body, fields = reply.body, [f"{name}: {value}" for name, value in reply.headers]
    if reply.manner == "chunked":
        fields.append("Transfer-Encoding: chunked")
        half = len(body) // 2
        body = b"".join(chunk(part) for part in (body[:half], body[half:]) if part) + LAST_CHUNK
    elif reply.manner not in ("until-close", "http-1.0"):
        fields.append(f"Content-Length: {len(body)}")
    if reply.manner == "close-after":
        fields.append("Connection: close")
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" if reply.manner == "interim" else b""
    if reply.manner == "cut-body":
        body = body[: len(body) // 2]
    return interim + head_bytes(reply.status, fields, "1.0" if reply.manner == "http-1.0" else "1.1"), body


LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head_bytes(status: int, fields: Sequence[str], version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status} Scripted", *fields, "", ""]).encode()
