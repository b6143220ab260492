"""An HTTP proxy for tests: absolute URLs and tunnels, with or without credentials."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from base64 import b64encode
from urllib.parse import urlsplit


class HttpProxy:
    """Listens on loopback, in its own thread; names in `.invalid` lead to loopback, too. `heads` are the heads of the
    requests, as received."""

    def __init__(self, credentials: str | None = None) -> None:
        self._wanted = None if credentials is None else b"Basic " + b64encode(credentials.encode())
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))
        self._tasks: set[asyncio.Task[None]] = set()
        self.heads: list[bytes] = []
        self.port = 0

    def __enter__(self) -> HttpProxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._carry(client, answer)
        finally:
            self._tasks.discard(task)
            answer.close()
            with contextlib.suppress(OSError):
                await answer.wait_closed()

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
