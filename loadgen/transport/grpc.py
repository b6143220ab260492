"""gRPC transport: calls to one server or several, within a memory limit."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import perf_counter_ns

from loadgen.records import Balance, Endpoint
from loadgen.transport.address import Address, UrlError, parse_grpc_url
from loadgen.transport.balance import BalancedPools
from loadgen.transport.exchange import LOCAL_LIMIT, Exchange, ResolveError, Transport
from loadgen.transport.grpc_calls import GrpcServer, PooledChannel, StreamChannel, UnaryChannel
from loadgen.transport.grpc_channel import build_metadata, channel_options, load_credentials
from loadgen.transport.grpc_status import CallEnd

MAX_RECEIVING_BYTES = 512 * 2**20
"""How far in bytes a load worker's memory may grow in a stage before `shed` is called. It is twice the limit for HTTP
responses, because it includes all other memory."""

_MAX_CALLS_PER_CHANNEL = 100
"""Maximum number of calls on one connection, which servers commonly allow; further calls would wait inside gRPC,
unnoticed."""


def new_grpc_transport(
    loop: asyncio.AbstractEventLoop, endpoint: Endpoint, method: str, *, is_streamed: bool
) -> Transport:
    """Create a transport for the method `/package.Service/Method`. Call it on the event loop's thread.

    Replicas share `max_connections` evenly. Raises EndpointError.
    """
    if not endpoint.urls:
        raise UrlError("the target has no URL")
    addresses = [parse_grpc_url(url) for url in endpoint.urls]
    if endpoint.unix_socket is not None and len(addresses) > 1:
        raise UrlError("a target with a unix socket must have exactly one URL")
    share = max(1, endpoint.max_connections // len(addresses))
    new_line = StreamChannel if is_streamed else UnaryChannel
    pools = [GrpcPool(loop, address, endpoint, method, new_line, share) for address in addresses]
    return pools[0] if len(pools) == 1 else GrpcReplicas(pools, endpoint.balance)


class GrpcReplicas(BalancedPools):
    def __init__(self, pools: Sequence[GrpcPool], balance: Balance) -> None:
        super().__init__(pools, balance)
        self._replica_pools = pools

    def set_headers(self, endpoint: Endpoint) -> None:
        """Set the headers of each pool. Raises EndpointError."""
        for pool in self._replica_pools:
            pool.set_headers(endpoint)

    def shed(self) -> None:
        """Shed load in each pool."""
        for pool in self._replica_pools:
            pool.shed()


class _Call:
    __slots__ = ("cancel", "exchange", "line")

    def __init__(self, exchange: Exchange, line: PooledChannel) -> None:
        self.exchange, self.line = exchange, line
        self.cancel: Callable[[], object] = _no_op


def _no_op() -> None:
    """Do nothing: there is no started call to cancel."""


class GrpcPool:
    """A pool of gRPC connections to one server. A request is a serialized message, and so is the body of its response.

    `status` is the HTTP status that corresponds to gRPC's code, 200 for OK; a call that ends without a message from the
    server has an error and no status. There is no time of the first byte, because gRPC does not report it.
    `bytes_received` counts messages only. A connection counts as opened once a response has been received on it.
    `max_calls` limits the concurrent calls; a hundred share a connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        endpoint: Endpoint,
        method: str,
        new_channel: Callable[[GrpcServer], PooledChannel],
        max_calls: int,
    ) -> None:
        """Create the pool. Raises EndpointError."""
        self._loop, self._address, self._endpoint = loop, address, endpoint
        self._method, self._new_channel, self._max_calls = method, new_channel, max_calls
        self._metadata = build_metadata(endpoint)
        credentials = load_credentials(endpoint.tls) if address.is_tls else None
        self._peer = GrpcServer(loop, "", channel_options(endpoint, address), credentials, endpoint.timeouts)
        self._channels: list[PooledChannel] = []
        self._calls: set[_Call] = set()
        self._waiting: deque[Exchange] = deque()
        self.opened = 0
        self.sent = 0
        self.closed_idle = 0  # gRPC opens connections itself, and never sends on a closed one

    @property
    def outstanding(self) -> int:
        """Number of calls in flight and waiting."""
        return len(self._calls) + len(self._waiting)

    async def resolve(self) -> None:
        """Resolve the host name, once for all connections that follow. Raises ResolveError."""
        if not self._peer.target:
            self._peer = self._peer._replace(target=await self._resolve_target())

    def submit(self, exchange: Exchange) -> None:
        if len(self._calls) < self._max_calls:
            self._start(exchange)
        else:
            self._waiting.append(exchange)

    def set_headers(self, endpoint: Endpoint) -> None:
        """Use the endpoint's headers for calls from now on. Raises EndpointError."""
        self._metadata = build_metadata(endpoint)

    def cut(self) -> None:
        """End everything in flight or waiting as timed out."""
        waiting, self._waiting = self._waiting, deque()
        self._end((*self._cancel_calls(), *waiting), "timeout")

    def shed(self) -> None:
        """End everything in flight because the received data takes too much memory.

        All calls end, because gRPC does not report how much memory each one takes. Waiting calls are sent.
        """
        detail = f"the responses being received take more than {MAX_RECEIVING_BYTES >> 20} MiB in total"
        self._end(self._cancel_calls(), LOCAL_LIMIT, detail)
        while self._waiting and len(self._calls) < self._max_calls:
            self._start(self._waiting.popleft())

    def _cancel_calls(self) -> list[Exchange]:
        """Cancel the calls in flight and return their exchanges."""
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
        for channel in self._channels:
            channel.close()
        self._channels.clear()

    async def _resolve_target(self) -> str:
        host, port = self._address.host, self._address.port
        if self._endpoint.unix_socket is not None:
            return f"unix:{self._endpoint.unix_socket}"
        if self._endpoint.proxy is not None:  # the proxy resolves the host
            return f"dns:///{f'[{host}]' if ':' in host else host}:{port}"
        try:
            address_infos = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ResolveError(f"{host} cannot be resolved: {getattr(error, 'strerror', None) or error}") from error
        family = address_infos[0][0]
        hosts = dict.fromkeys(str(address[0]) for family_, _, _, _, address in address_infos if family_ == family)
        if family == socket.AF_INET6:
            return "ipv6:" + ",".join(f"[{family_}]:{port}" for family_ in hosts)
        return "ipv4:" + ",".join(f"{family_}:{port}" for family_ in hosts)

    def _start(self, exchange: Exchange) -> None:
        channel = next((pooled for pooled in self._channels if pooled.in_flight < _MAX_CALLS_PER_CHANNEL), None)
        if channel is None:
            channel = self._new_channel(self._peer)
            self._channels.append(channel)
        self.sent += 1
        channel.in_flight += 1
        exchange.reused = channel.is_used
        call = _Call(exchange, channel)
        self._calls.add(call)
        call.cancel = channel.start(
            exchange, exchange.method or self._method, self._metadata, partial(self._on_call_end, call)
        )

    def _on_call_end(self, call: _Call, end: CallEnd, end_ns: int, body: bytes) -> None:
        if call not in self._calls:  # the call was cut
            return
        self._calls.discard(call)
        call.line.in_flight -= 1
        if end.status is not None and not call.line.is_used:
            call.line.is_used = True
            self.opened += 1
        exchange = call.exchange
        exchange.status, exchange.error, exchange.detail = end
        exchange.end_ns, exchange.body = end_ns, body
        exchange.bytes_received = exchange.bytes_received or len(body)
        # Start the next call first: it must not wait for the check of this response.
        if self._waiting and len(self._calls) < self._max_calls:
            self._start(self._waiting.popleft())
        exchange.on_done(exchange)
