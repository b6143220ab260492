"""One HTTP/1.1 connection: one request at a time, timestamps before parsing.

Requests are built for the endpoint's first URL; what another way to send asks for is changed when
they are sent.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from time import perf_counter_ns
from typing import cast

from loadgen.transport.address import Address
from loadgen.transport.answers import AnswerParser, KnownHeads, ReceivedBytes, not_http
from loadgen.transport.exchange import Exchange
from loadgen.transport.proxy import Proxy
from loadgen.transport.tls import tls_failure

Rewrite = Callable[[bytes], bytes]


def rewrite_for(address: Address, built_for: Address, proxy: Proxy | None) -> Rewrite | None:
    """What a request built for `built_for` needs on its way to `address`, through `proxy` if there is one.

    A tunnel carries requests as they are, so that to an https address the proxy asks for nothing.
    """
    rehost = None if address.authority == built_for.authority else _with_host(address, built_for)
    if proxy is None or address.is_tls:
        return rehost
    through = _in_absolute_form(address, proxy)
    return through if rehost is None else lambda request: through(rehost(request))


def _with_host(address: Address, built_for: Address) -> Rewrite:
    """The Host header is the first; one that the user wrote otherwise stays."""
    built = f"\r\nHost: {built_for.authority}\r\n".encode()
    wanted = f"\r\nHost: {address.authority}\r\n".encode()

    def rewrite(request: bytes) -> bytes:
        at = request.find(b"\r\n")
        if not request.startswith(built, at):
            return request
        return b"".join((request[:at], wanted, request[at + len(built) :]))

    return rewrite


def _in_absolute_form(address: Address, proxy: Proxy) -> Rewrite:
    origin = f"http://{address.authority}".encode()
    credentials = b"" if proxy.authorization is None else f"Proxy-Authorization: {proxy.authorization}\r\n".encode()

    def rewrite(request: bytes) -> bytes:
        path_at = request.find(b" ") + 1
        line_end = request.find(b"\r\n") + 2
        return b"".join((request[:path_at], origin, request[path_at:line_end], credentials, request[line_end:]))

    return rewrite


_LONG_IDLE_NS = 5_000_000
"""A connection idle for longer is looked at before it is used: a stall of ours may have hidden its end from us."""
_PROXY_AUTHENTICATION_REQUIRED = 407


class Connection(asyncio.Protocol):
    """`on_free` gets the connection back when it can carry another request, `on_lost` when it is gone."""

    def __init__(
        self,
        on_free: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
        heads: KnownHeads,
        rewrite: Rewrite | None = None,
        received: ReceivedBytes | None = None,
    ) -> None:
        self._on_free, self._on_lost = on_free, on_lost
        self._heads, self._rewrite = heads, rewrite
        self._answer = AnswerParser(received or ReceivedBytes())
        self._transport: asyncio.Transport | None = None
        self._write: Callable[[bytes], None]
        self._is_closing: Callable[[], bool]
        self._exchange: Exchange | None = None
        self._was_used = False
        self._last_byte_ns = 0
        self.closed_because: str | None = None

    @property
    def can_send(self) -> bool:
        return self._transport is not None and not self._is_closing()

    def send(self, exchange: Exchange) -> bool:
        """False, with nothing done, when the connection is known to be closed."""
        if self._is_closing():
            return False
        now_ns = perf_counter_ns()
        if now_ns - self._last_byte_ns > _LONG_IDLE_NS and self._was_used:
            if self._has_news():
                self.close()
                return False
            now_ns = perf_counter_ns()
        self._exchange = exchange
        exchange.reused = self._was_used
        self._was_used = True
        exchange.sent_ns = self._last_byte_ns = now_ns
        self._write(exchange.request)
        return True

    def is_overdue(self, now_ns: int, idle_ns: int, total_ns: int) -> bool:
        exchange = self._exchange
        return exchange is not None and (
            now_ns - self._last_byte_ns > idle_ns or now_ns - cast(int, exchange.sent_ns) > total_ns
        )

    def cut(self, error: str, detail: str | None = None) -> None:
        """End what is in flight with `error`, and the connection with it; without anything it is kept."""
        if self._exchange is not None:
            self.close()
            self._fail(self._exchange, error, detail)

    def close(self) -> None:
        """At once: a TLS connection would wait for its server to say goodbye."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast(asyncio.Transport, transport)
        # uvloop keeps writes for the end of the loop's turn unless its buffer is full: let it be full at once, so that
        # the request is with the kernel when `send` returns
        stream.set_write_buffer_limits(high=0)
        self._is_closing, self._write = stream.is_closing, stream.write
        if (rewrite := self._rewrite) is not None:
            self._write = lambda request: stream.write(rewrite(request))

    def data_received(self, data: bytes) -> None:
        now_ns = perf_counter_ns()
        exchange = self._exchange
        if exchange is None:
            # nothing was asked, so what follows cannot be told from the next answer
            self.closed_because = not_http(data)
            self.close()
            return
        if exchange.first_byte_ns is None:
            exchange.first_byte_ns = now_ns
            if exchange.reader is None and not exchange.is_head:
                latest = self._heads.latest
                is_like_latest = len(data) == latest.length and data.startswith(latest.head)
                known = latest if is_like_latest else self._heads.find(data)
                if known is not None:
                    exchange.end_ns = self._last_byte_ns = now_ns
                    exchange.status = known.status
                    exchange.headers = known.headers
                    exchange.body = data[len(known.head) :]
                    exchange.bytes_received = known.length
                    self._end(exchange)
                    return
            self._answer.start(exchange)
        self._last_byte_ns = now_ns
        self._read(exchange, data)

    def connection_lost(self, error: Exception | None) -> None:
        exchange = self._exchange
        if exchange is not None:
            if exchange.first_byte_ns is not None:
                self._lose_answer(exchange, error)
            elif isinstance(error, ssl.SSLError):  # a TLS 1.3 server judges its client after the handshake
                self._fail(exchange, "tls", tls_failure(error))
            else:
                self._fail(exchange, "send")
        self._on_lost(self)
        self._answer.release()

    def _read(self, exchange: Exchange, data: bytes) -> None:
        answer = self._answer
        answer.feed(data, self._last_byte_ns)
        exchange.bytes_received = answer.received
        if answer.error is not None:
            self.cut(answer.error, answer.detail)
        elif answer.status == _PROXY_AUTHENTICATION_REQUIRED:
            self.cut("connect", "the proxy refused: status 407")
        elif answer.is_complete:
            self._take_answer(exchange)
            if answer.keeps_alive and answer.received == len(data) and exchange.reader is None and not exchange.is_head:
                self._heads.learn(data, answer.status, answer.headers, len(exchange.body))
            self._end(exchange, answer.keeps_alive)

    def _end(self, exchange: Exchange, keeps_alive: bool = True) -> None:
        self._exchange = None
        # the connection first: an arrival that waits for it is not to wait for the answer to be judged
        if keeps_alive:
            self._on_free(self)
        else:
            self.close()
        exchange.on_done(exchange)

    def _lose_answer(self, exchange: Exchange, error: Exception | None) -> None:
        if error is None and self._answer.ends_with_connection():
            self._take_answer(exchange)
            self._end(exchange, keeps_alive=False)
        else:
            self._fail(exchange, "truncated")

    def _take_answer(self, exchange: Exchange) -> None:
        exchange.end_ns = self._last_byte_ns
        exchange.status = self._answer.status
        exchange.headers = self._answer.headers
        exchange.body = self._answer.take_body()

    def _fail(self, exchange: Exchange, error: str, detail: str | None = None) -> None:
        self._exchange = None
        exchange.end_ns = perf_counter_ns()
        exchange.error, exchange.detail = error, detail
        if exchange.first_byte_ns is not None:
            exchange.status = self._answer.status or None
            self._answer.drop_body()
        exchange.on_done(exchange)

    def _has_news(self) -> bool:
        """Something can be read. On an idle connection that is its end, which the loop has not come to yet."""
        fileno = cast(asyncio.Transport, self._transport).get_extra_info("socket").fileno()
        if not hasattr(select, "poll"):  # Windows, whose select() takes any number of sockets
            return bool(select.select([fileno], [], [], 0)[0])
        poll = select.poll()
        poll.register(fileno, select.POLLIN)
        return bool(poll.poll(0))
