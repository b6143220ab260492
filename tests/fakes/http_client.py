"""A client that sends requests through the product's HTTP transport and waits for the finished exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import uvloop

from loadgen.records import Endpoint
from loadgen.transport.exchange import Exchange, StreamReader, Tokens, Transport
from loadgen.transport.http_transport import create_http_transport
from loadgen.transport.pool import ConnectionPool

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


class HttpClient:
    """`request` returns the exchange when it is done, with or without an error."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @property
    def pool(self) -> ConnectionPool:
        """The transport to an endpoint of one URL."""
        assert isinstance(self.transport, ConnectionPool)
        return self.transport

    def submit(
        self, request: bytes = GET, is_head: bool = False, reader: StreamReader | None = None
    ) -> asyncio.Future[Exchange]:
        done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self.transport.submit(Exchange(0, 0, 0, request, done.set_result, is_head, reader))
        return done

    async def request(
        self, request: bytes = GET, is_head: bool = False, reader: StreamReader | None = None
    ) -> Exchange:
        return await asyncio.wait_for(self.submit(request, is_head, reader), 20)


HttpClientScript = Callable[[HttpClient], Awaitable[None]]
RunHttpClient = Callable[[Endpoint, HttpClientScript], None]


def run_http_client_on(loop_name: str, endpoint: Endpoint, talk: HttpClientScript) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(_converse(endpoint, talk))


async def _converse(endpoint: Endpoint, talk: HttpClientScript) -> None:
    transport = create_http_transport(asyncio.get_running_loop(), endpoint)
    try:
        await transport.resolve()
        await talk(HttpClient(transport))
    finally:
        transport.close()
        await asyncio.sleep(0)


class PieceRecorder:
    """A stream reader that records the pieces it receives. From the first piece that contains `refused` on, it returns
    `error` for each."""

    def __init__(self, refused: bytes | None = None, error: str = "bad-payload") -> None:
        self.tokens, self.detail = Tokens(), "as refused"
        self.pieces: list[bytes] = []
        self.at_ns: list[int] = []
        self._refused, self._error = refused, error

    def feed(self, piece: bytes, at_ns: int) -> str | None:
        self.pieces.append(piece)
        self.at_ns.append(at_ns)
        return self._error if self._refused is not None and self._refused in piece else None
