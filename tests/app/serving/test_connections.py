"""Clients that are slow or send too much, over sockets on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from time import perf_counter_ns
from typing import Any

import numpy as np
import pytest

from app.inference.tensor_spec import TensorSpec
from app.serving.application import ServedModel, build_application
from app.serving.batching import Batcher, BatchQueue, BatchResult, QueuedRequest
from app.serving.counters import EndpointMetrics
from app.serving.execution import run_batch
from app.serving.server import DrainingServer
from app.serving.settings import ConnectionLimits

pytestmark = pytest.mark.anyio
WAIT_S = 60.0
SHAPE = TensorSpec("x", "float32", (-1, 2))
MODEL = ServedModel(name="m", inputs=(SHAPE,), outputs=(SHAPE,), is_batchable=True)
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}).encode()
SHORT_LIMITS = ConnectionLimits(
    header_timeout_s=0.3, body_timeout_s=0.3, max_header_bytes=4096, max_connections=8, max_bodies_bytes=300_000
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Server:
    """An endpoint that returns each row; with `is_paused`, after `released` is set."""

    def __init__(self) -> None:
        self.is_paused = False
        self.released: asyncio.Event = asyncio.Event()
        self.port = 0
        self.clients: list[Client] = []
        loop = asyncio.get_running_loop()
        self.batcher = Batcher(BatchQueue(1, 0, 10), self._submit, now_ns=perf_counter_ns, call_later=loop.call_later)

    def _submit(self, batch: list[QueuedRequest], done: Callable[[Sequence[BatchResult]], None]) -> None:
        results = run_batch(lambda feeds: [np.asarray(feeds["x"])], batch)

        async def respond() -> None:
            if self.is_paused:
                await self.released.wait()
            done(results)

        self._responding = asyncio.get_running_loop().create_task(respond())


@asynccontextmanager
async def open_server(limits: ConnectionLimits = SHORT_LIMITS) -> AsyncIterator[Server]:
    endpoint, started = Server(), asyncio.Event()
    pages = build_application(MODEL, endpoint.batcher, EndpointMetrics(1), limits.max_bodies_bytes)
    server = DrainingServer(pages, endpoint.batcher, limits, started.set)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint.port = listener.getsockname()[1]
        serving = asyncio.get_running_loop().create_task(server.serve([listener]))
        await started.wait()
        try:
            yield endpoint
        finally:
            for client in endpoint.clients:
                await client.close_and_wait()
            server.drain()
            await serving


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, server: Server) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", server.port))
        server.clients.append(client)
        return client

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self._writer.write(part)
        await self._writer.drain()

    async def post(self, body: bytes = BODY, length: int | None = None) -> None:
        head = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"
        await self.send(head % (len(body) if length is None else length), body)

    async def read_status(self) -> int:
        """Read the next response with its body and return its status."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), WAIT_S)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await asyncio.wait_for(self._reader.readexactly(length), WAIT_S)
        return int(head.split()[1])

    async def is_closed(self) -> bool:
        """Wait until the server closes the connection; fails after `WAIT_S`."""
        try:
            await asyncio.wait_for(self._reader.read(), WAIT_S)
            return True
        except ConnectionError:
            return True

    def close(self) -> None:
        self._writer.close()

    async def close_and_wait(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


async def request_status(server: Server) -> int:
    client = await Client.connect(server)
    await client.post()
    status = await client.read_status()
    client.close()
    return status


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\n",),
        (b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ncontent-length: 90\r\n\r\n", BODY[:40]),
        (b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n",),
    ],
)
async def test_incomplete_request_times_out_with_408_and_is_closed(parts: tuple[bytes, ...]) -> None:
    async with open_server() as server:
        client = await Client.connect(server)
        await client.send(*parts)
        assert await client.read_status() == 408
        assert await client.is_closed()
        assert await request_status(server) == 200


async def test_request_timeout_applies_to_later_requests_of_a_connection() -> None:
    async with open_server() as server:
        idle, slow, empty = [await Client.connect(server) for _ in range(3)]
        for client in (idle, slow, empty):
            await client.post()
            assert await client.read_status() == 200
        await slow.send(b"POST /v2/")
        await empty.send(b"\r\n")
        assert [await slow.read_status(), await empty.read_status()] == [408, 408]
        assert await slow.is_closed()
        await idle.post()
        assert await idle.read_status() == 200, "a connection may be idle between two requests"


async def test_slow_model_does_not_cause_a_request_timeout() -> None:
    async with open_server() as server:
        server.is_paused = True
        waiting, slow = await Client.connect(server), await Client.connect(server)
        await waiting.post()
        assert await slow.read_status() == 408, "the model takes longer than the request timeout"
        server.released.set()
        assert await waiting.read_status() == 200


@pytest.mark.parametrize("lines", [1, 5])
async def test_headers_above_the_maximum_size_are_rejected_with_431(lines: int) -> None:
    async with open_server(ConnectionLimits(max_header_bytes=4096)) as server:
        client = await Client.connect(server)
        header = b"x-large: " + b"a" * (5_000 // lines) + b"\r\n"
        await client.send(b"GET /v2 HTTP/1.1\r\n", *[header] * lines)
        assert await client.read_status() == 431
        assert await client.is_closed()
        endless = await Client.connect(server)
        with suppress(ConnectionError):
            await endless.send(b"GET /v2 HTTP/1.1\r\n", *[header] * 2_000)
        assert await endless.is_closed()
        assert await request_status(server) == 200


async def test_connection_above_the_maximum_is_rejected_with_503() -> None:
    async with open_server(ConnectionLimits(max_connections=8)) as server:
        clients = [await Client.connect(server) for _ in range(8)]
        await clients[-1].post()
        assert await clients[-1].read_status() == 200
        rejected = await Client.connect(server)
        assert await rejected.read_status() == 503
        assert await rejected.is_closed()
        clients[0].close()
        await asyncio.wait_for(wait_until_served(server), WAIT_S)


async def test_memory_of_all_bodies_in_flight_is_bounded() -> None:
    async with open_server(ConnectionLimits(max_bodies_bytes=300_000)) as server:
        large = [await Client.connect(server) for _ in range(3)]
        for client in large[:2]:
            await client.post(b" " * 140_000, 200_000)
        await asyncio.wait_for(wait_until_rejected(server), WAIT_S)
        for client in large[:2]:
            await client.send(b" " * 60_000)
        statuses: list[Any] = sorted([await client.read_status() for client in large[:2]])
        assert statuses in ([400, 400], [400, 503]), "an accepted body is read completely, although it is invalid"
        assert await request_status(server) == 200


async def wait_until_served(server: Server) -> None:
    """Wait until the server has noticed that another client disconnected."""
    while True:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            if await request_status(server) == 200:
                return


async def wait_until_rejected(server: Server) -> None:
    """Wait until the server has received the two large bodies, so that another one exceeds the limit."""
    while True:
        client = await Client.connect(server)
        await client.post(b" " * 50_000)
        status = await client.read_status()
        client.close()
        if status == 503:
            return
