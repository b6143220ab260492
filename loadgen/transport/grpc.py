"""gRPC: calls to one server or several, within a bound."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import perf_counter_ns

from loadgen.records import Balance, Endpoint
from loadgen.transport.address import Address, UrlError, grpc_address_of
from loadgen.transport.balance import BalancedPools
from loadgen.transport.exchange import LOCAL_LIMIT, Exchange, ResolveError, Transport
from loadgen.transport.grpc_channel import credentials_of, metadata_of, options_of
from loadgen.transport.grpc_lines import Peer, PooledChannel, StreamLine, UnaryLine
from loadgen.transport.grpc_status import End

MAX_RECEIVING_BYTES = 512 * 2**20
"""How far a load worker's memory may grow in a stage before `shed` is called: twice of what HTTP responses may take, as
that of all else is in it."""

_CALLS_A_LINE = 100
"""What servers commonly allow on one connection; a call beyond it would wait in gRPC, unseen."""


def new_grpc_transport(
    loop: asyncio.AbstractEventLoop, endpoint: Endpoint, method: str, *, is_streamed: bool
) -> Transport:
    """For `/package.Service/Method`. On the loop's thread. Raises EndpointError. Replicas share `max_connections`."""
    if not endpoint.urls:
        raise UrlError("the target has no URL")
    addresses = [grpc_address_of(url) for url in endpoint.urls]
    if endpoint.unix_socket is not None and len(addresses) > 1:
        raise UrlError("a target with a unix socket has one URL")
    share = max(1, endpoint.max_connections // len(addresses))
    new_line = StreamLine if is_streamed else UnaryLine
    pools = [GrpcPool(loop, address, endpoint, method, new_line, share) for address in addresses]
    return pools[0] if len(pools) == 1 else GrpcReplicas(pools, endpoint.balance)


class GrpcReplicas(BalancedPools):
    def __init__(self, pools: Sequence[GrpcPool], balance: Balance) -> None:
        super().__init__(pools, balance)
        self._servers = pools

    def set_headers(self, endpoint: Endpoint) -> None:
        """As each pool's. Raises EndpointError."""
        for pool in self._servers:
            pool.set_headers(endpoint)

    def shed(self) -> None:
        """As each pool's."""
        for pool in self._servers:
            pool.shed()


class _Call:
    __slots__ = ("cancel", "exchange", "line")

    def __init__(self, exchange: Exchange, line: PooledChannel) -> None:
        self.exchange, self.line = exchange, line
        self.cancel: Callable[[], object] = _nothing


def _nothing() -> None:
    """Cancels what has not been started."""


class GrpcPool:
    """A request is a serialised message, and so is the body of its answer.

    `status` is the HTTP status that means the same as gRPC's code, 200 for OK; a call that ends without the server's
    word has an error and no status. There is no first byte: gRPC does not tell. `bytes_received` counts messages alone.
    A connection counts as opened once it has brought an answer. `max_calls` bounds the calls at once; a hundred share
    a connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        endpoint: Endpoint,
        method: str,
        new_line: Callable[[Peer], PooledChannel],
        max_calls: int,
    ) -> None:
        """Raises EndpointError."""
        self._loop, self._address, self._endpoint = loop, address, endpoint
        self._method, self._new_line, self._max_calls = method, new_line, max_calls
        self._metadata = metadata_of(endpoint)
        credentials = credentials_of(endpoint.tls) if address.is_tls else None
        self._peer = Peer(loop, "", options_of(endpoint, address), credentials, endpoint.timeouts)
        self._lines: list[PooledChannel] = []
        self._calls: set[_Call] = set()
        self._waiting: deque[Exchange] = deque()
        self.opened = 0
        self.sent = 0
        self.closed_idle = 0  # gRPC opens connections itself, and sends on none that was closed

    @property
    def outstanding(self) -> int:
        """Calls in flight and waiting."""
        return len(self._calls) + len(self._waiting)

    async def resolve(self) -> None:
        """Look the host up, once for all the connections that follow. Raises ResolveError."""
        if not self._peer.target:
            self._peer = self._peer._replace(target=await self._found())

    def submit(self, exchange: Exchange) -> None:
        if len(self._calls) < self._max_calls:
            self._start(exchange)
        else:
            self._waiting.append(exchange)

    def set_headers(self, endpoint: Endpoint) -> None:
        """Calls from now on have the endpoint's headers. Raises EndpointError."""
        self._metadata = metadata_of(endpoint)

    def cut(self) -> None:
        """End everything that is in flight or waits, as timed out."""
        waiting, self._waiting = self._waiting, deque()
        self._end((*self._canceled(), *waiting), "timeout")

    def shed(self) -> None:
        """End everything that is in flight because what it has received takes too much memory: gRPC does not report how
        much that is of which call. What waits is sent."""
        detail = f"the responses being received take more than {MAX_RECEIVING_BYTES >> 20} MiB together"
        self._end(self._canceled(), LOCAL_LIMIT, detail)
        while self._waiting and len(self._calls) < self._max_calls:
            self._start(self._waiting.popleft())

    def _canceled(self) -> list[Exchange]:
        """The exchanges that were in flight."""
        calls, self._calls = self._calls, set()
        for call in calls:
            call.line.in_flight -= 1
            call.cancel()
        return [call.exchange for call in calls]

    def _end(self, exchanges: Iterable[Exchange], error: str, detail: str | None = None) -> None:
        now_ns = perf_counter_ns()
        for exchange in exchanges:
            exchange.error, exchange.detail, exchange.end_ns = error, detail, now_ns
            exchange.on_done(exchange)

    def close(self) -> None:
        self.cut()
        for line in self._lines:
            line.close()
        self._lines.clear()

    async def _found(self) -> str:
        host, port = self._address.host, self._address.port
        if self._endpoint.unix_socket is not None:
            return f"unix:{self._endpoint.unix_socket}"
        if self._endpoint.proxy is not None:  # which looks it up
            return f"dns:///{f'[{host}]' if ':' in host else host}:{port}"
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ResolveError(f"{host} cannot be resolved: {getattr(error, 'strerror', None) or error}") from error
        family = found[0][0]
        hosts = dict.fromkeys(str(address[0]) for each, _, _, _, address in found if each == family)
        if family == socket.AF_INET6:
            return "ipv6:" + ",".join(f"[{each}]:{port}" for each in hosts)
        return "ipv4:" + ",".join(f"{each}:{port}" for each in hosts)

    def _start(self, exchange: Exchange) -> None:
        line = next((each for each in self._lines if each.in_flight < _CALLS_A_LINE), None)
        if line is None:
            line = self._new_line(self._peer)
            self._lines.append(line)
        self.sent += 1
        line.in_flight += 1
        exchange.reused = line.was_used
        call = _Call(exchange, line)
        self._calls.add(call)
        call.cancel = line.start(exchange, exchange.method or self._method, self._metadata, partial(self._ended, call))

    def _ended(self, call: _Call, end: End, end_ns: int, body: bytes) -> None:
        if call not in self._calls:  # it was cut
            return
        self._calls.discard(call)
        call.line.in_flight -= 1
        if end.status is not None and not call.line.was_used:
            call.line.was_used = True
            self.opened += 1
        exchange = call.exchange
        exchange.status, exchange.error, exchange.detail = end
        exchange.end_ns, exchange.body = end_ns, body
        exchange.bytes_received = exchange.bytes_received or len(body)
        # the next first: it is not to wait for this answer to be judged
        if self._waiting and len(self._calls) < self._max_calls:
            self._start(self._waiting.popleft())
        exchange.on_done(exchange)
