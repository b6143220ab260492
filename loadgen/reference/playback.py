"""Response scripts (the bytes of a response, their send times, and the end of the connection), and
their playback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from loadgen.reference.script import End, Ending, Reply, Stream

_BUFFERED_BYTES = 2**20
"""Size of the write buffer in bytes above which the playback pauses until the client has read
more."""
_JOINED_BYTES = 16_384
_RETRY_NS = 1_000_000
_NO_LINGER = struct.pack("ii", 1, 0)


class ResponseScript(NamedTuple):
    """Bytes of a response with their send times, and what follows the last piece. `pieces` are sent
    `offsets_ns` after the request, in ascending order."""

    offsets_ns: Sequence[int]
    pieces: Sequence[bytes]
    ending: Ending = Ending()


class SocketWriter:
    """Writer of one connection, which bypasses the event loop and writes directly to the socket if
    possible, so that data is sent on time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        # Direct writes are not possible with TLS and on Windows.
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
        """Reset the connection, as if the process had crashed: the peer loses all data that it has
        not read."""
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()


class ResponsePlayback:
    """Playback of one response script on a connection."""

    __slots__ = ("_delay_for_freeze", "_index", "_script", "_start_ns", "_wire")

    def __init__(
        self, wire: SocketWriter, script: ResponseScript, start_ns: int, delay_for_freeze: Callable[[int], int] | None
    ) -> None:
        self._wire, self._script, self._start_ns, self._delay_for_freeze = wire, script, start_ns, delay_for_freeze
        self._index = 0

    def send_due(self) -> int | None:
        """Send the due pieces. Return the time of the next piece in ns, or None after the last
        piece."""
        wire, (offsets, pieces, ending) = self._wire, self._script
        now_ns = time.perf_counter_ns()
        try:
            while wire.is_open():
                if self._index == len(pieces):
                    if ending.end != "repeat":
                        self._finish()
                        return None
                    self._index -= ending.repeated
                    self._start_ns += round(ending.period_s * 1e9)
                due_ns = self._start_ns + offsets[self._index]
                if self._delay_for_freeze is not None:
                    due_ns = self._delay_for_freeze(due_ns)
                if due_ns > now_ns:
                    return due_ns
                if wire.is_full():
                    return now_ns + _RETRY_NS
                wire.write(pieces[self._index])
                self._index += 1
        except OSError:  # the peer has closed the connection
            wire.close()
        return None

    def _finish(self) -> None:
        if self._script.ending.end == "close":
            self._wire.close()
        elif self._script.ending.end == "reset":
            self._wire.reset()


def build_stream_script(stream: Stream, delay_ns: int) -> ResponseScript:
    repeated = stream.repeated if stream.end == "repeat" else 0
    once_count = len(stream.pieces) - repeated
    pieces = [*_join_simultaneous(stream.pieces[:once_count]), *stream.pieces[once_count:]]
    offsets = [delay_ns + round(at_s * 1e9) for at_s, _ in pieces]
    return ResponseScript(offsets, [data for _, data in pieces], stream)


def _join_simultaneous(pieces: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Join small pieces that have the same send time."""
    joined: list[tuple[float, bytes]] = []
    for at_s, data in pieces:
        if joined and joined[-1][0] == at_s and len(joined[-1][1]) + len(data) < _JOINED_BYTES:
            joined[-1] = (at_s, joined[-1][1] + data)
        else:
            joined.append((at_s, data))
    return joined


_MILLISECOND_NS = 1_000_000
_CLOSING = ("until-close", "close-after", "close-unsaid", "cut-body", "drop", "http-1.0")


def build_reply_script(reply: Reply, delay_ns: int, *, is_head: bool) -> ResponseScript:
    mode = reply.mode
    head, body = _encode_head_and_body(reply)
    end: End = "close" if mode in _CLOSING else "reset" if mode == "reset" else "open"
    if mode in ("hang", "drop", "reset"):
        return ResponseScript([delay_ns], [b""], Ending(end=end))
    if is_head:
        body = b""
    immediate, slow = {"slow-head": (b"", head + body), "slow-body": (head, body)}.get(mode, (head + body, b""))
    pieces = [immediate, *(slow[at : at + 1] for at in range(len(slow)))]
    return ResponseScript([delay_ns + _MILLISECOND_NS * index for index in range(len(pieces))], pieces, Ending(end=end))


def _encode_head_and_body(reply: Reply) -> tuple[bytes, bytes]:
    """Return the encoded head and body of a reply."""
    if reply.mode == "garbage":
        return b"this is not HTTP\r\n\r\n", b""
    body, fields = reply.body, [f"{name}: {value}" for name, value in reply.headers]
    if reply.mode == "chunked":
        fields.append("Transfer-Encoding: chunked")
        half = len(body) // 2
        body = b"".join(encode_chunk(part) for part in (body[:half], body[half:]) if part) + LAST_CHUNK
    elif reply.mode not in ("until-close", "http-1.0"):
        fields.append(f"Content-Length: {len(body)}")
    if reply.mode == "close-after":
        fields.append("Connection: close")
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" if reply.mode == "interim" else b""
    if reply.mode == "cut-body":
        body = body[: len(body) // 2]
    return interim + encode_head(reply.status, fields, "1.0" if reply.mode == "http-1.0" else "1.1"), body


LAST_CHUNK = b"0\r\n\r\n"


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_head(status: int, fields: Sequence[str], version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status} Scripted", *fields, "", ""]).encode()
