"""An HTTP response in pieces, read whole or (first byte above 0x80) by a reader of streams."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from loadgen.protocols.openai_stream import OpenAiReader
from loadgen.transport.connection import Connection
from loadgen.transport.exchange import Exchange
from loadgen.transport.responses import HeadCache
from tests.fuzz.scratch import pieces


class _Wire(asyncio.Transport):
    """A transport that drops what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def is_closing(self) -> bool:
        return self.is_closed

    def abort(self) -> None:
        self.is_closed = True


def read(data: bytes) -> None:
    wire = _Wire()
    connection = Connection(lambda _: None, lambda _: None, HeadCache())
    connection.connection_made(wire)
    reader = OpenAiReader("chat", None) if data[:1] > b"\x80" else None
    connection.send(Exchange(0, 0, 0, b"request", lambda _: None, False, reader))
    for piece in pieces(data[1:]):
        if wire.is_closed:
            break
        connection.data_received(piece)
    connection.connection_lost(None)


def seeds() -> Iterable[bytes]:
    responses = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n\xff0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n\xffHTTP/1.1 503 Busy\r\nConnection: close\r\n\r\nlater",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: [DONE]\n\n",
    )
    return (first + response for response in responses for first in (b"\0", b"\xf0"))
