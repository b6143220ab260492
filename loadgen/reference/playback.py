"""Response scripts and their playback. A response script contains the bytes of a response, their
send times, and what happens to the connection at the end."""

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

_MAX_BUFFERED_BYTES = 2**20
"""Size of the write buffer in bytes above which the playback pauses until the client has read more
data."""
_MAX_JOINED_BYTES = 16_384
_RETRY_NS = 1_000_000
_NO_LINGER = struct.pack("ii", 1, 0)


class ResponseScript(NamedTuple):
    """Pieces of a response with their send times, and the end of the response.

    Piece i is sent `offsets_ns[i]` after the request. The offsets are in ascending order.
    """

    offsets_ns: Sequence[int]
    pieces: Sequence[bytes]
    ending: Ending = Ending()


class SocketWriter:
    """Writer to the socket of one connection. If possible, data is written directly to the socket
    instead of through the event loop, so that it is sent on time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        # Direct writes are not possible with TLS and on Windows.
        is_plain = transport.get_extra_info("ssl_object") is None and sys.platform != "win32"
        self._fd: int | None = transport.get_extra_info("socket").fileno() if is_plain else None

    def write(self, data: bytes) -> None:
        transport = self._transport
        if self._fd is not None and not transport.get_write_buffer_size():
            with contextlib.suppress(BlockingIOError):
                sent_bytes = os.write(self._fd, data)
                if sent_bytes == len(data):
                    return
                data = data[sent_bytes:]
        transport.write(data)

    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def is_full(self) -> bool:
        return self._transport.get_write_buffer_size() > _MAX_BUFFERED_BYTES

    def close(self) -> None:
        self._transport.close()

    def reset(self) -> None:
        """Reset the connection, as if the server process had crashed. The client loses all data
        that it has not read."""
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as duplicate_socket:
            duplicate_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()


class ResponsePlayback:
    """Playback of one response script on a connection."""

    __slots__ = ("_piece_index", "_postpone_during_freeze", "_script", "_start_ns", "_writer")

    def __init__(
        self,
        writer: SocketWriter,
        script: ResponseScript,
        start_ns: int,
        postpone_during_freeze: Callable[[int], int] | None,
    ) -> None:
        self._writer, self._script, self._start_ns = writer, script, start_ns
        self._postpone_during_freeze = postpone_during_freeze
        self._piece_index = 0

    def send_due_pieces(self) -> int | None:
        """Send all pieces that are due. Return the time in ns at which `send_due_pieces` must be
        called again, or None at the end of the response."""
        writer, (offsets_ns, pieces, ending) = self._writer, self._script
        now_ns = time.perf_counter_ns()
        try:
            while writer.is_open():
                if self._piece_index == len(pieces):
                    if ending.end != "repeat":
                        self._finish()
                        return None
                    self._piece_index -= ending.repeated
                    self._start_ns += round(ending.period_s * 1e9)
                due_ns = self._start_ns + offsets_ns[self._piece_index]
                if self._postpone_during_freeze is not None:
                    due_ns = self._postpone_during_freeze(due_ns)
                if due_ns > now_ns:
                    return due_ns
                if writer.is_full():
                    return now_ns + _RETRY_NS
                writer.write(pieces[self._piece_index])
                self._piece_index += 1
        except OSError:  # the peer has closed the connection
            writer.close()
        return None

    def _finish(self) -> None:
        if self._script.ending.end == "close":
            self._writer.close()
        elif self._script.ending.end == "reset":
            self._writer.reset()


def build_stream_script(stream: Stream, delay_ns: int) -> ResponseScript:
    repeated_count = stream.repeated if stream.end == "repeat" else 0
    unrepeated_count = len(stream.pieces) - repeated_count
    pieces = [*_join_simultaneous_pieces(stream.pieces[:unrepeated_count]), *stream.pieces[unrepeated_count:]]
    offsets_ns = [delay_ns + round(send_s * 1e9) for send_s, _ in pieces]
    return ResponseScript(offsets_ns, [data for _, data in pieces], stream)


def _join_simultaneous_pieces(pieces: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Join small pieces of a response that have the same send time."""
    joined_pieces: list[tuple[float, bytes]] = []
    for send_s, data in pieces:
        if (
            joined_pieces
            and joined_pieces[-1][0] == send_s
            and len(joined_pieces[-1][1]) + len(data) < _MAX_JOINED_BYTES
        ):
            joined_pieces[-1] = (send_s, joined_pieces[-1][1] + data)
        else:
            joined_pieces.append((send_s, data))
    return joined_pieces


_MILLISECOND_NS = 1_000_000
_CLOSING_MODES = ("until-close", "close-after", "close-unsaid", "cut-body", "drop", "http-1.0")


def build_reply_script(reply: Reply, delay_ns: int, *, is_head: bool) -> ResponseScript:
    mode = reply.mode
    head, body = _encode_head_and_body(reply)
    end: End = "close" if mode in _CLOSING_MODES else "reset" if mode == "reset" else "open"
    if mode in ("hang", "drop", "reset"):
        return ResponseScript([delay_ns], [b""], Ending(end=end))
    if is_head:
        body = b""
    first_piece, slow_bytes = {"slow-head": (b"", head + body), "slow-body": (head, body)}.get(mode, (head + body, b""))
    pieces = [first_piece, *(slow_bytes[offset : offset + 1] for offset in range(len(slow_bytes)))]
    return ResponseScript([delay_ns + _MILLISECOND_NS * index for index in range(len(pieces))], pieces, Ending(end=end))


def _encode_head_and_body(reply: Reply) -> tuple[bytes, bytes]:
    """Return the head and the body of a reply, as bytes to be sent."""
    if reply.mode == "garbage":
        return b"this is not HTTP\r\n\r\n", b""
    body, fields = reply.body, [f"{name}: {value}" for name, value in reply.headers]
    if reply.mode == "chunked":
        fields.append("Transfer-Encoding: chunked")
        half_length = len(body) // 2
        body = b"".join(encode_chunk(part) for part in (body[:half_length], body[half_length:]) if part) + LAST_CHUNK
    elif reply.mode not in ("until-close", "http-1.0"):
        fields.append(f"Content-Length: {len(body)}")
    if reply.mode == "close-after":
        fields.append("Connection: close")
    interim_response = b"HTTP/1.1 100 Continue\r\n\r\n" if reply.mode == "interim" else b""
    if reply.mode == "cut-body":
        body = body[: len(body) // 2]
    return interim_response + encode_head(reply.status, fields, "1.0" if reply.mode == "http-1.0" else "1.1"), body


LAST_CHUNK = b"0\r\n\r\n"


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_head(status: int, fields: Sequence[str], version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status} Scripted", *fields, "", ""]).encode()
