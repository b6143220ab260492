"""HTTP/1.1 connection that sends one request at a time. Responses are timestamped before they are
parsed.

Requests are built for the endpoint's first URL. If another replica or a proxy requires a different
request, the request is rewritten when it is sent.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from time import perf_counter_ns
from typing import cast

from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange
from loadgen.transport.proxy import Proxy
from loadgen.transport.responses import HeadCache, ReceivedBytes, ResponseParser, describe_non_http
from loadgen.transport.tls import describe_tls_failure

Rewrite = Callable[[bytes], bytes]


def build_rewrite(address: Address, request_address: Address, proxy: Proxy | None) -> Rewrite | None:
    """Build a function that rewrites requests for `request_address` to requests for `address`
    through `proxy`. Return None if requests need not be rewritten.

    A proxy requires no rewriting for an https address, because the tunnel transfers requests
    unchanged.
    """
    rewrite_host = (
        None if address.authority == request_address.authority else _build_host_rewriter(address, request_address)
    )
    if proxy is None or address.is_tls:
        return rewrite_host
    rewrite_target = _build_absolute_form_rewriter(address, proxy)
    return rewrite_target if rewrite_host is None else lambda request: rewrite_target(rewrite_host(request))


def _build_host_rewriter(address: Address, request_address: Address) -> Rewrite:
    """Build a function that replaces the generated Host header of a request, which is the first
    header. A Host header that the user has set is not changed."""
    old_host = f"\r\nHost: {request_address.authority}\r\n".encode()
    new_host = f"\r\nHost: {address.authority}\r\n".encode()

    def rewrite(request: bytes) -> bytes:
        line_end = request.find(b"\r\n")
        if not request.startswith(old_host, line_end):
            return request
        return b"".join((request[:line_end], new_host, request[line_end + len(old_host) :]))

    return rewrite


def _build_absolute_form_rewriter(address: Address, proxy: Proxy) -> Rewrite:
    origin = f"http://{address.authority}".encode()
    credentials = b"" if proxy.authorization is None else f"Proxy-Authorization: {proxy.authorization}\r\n".encode()

    def rewrite(request: bytes) -> bytes:
        path_start = request.find(b" ") + 1
        line_end = request.find(b"\r\n") + 2
        return b"".join((request[:path_start], origin, request[path_start:line_end], credentials, request[line_end:]))

    return rewrite


_LONG_IDLE_NS = 5_000_000
"""Idle time in ns after which a connection is checked before it is used again. The event loop may
not yet have noticed that the server has closed the connection."""
PROXY_AUTHENTICATION_REQUIRED = 407


class Connection(asyncio.Protocol):
    """HTTP/1.1 connection.

    `on_free` is called when the connection can send the next request, and `on_lost` when the
    connection is closed.
    """

    def __init__(
        self,
        on_free: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
        head_cache: HeadCache,
        rewrite: Rewrite | None = None,
        received_bytes: ReceivedBytes | None = None,
    ) -> None:
        self._on_free, self._on_lost = on_free, on_lost
        self._head_cache, self._rewrite = head_cache, rewrite
        self._response_parser = ResponseParser(received_bytes or ReceivedBytes())
        self._transport: asyncio.Transport | None = None
        self._write: Callable[[bytes], None]
        self._is_closing: Callable[[], bool]
        self._exchange: Exchange | None = None
        self._was_used = False
        self._last_byte_ns = 0
        self.close_reason: str | None = None

    @property
    def can_send(self) -> bool:
        return self._transport is not None and not self._is_closing()

    @property
    def descriptor(self) -> int:
        """File descriptor of the open connection."""
        return int(cast(asyncio.Transport, self._transport).get_extra_info("socket").fileno())

    def send(self, exchange: Exchange) -> bool:
        """Send the request of an exchange. Return False without sending the request if the
        connection is known to be closed."""
        if self._is_closing():
            return False
        now_ns = perf_counter_ns()
        if now_ns - self._last_byte_ns > _LONG_IDLE_NS and self._was_used:
            if self._is_readable():
                self.close()
                return False
            now_ns = perf_counter_ns()
        self._exchange = exchange
        exchange.reused = self._was_used
        self._was_used = True
        exchange.sent_ns = self._last_byte_ns = now_ns
        self._write(exchange.request)
        return True

    @property
    def last_used_ns(self) -> int:
        """Time in ns at which the connection was opened, or last received a byte of a response."""
        return self._last_byte_ns

    def is_overdue(self, now_ns: int, idle_ns: int, total_ns: int) -> bool:
        exchange = self._exchange
        return exchange is not None and (
            now_ns - self._last_byte_ns > idle_ns or now_ns - cast(int, exchange.sent_ns) > total_ns
        )

    def abort(self, error: str, detail: str | None = None) -> None:
        """End the request in flight with `error`, and close the connection. Do nothing if no
        request is in flight."""
        if self._exchange is not None:
            self.close()
            self._fail(self._exchange, error, detail)

    def close(self) -> None:
        """Close the connection immediately, without waiting for the close notification of a TLS
        server."""
        if self._transport is not None:
            self._transport.abort()

    # Methods of asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast(asyncio.Transport, transport)
        # uvloop delays writes until the end of the loop iteration unless its buffer is full: with a
        # limit of 0, the kernel has the request when `send` returns.
        stream.set_write_buffer_limits(high=0)
        self._last_byte_ns = perf_counter_ns()
        self._is_closing, self._write = stream.is_closing, stream.write
        if (rewrite := self._rewrite) is not None:
            self._write = lambda request: stream.write(rewrite(request))

    def data_received(self, data: bytes) -> None:
        now_ns = perf_counter_ns()
        exchange = self._exchange
        if exchange is None:
            # Unrequested data could not be distinguished from the next response.
            self.close_reason = describe_non_http(data)
            self.close()
            return
        if exchange.first_byte_ns is None:
            exchange.first_byte_ns = now_ns
            if exchange.reader is None and not exchange.is_head:
                latest_head = self._head_cache.latest_head
                is_latest_head = len(data) == latest_head.response_length and data.startswith(latest_head.head)
                cached_head = latest_head if is_latest_head else self._head_cache.find(data)
                if cached_head is not None:
                    exchange.end_ns = self._last_byte_ns = now_ns
                    exchange.status = cached_head.status
                    exchange.headers = cached_head.headers
                    exchange.body = data[len(cached_head.head) :]
                    exchange.bytes_received = cached_head.response_length
                    self._end(exchange)
                    return
            self._response_parser.start(exchange)
        self._last_byte_ns = now_ns
        self._parse(exchange, data)

    def connection_lost(self, error: Exception | None) -> None:
        exchange = self._exchange
        if exchange is not None:
            if exchange.first_byte_ns is not None:
                self._end_unfinished(exchange, error)
            elif isinstance(error, ssl.SSLError):  # a TLS 1.3 server checks its client after the handshake
                self._fail(exchange, "tls", describe_tls_failure(error))
            else:
                self._fail(exchange, "send")
        self._on_lost(self)
        self._response_parser.release()

    def _parse(self, exchange: Exchange, data: bytes) -> None:
        parser = self._response_parser
        parser.feed(data, self._last_byte_ns)
        exchange.bytes_received = parser.bytes_received
        if parser.error is not None:
            self.abort(parser.error, parser.detail)
        elif parser.status == PROXY_AUTHENTICATION_REQUIRED:
            self.abort("connect", "the proxy rejected the request with status 407")
        elif parser.is_complete:
            self._store_response(exchange)
            if (
                parser.is_keep_alive
                and parser.bytes_received == len(data)
                and exchange.reader is None
                and not exchange.is_head
                and not parser.is_compressed  # the body of a cached head is used as it is
            ):
                self._head_cache.add(data, parser.status, parser.headers, len(exchange.body))
            self._end(exchange, parser.is_keep_alive)

    def _end(self, exchange: Exchange, is_keep_alive: bool = True) -> None:
        self._exchange = None
        # Free the connection first, so that a waiting request does not also wait for the response
        # check.
        if is_keep_alive:
            self._on_free(self)
        else:
            self.close()
        exchange.on_done(exchange)

    def _end_unfinished(self, exchange: Exchange, error: Exception | None) -> None:
        if error is None and self._response_parser.is_ended_by_connection():
            self._store_response(exchange)
            self._end(exchange, is_keep_alive=False)
        else:
            self._fail(exchange, "truncated")

    def _store_response(self, exchange: Exchange) -> None:
        exchange.end_ns = self._last_byte_ns
        exchange.status = self._response_parser.status
        exchange.headers = self._response_parser.headers
        exchange.body = self._response_parser.pop_body()
        exchange.error, exchange.detail = self._response_parser.error, self._response_parser.detail

    def _fail(self, exchange: Exchange, error: str, detail: str | None = None) -> None:
        self._exchange = None
        exchange.end_ns = perf_counter_ns()
        exchange.error, exchange.detail = error, detail
        if exchange.first_byte_ns is not None:
            exchange.status = self._response_parser.status or None
            self._response_parser.drop_body()
        exchange.on_done(exchange)

    def _is_readable(self) -> bool:
        """Return True if data or the end of the stream can be read. On an idle connection, this
        means that the server has closed the connection, and that the event loop has not noticed
        this yet."""
        fileno = self.descriptor
        if not hasattr(select, "poll"):  # Windows, whose select() accepts any number of sockets
            return bool(select.select([fileno], [], [], 0)[0])
        poller = select.poll()
        poller.register(fileno, select.POLLIN)
        return bool(poller.poll(0))
