"""A TCP proxy that disturbs its traffic in configured ways."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator

import msgspec


class Toxics(msgspec.Struct, frozen=True, kw_only=True):
    """Disturbances of responses. Each piece is delayed by `latency_s`, and by up to `jitter_s` more, drawn with the
    seed. `reset_after` is the number of bytes after which the connection is reset; `slow_close_s` is how much later
    than the server the proxy closes. A half-open connection is accepted and never served."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    seed: int = 0
    reset_after: int | None = None
    slice_bytes: int | None = None
    bytes_per_s: float | None = None
    slow_close_s: float = 0.0
    is_half_open: bool = False


class FaultyProxy:
    """Forwards to 127.0.0.1:`port`, in its own thread. `connections` counts accepted connections."""

    def __init__(self, port: int, toxics: Toxics) -> None:
        self._target_port, self._toxics = port, toxics
        self._random = random.Random(toxics.seed)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = socket.create_server(("127.0.0.1", 0))
        server.setblocking(False)
        self.port = server.getsockname()[1]
        accepting = asyncio.ensure_future(self._accept(server))
        self._ready.set()
        await self._end.wait()
        for task in (accepting, *self._tasks):
            task.cancel()
        await asyncio.gather(accepting, *self._tasks, return_exceptions=True)
        server.close()

    async def _accept(self, server: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(server)
            self.connections += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._proxy_connection(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _proxy_connection(self, client: socket.socket) -> None:
        with client, socket.socket() as server, contextlib.suppress(OSError):
            if self._toxics.is_half_open:
                await self._end.wait()
            server.setblocking(False)
            await self._loop.sock_connect(server, ("127.0.0.1", self._target_port))
            request_task = self._loop.create_task(self._forward_request(client, server))
            try:
                await self._forward_response(server, client)
            finally:
                request_task.cancel()

    async def _forward_request(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := await self._loop.sock_recv(client, 65_536):
                await self._loop.sock_sendall(server, piece)
            server.shutdown(socket.SHUT_WR)

    async def _forward_response(self, server: socket.socket, client: socket.socket) -> None:
        toxics, passed = self._toxics, 0
        while piece := await self._loop.sock_recv(server, 65_536):
            await asyncio.sleep(toxics.latency_s + toxics.jitter_s * self._random.random())
            if toxics.reset_after is not None and passed + len(piece) > toxics.reset_after:
                await self._loop.sock_sendall(client, piece[: toxics.reset_after - passed])
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            passed += len(piece)
            for part in _sliced(piece, toxics.slice_bytes):
                await self._loop.sock_sendall(client, part)
                await asyncio.sleep(0 if toxics.bytes_per_s is None else len(part) / toxics.bytes_per_s)
        await asyncio.sleep(toxics.slow_close_s)


def _sliced(piece: bytes, size: int | None) -> Iterator[bytes]:
    step = size or len(piece)
    for at in range(0, len(piece), step):
        yield piece[at : at + step]
