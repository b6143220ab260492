"""Transport over gRPC, which makes calls to one or more servers within a memory limit."""

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
from loadgen.transport.exchange import LOCAL_LIMIT, CallKind, Exchange, ResolveError, Transport
from loadgen.transport.grpc_calls import GrpcClientSettings, PooledChannel, StreamChannel, UnaryChannel
from loadgen.transport.grpc_channel import build_channel_options, build_metadata, load_credentials
from loadgen.transport.grpc_status import CallEnd

MAX_RECEIVING_BYTES = 512 * 2**20
"""Limit in bytes on the growth of a load worker's memory during a stage. When memory has grown
more, `shed` is called.

The limit is twice the limit on HTTP responses, because it applies to all memory of the process.
"""

_MAX_CALLS_PER_CHANNEL = 100
"""Maximum number of concurrent calls on one connection. Servers commonly allow 100 calls; further
calls would wait inside the gRPC library without being noticed."""

_CHANNELS: dict[CallKind, Callable[[GrpcClientSettings], PooledChannel]] = {
    "unary": UnaryChannel,
    "server-stream": StreamChannel,
    "client-stream": partial(StreamChannel, has_request_stream=True),
}


def create_grpc_transport(
    loop: asyncio.AbstractEventLoop, endpoint: Endpoint, method: str, kind: CallKind
) -> Transport:
    """Create a transport for the gRPC method `/package.Service/Method`, on the thread of the event
    loop.

    `max_connections` is divided evenly among the replicas. Raises EndpointError if the endpoint's
    settings are invalid.
    """
    if not endpoint.urls:
        raise UrlError("the target has no URL")
    addresses = [parse_grpc_url(url) for url in endpoint.urls]
    if endpoint.unix_socket is not None and len(addresses) > 1:
        raise UrlError("a target with a Unix socket must have exactly one URL")
    max_calls = max(1, endpoint.max_connections // len(addresses))
    new_channel = _CHANNELS[kind]
    pools = [GrpcPool(loop, address, endpoint, method, new_channel, max_calls) for address in addresses]
    return pools[0] if len(pools) == 1 else GrpcReplicas(pools, endpoint.balance)


class GrpcReplicas(BalancedPools):
    def __init__(self, pools: Sequence[GrpcPool], balance: Balance) -> None:
        super().__init__(pools, balance)
        self._replica_pools = pools

    def set_headers(self, endpoint: Endpoint) -> None:
        """Use the headers of `endpoint` for all later calls to all replicas. Raises EndpointError
        if a header is invalid."""
        for pool in self._replica_pools:
            pool.set_headers(endpoint)

    def shed(self) -> None:
        """End all calls in flight to all replicas, because their responses use too much memory."""
        for pool in self._replica_pools:
            pool.shed()


class _Call:
    __slots__ = ("cancel", "channel", "exchange")

    def __init__(self, exchange: Exchange, channel: PooledChannel) -> None:
        self.exchange, self.channel = exchange, channel
        self.cancel: Callable[[], object] = _no_op


def _no_op() -> None:
    """Do nothing: placeholder for canceling a call that has not been started."""


class GrpcPool:
    """Pool of gRPC connections to one server. The bodies of requests and responses are serialized
    messages.

    `status` of an exchange is the HTTP status that corresponds to the gRPC code (200 for OK). A
    call that ends without a response from the server has an error and no status. `first_byte_ns` is
    None, because gRPC does not report it. `bytes_received` counts only messages.

    A connection counts as opened after the first response has been received on it. At most
    `max_calls` calls run concurrently, and at most 100 of them on one connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        endpoint: Endpoint,
        method: str,
        new_channel: Callable[[GrpcClientSettings], PooledChannel],
        max_calls: int,
    ) -> None:
        """Create the pool without connections. Raises EndpointError if the endpoint's settings are
        invalid."""
        self._loop, self._address, self._endpoint = loop, address, endpoint
        self._method, self._new_channel, self._max_calls = method, new_channel, max_calls
        self._metadata = build_metadata(endpoint)
        credentials = load_credentials(endpoint.tls) if address.is_tls else None
        self._client_settings = GrpcClientSettings(
            loop, "", build_channel_options(endpoint, address), credentials, endpoint.timeouts
        )
        self._channels: list[PooledChannel] = []
        self._calls: set[_Call] = set()
        self._waiting_exchanges: deque[Exchange] = deque()
        self.opened_count = 0
        self.sent_count = 0
        self.closed_idle_count = 0  # gRPC opens connections itself, and never sends on a closed one

    @property
    def outstanding_count(self) -> int:
        """Number of calls that are in flight or waiting to be started."""
        return len(self._calls) + len(self._waiting_exchanges)

    def list_descriptors(self) -> list[int]:
        return []  # gRPC does not expose its connections

    async def resolve(self) -> None:
        """Resolve the endpoint's host name once for all later connections. Raises ResolveError if
        the name cannot be resolved."""
        if not self._client_settings.target:
            self._client_settings = self._client_settings._replace(target=await self._resolve_target())

    def submit(self, exchange: Exchange) -> None:
        if len(self._calls) < self._max_calls:
            self._start_call(exchange)
        else:
            self._waiting_exchanges.append(exchange)

    def set_headers(self, endpoint: Endpoint) -> None:
        """Use the headers of `endpoint` for all later calls. Raises EndpointError if a header is
        invalid."""
        self._metadata = build_metadata(endpoint)

    def abort(self) -> None:
        """End all calls that are in flight or waiting to be started, with the error `timeout`."""
        waiting_exchanges, self._waiting_exchanges = self._waiting_exchanges, deque()
        self._end_exchanges((*self._cancel_calls(), *waiting_exchanges), "timeout")

    def shed(self) -> None:
        """End all calls in flight, because their responses use too much memory, and start waiting
        calls.

        All calls are ended, because gRPC does not report how much memory each call uses.
        """
        detail = f"the responses being received exceed {MAX_RECEIVING_BYTES >> 20} MiB in total"
        self._end_exchanges(self._cancel_calls(), LOCAL_LIMIT, detail)
        while self._waiting_exchanges and len(self._calls) < self._max_calls:
            self._start_call(self._waiting_exchanges.popleft())

    def _cancel_calls(self) -> list[Exchange]:
        """Cancel the calls in flight and return their exchanges."""
        calls, self._calls = self._calls, set()
        for call in calls:
            call.channel.in_flight_count -= 1
            call.cancel()
        return [call.exchange for call in calls]

    def _end_exchanges(self, exchanges: Iterable[Exchange], error: str, detail: str | None = None) -> None:
        now_ns = perf_counter_ns()
        for exchange in exchanges:
            exchange.error, exchange.detail, exchange.end_ns = error, detail, now_ns
            exchange.on_done(exchange)

    def close(self) -> None:
        self.abort()
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
        ips = dict.fromkeys(str(address[0]) for info_family, _, _, _, address in address_infos if info_family == family)
        if family == socket.AF_INET6:
            return "ipv6:" + ",".join(f"[{ip}]:{port}" for ip in ips)
        return "ipv4:" + ",".join(f"{ip}:{port}" for ip in ips)

    def _start_call(self, exchange: Exchange) -> None:
        channel = next(
            (
                pooled_channel
                for pooled_channel in self._channels
                if pooled_channel.in_flight_count < _MAX_CALLS_PER_CHANNEL
            ),
            None,
        )
        if channel is None:
            channel = self._new_channel(self._client_settings)
            self._channels.append(channel)
        self.sent_count += 1
        channel.in_flight_count += 1
        exchange.reused = channel.is_used
        call = _Call(exchange, channel)
        self._calls.add(call)
        call.cancel = channel.start(
            exchange, exchange.method or self._method, self._metadata, partial(self._on_call_end, call)
        )

    def _on_call_end(self, call: _Call, end: CallEnd, end_ns: int, body: bytes) -> None:
        if call not in self._calls:  # the call was interrupted
            return
        self._calls.discard(call)
        call.channel.in_flight_count -= 1
        if end.status is not None and not call.channel.is_used:
            call.channel.is_used = True
            self.opened_count += 1
        exchange = call.exchange
        exchange.status, exchange.error, exchange.detail = end
        exchange.end_ns, exchange.body = end_ns, body
        exchange.bytes_received = exchange.bytes_received or len(body)
        # Start the next call first, so that it does not wait for the check of this response.
        if self._waiting_exchanges and len(self._calls) < self._max_calls:
            self._start_call(self._waiting_exchanges.popleft())
        exchange.on_done(exchange)
