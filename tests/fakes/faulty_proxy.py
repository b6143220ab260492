"""A TCP proxy that disturbs its traffic in configured ways."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Iterator

import msgspec

from tests.fakes.stream_server import stream_server


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


class FaultyProxy(contextlib.ExitStack):
    """Forwards to 127.0.0.1:`port`, in its own thread. `connections` counts accepted connections."""

    def __init__(self, port: int, toxics: Toxics) -> None:
        super().__init__()
        self._target_port, self._toxics = port, toxics
        self._random = random.Random(toxics.seed)
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultyProxy:
        self.port = self.enter_context(stream_server(self._take))
        return self

    async def _take(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._toxics.is_half_open:
            await asyncio.Event().wait()
        response, server = await asyncio.open_connection("127.0.0.1", self._target_port)
        request_task = asyncio.ensure_future(_forward_request(client, server))
        try:
            await self._forward_response(response, answer)
        finally:
            request_task.cancel()
            server.close()
            answer.close()

    async def _forward_response(self, response: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        toxics, passed = self._toxics, 0
        while piece := await response.read(65_536):
            await asyncio.sleep(toxics.latency_s + toxics.jitter_s * self._random.random())
            if toxics.reset_after is not None and passed + len(piece) > toxics.reset_after:
                answer.write(piece[: toxics.reset_after - passed])
                answer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            passed += len(piece)
            for part in _sliced(piece, toxics.slice_bytes):
                answer.write(part)
                await answer.drain()
                await asyncio.sleep(0 if toxics.bytes_per_s is None else len(part) / toxics.bytes_per_s)
        await asyncio.sleep(toxics.slow_close_s)


async def _forward_request(client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await client.read(65_536):
            server.write(piece)
        server.write_eof()


def _sliced(piece: bytes, size: int | None) -> Iterator[bytes]:
    step = size or len(piece)
    for at in range(0, len(piece), step):
        yield piece[at : at + step]
