"""An HTTP proxy for tests: absolute URLs and tunnels, with or without credentials."""

from __future__ import annotations

import asyncio
import contextlib
from base64 import b64encode
from urllib.parse import urlsplit

from tests.fakes.stream_server import stream_server


class HttpProxy(contextlib.ExitStack):
    """Listens on loopback, in its own thread; names in `.invalid` lead to loopback, too. `heads` are the heads of the
    requests, as received."""

    def __init__(self, credentials: str | None = None) -> None:
        super().__init__()
        self._wanted = None if credentials is None else b"Basic " + b64encode(credentials.encode())
        self.heads: list[bytes] = []
        self.port = 0

    def __enter__(self) -> HttpProxy:
        self.port = self.enter_context(stream_server(self._take))
        return self

    async def _take(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError):
                await self._carry(client, answer)
        finally:
            answer.close()

    async def _carry(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        while True:
            head = await client.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self._wanted is not None and b"\r\nProxy-Authorization: " + self._wanted + b"\r\n" not in head:
                answer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
                continue
            method, target, _ = head.decode().split(" ", 2)
            parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
            host = "127.0.0.1" if (parts.hostname or "").endswith(".invalid") else parts.hostname
            server, forward = await asyncio.open_connection(host, parts.port)
            try:
                if method == "CONNECT":
                    answer.write(b"HTTP/1.1 200 Connection established\r\nX-Via: proxy\r\n\r\n")
                else:
                    forward.write(head)
                await asyncio.gather(_pump(client, forward), _pump(server, answer))
            finally:
                forward.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(65_536):
        sink.write(piece)
    sink.close()
