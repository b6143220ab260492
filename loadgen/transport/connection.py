"""One HTTP/1.1 connection: one request at a time, timestamps before parsing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter_ns
from typing import cast

import httptools

from loadgen.transport.exchange import Exchange, Headers, header_value

MAX_RESPONSE_BYTES = 64 * 2**20


class Connection(asyncio.Protocol):
    """`on_free` gets the connection back when it can carry another request, `on_lost` when it is gone."""

    def __init__(self, on_free: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self._on_free, self._on_lost = on_free, on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._has_headers = False
        self._was_used = False
        self._last_byte_ns = 0

    @property
    def can_send(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        assert self._transport is not None
        self._exchange = exchange
        exchange.reused = self._was_used
        self._was_used = True
        exchange.sent_ns = self._last_byte_ns = perf_counter_ns()
        self._transport.write(exchange.request)

    def is_overdue(self, now_ns: int, idle_ns: int, total_ns: int) -> bool:
        exchange = self._exchange
        return exchange is not None and (
            now_ns - self._last_byte_ns > idle_ns or now_ns - cast(int, exchange.sent_ns) > total_ns
        )

    def cut(self, error: str) -> None:
        """End what is in flight with `error`, and the connection with it."""
        if self._transport is not None:
            self._transport.abort()
        if self._exchange is not None:
            self._fail(error)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # uvloop keeps writes for the end of the loop's turn unless its buffer is full: let it be full at once, so that
        # the request is with the kernel when `send` returns
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        now_ns = perf_counter_ns()
        exchange = self._exchange
        if exchange is None:
            self.close()  # nothing was asked, so what follows cannot be told from the next answer
            return
        if exchange.first_byte_ns is None:
            exchange.first_byte_ns = now_ns
        self._last_byte_ns = now_ns
        exchange.bytes_received += len(data)
        if exchange.bytes_received > MAX_RESPONSE_BYTES:
            self.cut("bad-payload")
            return
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.cut("bad-payload")

    def connection_lost(self, error: Exception | None) -> None:
        exchange = self._exchange
        if exchange is not None:
            if exchange.first_byte_ns is None:
                self._fail("send")
            elif error is None and self._has_headers and self._runs_until_close():
                self._finish(exchange)
                exchange.on_done(exchange)
            else:
                self._fail("truncated")
        self._on_lost(self)
        del self._feed, self._parser  # the parser holds this connection: without the cycle both go at once

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            self._headers = []
            return
        self._has_headers = True
        if self._exchange is not None and self._exchange.is_head:
            self._complete(self._exchange)
            # the old parser waits for a body that a HEAD never gets
            self._parser = httptools.HttpResponseParser(self)
            self._feed = self._parser.feed_data

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.reader is not None and 200 <= self._parser.get_status_code() < 300:
            error = exchange.reader.feed(body, self._last_byte_ns)
            if error is not None:
                self.cut(error)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._has_headers and self._exchange is not None:
            self._complete(self._exchange)

    def _complete(self, exchange: Exchange) -> None:
        self._finish(exchange)
        # the connection first: an arrival that waits for it is not to wait for the answer to be judged
        if self._parser.should_keep_alive() or exchange.is_head:
            self._on_free(self)
        else:
            self.close()
        exchange.on_done(exchange)

    def _finish(self, exchange: Exchange) -> None:
        exchange.end_ns = self._last_byte_ns
        exchange.status = self._parser.get_status_code()
        exchange.headers = self._headers
        exchange.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._reset()

    def _fail(self, error: str) -> None:
        exchange = cast(Exchange, self._exchange)
        exchange.end_ns = perf_counter_ns()
        exchange.error = error
        if self._has_headers:
            exchange.status = self._parser.get_status_code()
        self._reset()
        exchange.on_done(exchange)

    def _reset(self) -> None:
        self._exchange = None
        self._has_headers = False
        self._headers = []
        self._body = []

    def _runs_until_close(self) -> bool:
        return (
            header_value(self._headers, b"content-length") is None
            and header_value(self._headers, b"transfer-encoding") is None
        )
