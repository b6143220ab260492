"""A load balancer for servers on loopback: `python -m tests.fakes.balancer ROUTER PORT...` prints its own port.

ROUTER is round-robin or least-outstanding; ties are broken in turn. Requests and responses have a Content-Length. The
process ends when its standard input is closed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import cast

from loadgen.reference.child import RequestSplitter, serve_until_stdin_closes


class Balancer:
    """Creates a protocol for each client connection. Connections to replicas carry one request at a time and are
    reused."""

    def __init__(self, router: str, ports: Sequence[int]) -> None:
        self._replicas = [_Replica(port) for port in ports]
        self._is_by_load = {"round-robin": False, "least-outstanding": True}[router]
        self._turn = 0

    def __call__(self) -> asyncio.Protocol:
        return _Client(self)

    def pick(self) -> _Replica:
        turn, count = self._turn, len(self._replicas)
        self._turn = (turn + 1) % count
        from_turn = [self._replicas[(turn + step) % count] for step in range(count)]
        return min(from_turn, key=lambda replica: replica.outstanding) if self._is_by_load else from_turn[0]


class _Client(asyncio.Protocol):
    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._split = RequestSplitter().split

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for request in self._split(data):
            self._balancer.pick().forward(request, self)

    def respond(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)

    def close(self) -> None:
        self._transport.close()


class _Replica:
    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Upstream] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self.outstanding = 0

    def forward(self, request: bytes, client: _Client) -> None:
        self.outstanding += 1
        if self._idle:
            self._idle.pop().send(request, client)
            return
        task = asyncio.get_running_loop().create_task(self._connect(request, client))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def finish(self, upstream: _Upstream) -> None:
        self.outstanding -= 1
        self._idle.append(upstream)

    def drop_upstream(self, upstream: _Upstream, client: _Client | None) -> None:
        if client is None:
            self._idle.remove(upstream)
        else:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self.outstanding -= 1
        client.close()

    async def _connect(self, request: bytes, client: _Client) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, upstream = await loop.create_connection(lambda: _Upstream(self), "127.0.0.1", self._port)
        except OSError:
            self._drop(client)
        else:
            upstream.send(request, client)


class _Upstream(asyncio.Protocol):
    def __init__(self, replica: _Replica) -> None:
        self._replica = replica
        self._client: _Client | None = None
        self._split = RequestSplitter().split  # responses are split as requests are

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, client: _Client) -> None:
        self._client = client
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        for response in self._split(data):
            client, self._client = self._client, None
            if client is not None:
                self._replica.finish(self)
                client.respond(response)

    def connection_lost(self, _error: Exception | None) -> None:
        self._replica.drop_upstream(self, self._client)


if __name__ == "__main__":
    serve_until_stdin_closes(Balancer(sys.argv[1], [int(port) for port in sys.argv[2:]]), 0)
