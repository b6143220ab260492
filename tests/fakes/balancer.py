"""A balancer before servers on the loopback: `python -m tests.fakes.balancer ROUTER PORT...` prints its own port.

ROUTER is round_robin or least_outstanding; of equals each has its turn. Requests and answers have a Content-Length. It
leaves when its standard input closes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import cast

from loadgen.reference.child import RequestSplitter, serve_until_stdin_closes


class Balancer:
    """Makes a protocol for each client's connection; connections to a replica carry one request at a time, and stay."""

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
        return min(from_turn, key=lambda one: one.outstanding) if self._is_by_load else from_turn[0]


class _Client(asyncio.Protocol):
    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._cut = RequestSplitter().split

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for request in self._cut(data):
            self._balancer.pick().take(request, self)

    def answer(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)

    def give_up(self) -> None:
        self._transport.close()


class _Replica:
    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Upstream] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self.outstanding = 0

    def take(self, request: bytes, client: _Client) -> None:
        self.outstanding += 1
        if self._idle:
            self._idle.pop().carry(request, client)
            return
        task = asyncio.get_running_loop().create_task(self._connect(request, client))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def finish(self, upstream: _Upstream) -> None:
        self.outstanding -= 1
        self._idle.append(upstream)

    def lose(self, upstream: _Upstream, client: _Client | None) -> None:
        if client is None:
            self._idle.remove(upstream)
        else:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self.outstanding -= 1
        client.give_up()

    async def _connect(self, request: bytes, client: _Client) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, upstream = await loop.create_connection(lambda: _Upstream(self), "127.0.0.1", self._port)
        except OSError:
            self._drop(client)
        else:
            upstream.carry(request, client)


class _Upstream(asyncio.Protocol):
    def __init__(self, replica: _Replica) -> None:
        self._replica = replica
        self._client: _Client | None = None
        self._cut = RequestSplitter().split  # an answer ends where a request would

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def carry(self, request: bytes, client: _Client) -> None:
        self._client = client
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        for answer in self._cut(data):
            client, self._client = self._client, None
            if client is not None:
                self._replica.finish(self)
                client.answer(answer)

    def connection_lost(self, _error: Exception | None) -> None:
        self._replica.lose(self, self._client)


if __name__ == "__main__":
    serve_until_stdin_closes(Balancer(sys.argv[1], [int(port) for port in sys.argv[2:]]), 0)
