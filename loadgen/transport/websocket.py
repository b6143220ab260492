"""WebSocket connections (RFC 6455). Each connection carries one dialog of text messages.

An exchange is one dialog: its request is the upgrade request of HTTP, followed by the content that
the dialog sends after the upgrade. The reader of the exchange conducts the dialog.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from time import perf_counter_ns
from typing import Protocol, cast

from wsproto.connection import Connection as FrameConnection
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from loadgen.records import Endpoint
from loadgen.transport.connection import PROXY_AUTHENTICATION_REQUIRED, Connection
from loadgen.transport.exchange import Exchange, Headers, StreamReader, Transport, find_header
from loadgen.transport.http_transport import create_http_transport
from loadgen.transport.pool import ConnectionPool
from loadgen.transport.responses import describe_non_http
from loadgen.transport.tls import describe_tls_failure

KEY = b"c2l6ZXdpc2Ugd2Vic29jaw=="
"""Key of all upgrade requests, to which the server responds with a hash of it."""
MAX_MESSAGE_BYTES = 2 * 2**20
_MAX_HEAD_BYTES = 2**16
_MAX_BYTES_RECEIVED = 2**31 - 1
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9])(?: |$)")
_SWITCHING_PROTOCOLS = 101


class Dialog(StreamReader, Protocol):
    """Reader of the messages of a server, which also decides when the client sends which message.

    `feed` reads one message of the server.
    """

    @property
    def is_complete(self) -> bool:
        """True if the dialog has ended, so that the connection can be closed."""
        ...

    def open(self, content: bytes, /) -> None:
        """Begin the dialog with the content of the request."""
        ...

    def take_messages(self, now_ns: int, /) -> tuple[list[str], int | None]:
        """Return the messages that must be sent now, and the time of the next message in ns; None if
        there is none, or if it depends on the server."""
        ...

    def extend_deadline(self, deadline_ns: int, /) -> int:
        """Return the deadline of the dialog, which for a request would be `deadline_ns`."""
        ...


def create_websocket_transport(loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> Transport:
    """Create a transport for an endpoint whose URLs begin with http:// or https://, as those of the
    upgrade requests. Raises EndpointError if the endpoint's settings are invalid."""
    return create_http_transport(loop, endpoint, WebSocketPool)


class WebSocketPool(ConnectionPool):
    """Pool of WebSocket connections. Each connection is closed at the end of its dialog."""

    def _create_connection(self) -> Connection:
        return WebSocketConnection(
            self._close_connection, self._on_lost, self._head_cache, self._rewrite, self._received_bytes
        )


class WebSocketConnection(Connection):
    """WebSocket connection, which sends the messages of one dialog at their times."""

    _head = b""
    _content = b""
    _message_bytes = 0
    _frames: FrameConnection | None = None
    _timer: asyncio.TimerHandle | None = None
    _dialog: Dialog
    _parts: list[str]

    def send(self, exchange: Exchange) -> bool:
        if self._is_closing():
            return False
        head_end = exchange.request.find(b"\r\n\r\n") + 4
        self._exchange, self._dialog = exchange, cast(Dialog, exchange.reader)
        self._content, self._parts = exchange.request[head_end:], []
        exchange.sent_ns = self._last_byte_ns = perf_counter_ns()
        self._write(exchange.request[:head_end])
        return True

    def is_overdue(self, now_ns: int, idle_ns: int, total_ns: int) -> bool:
        exchange = self._exchange
        if exchange is None:
            return False
        deadline_ns = self._dialog.extend_deadline(cast(int, exchange.sent_ns) + total_ns)
        return now_ns - self._last_byte_ns > idle_ns or now_ns > deadline_ns

    def data_received(self, data: bytes) -> None:
        now_ns = perf_counter_ns()
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        self._last_byte_ns = now_ns
        exchange.first_byte_ns = exchange.first_byte_ns or now_ns
        exchange.bytes_received += len(data)
        if exchange.bytes_received > _MAX_BYTES_RECEIVED:
            self.abort("bad-payload", "the dialog exceeds 2 GiB")
            return
        if self._frames is None:
            self._read_head(exchange, data, now_ns)
        else:
            self._frames.receive_data(data)
            self._read_frames(exchange, self._frames, now_ns)

    def connection_lost(self, error: Exception | None) -> None:
        exchange = self._exchange
        if exchange is not None:
            if exchange.first_byte_ns is not None:
                self._fail(exchange, "truncated")
            elif isinstance(error, ssl.SSLError):
                self._fail(exchange, "tls", describe_tls_failure(error))
            else:
                self._fail(exchange, "send")
        self._on_lost(self)

    def _read_head(self, exchange: Exchange, data: bytes, now_ns: int) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(head) > _MAX_HEAD_BYTES or not b"HTTP/1.1 ".startswith(head[:9]):
                self.abort("bad-payload", describe_non_http(head))
            return
        status_line, *lines = head.split(b"\r\n")
        match = _STATUS_LINE.match(status_line)
        if match is None:
            self.abort("bad-payload", describe_non_http(head))
            return
        self._head = b""
        exchange.status, exchange.headers = int(match[1]), _parse_headers(lines)
        if exchange.status == PROXY_AUTHENTICATION_REQUIRED:
            self.abort("connect", "the proxy rejected the request with status 407")
        elif exchange.status != _SWITCHING_PROTOCOLS:
            exchange.end_ns = now_ns
            exchange.detail = "the server does not upgrade to WebSocket"
            self._end(exchange)
        elif find_header(exchange.headers, b"sec-websocket-accept") != generate_accept_token(KEY):
            self.abort("bad-payload", "the server accepts another upgrade request than that of the client")
        else:
            self._frames = FrameConnection(ConnectionType.CLIENT, trailing_data=rest)
            self._dialog.open(self._content)
            self._read_frames(exchange, self._frames, now_ns)

    def _read_frames(self, exchange: Exchange, frames: FrameConnection, now_ns: int) -> None:
        for event in frames.events():
            if isinstance(event, TextMessage):
                self._read_text(event, now_ns)
            elif isinstance(event, BytesMessage):
                self.abort("bad-payload", "the server sends binary messages")
            elif isinstance(event, Ping):
                self._write_frame(frames.send(event.response()))
            elif isinstance(event, CloseConnection):
                self._read_close(event, frames)
            if self._exchange is not exchange:
                return
            if self._dialog.is_complete:  # what follows is not read
                break
        if self._dialog.is_complete:
            exchange.end_ns = now_ns
            self._write_frame(frames.send(CloseConnection(code=1000)))
            self._end(exchange)
        else:
            self._send_messages()

    def _read_text(self, event: TextMessage, now_ns: int) -> None:
        """Read a part of a message, which a server may divide anywhere."""
        if event.data:
            self._parts.append(event.data)
            self._message_bytes += len(event.data)
        if self._message_bytes > MAX_MESSAGE_BYTES:
            self.abort("bad-payload", f"a message exceeds {MAX_MESSAGE_BYTES >> 20} MiB")
        elif event.message_finished:
            message = "".join(self._parts)
            self._parts.clear()
            self._message_bytes = 0
            self._read_message(message, now_ns)

    def _read_message(self, message: str, now_ns: int) -> None:
        try:
            error, detail = self._dialog.feed(message.encode(), now_ns), self._dialog.detail
        except Exception as reader_error:  # a failing reader fails the request, not the run
            error, detail = "bad-payload", f"the response reader failed: {type(reader_error).__name__}"
        if error is not None:
            self.abort(error, detail)

    def _read_close(self, event: CloseConnection, frames: FrameConnection) -> None:
        if frames.state is ConnectionState.OPEN:  # the frame could not be parsed
            self.abort("bad-payload", "the server sends invalid WebSocket frames")
        else:
            self.abort("truncated", f"the server closed the WebSocket with code {int(event.code)}")

    def _send_messages(self) -> None:
        self._cancel_timer()
        if self._exchange is None or self._frames is None:
            return
        messages, next_ns = self._dialog.take_messages(perf_counter_ns())
        for message in messages:
            self._write_frame(self._frames.send(TextMessage(data=message)))
            self._last_byte_ns = perf_counter_ns()
        if next_ns is not None:
            delay_s = max(0.0, (next_ns - perf_counter_ns()) / 1e9)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._send_messages)

    def _end(self, exchange: Exchange, is_keep_alive: bool = True) -> None:
        self._cancel_timer()
        super()._end(exchange, is_keep_alive)

    def _fail(self, exchange: Exchange, error: str, detail: str | None = None) -> None:
        self._cancel_timer()
        self._exchange = None
        exchange.end_ns, exchange.error, exchange.detail = perf_counter_ns(), error, detail
        exchange.on_done(exchange)

    def _write_frame(self, data: bytes) -> None:
        """Write a frame unchanged. Only the upgrade request is rewritten for a replica or a proxy."""
        cast(asyncio.Transport, self._transport).write(data)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _parse_headers(lines: list[bytes]) -> Headers:
    pairs = (line.partition(b":") for line in lines)
    return [(name.strip(), value.strip()) for name, _, value in pairs]
