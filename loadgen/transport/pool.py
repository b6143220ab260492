"""Pool of keep-alive connections to one address, with a queue of requests that wait for a free
connection."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from itertools import islice
from time import perf_counter_ns

from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.connection import Connection, build_rewrite
from loadgen.transport.exchange import LOCAL_LIMIT, Exchange, classify_connect_error
from loadgen.transport.proxy import parse_proxy_url
from loadgen.transport.responses import HeadCache, ReceivedBytes
from loadgen.transport.routes import build_route
from loadgen.transport.tls import describe_tls_failure

_SWEEP_INTERVAL_S = 0.1
_MIN_CONCURRENT_CONNECTS = 32
_MIN_KEPT_CONNECTIONS = 32
_MAX_UNUSED_NS = 30_000_000_000
"""Time in ns after which an unused connection is closed if more than `_MIN_KEPT_CONNECTIONS` are
open. Requests use the most recently used idle connection, so such a connection is one of those that
only an earlier stall or peak needed."""
_MAX_CLOSED_PER_SWEEP = 8
"""Maximum number of unused connections that are closed at once, so that the closing of a thousand
delays no request."""


class ConnectionPool:
    """Pool of HTTP connections to one address. All methods must be called on the thread of the
    event loop.

    Each request is sent on the most recently used idle connection, or else on a new connection. If
    all connections are busy, requests wait in FIFO order. A request is never sent twice.

    A request that waits longer than `total_s` (or `connect_s`, if longer) times out, as in a real
    client. This also limits the length of the queue. Timeouts are checked every 0.1 s, so that
    requests need no timers. Idle connections beyond those that the load has used in the last 30 s are
    closed gradually, at most 80/s; 32 connections always stay open.

    `opened_count` is the number of connections that were opened. `sent_count` is the number of
    requests that were sent, including requests whose connection failed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        endpoint: Endpoint,
        *,
        max_connections: int | None = None,
        request_address: Address | None = None,
        received_bytes: ReceivedBytes | None = None,
    ) -> None:
        """Create the pool. Raises EndpointError if the endpoint's settings are invalid.

        `request_address` is the address for which the requests are built, if not `address`.
        `received_bytes` is shared by all pools of the load worker.
        """
        proxy = None if endpoint.proxy is None or endpoint.unix_socket is not None else parse_proxy_url(endpoint.proxy)
        self._loop, self._timeouts = loop, endpoint.timeouts
        self._max_connections = max_connections or endpoint.max_connections
        self._route = build_route(loop, address, endpoint, proxy)
        self._rewrite = build_rewrite(address, request_address or address, proxy)
        self._head_cache, self._received_bytes = HeadCache(), received_bytes or ReceivedBytes()
        self._idle_connections: dict[Connection, None] = {}
        self._connections: set[Connection] = set()
        self._connect_tasks: set[asyncio.Task[None]] = set()
        self._waiting_exchanges: deque[Exchange] = deque()
        self._sweep_timer = loop.call_later(_SWEEP_INTERVAL_S, self._sweep)
        self._on_free = self._release if endpoint.reuses_connections else self._close_connection
        self.opened_count = 0
        self.sent_count = 0
        self.closed_idle_count = 0

    @property
    def outstanding_count(self) -> int:
        """Number of requests that are in flight or waiting for a connection."""
        return len(self._connections) - len(self._idle_connections) + len(self._waiting_exchanges)

    def list_descriptors(self) -> list[int]:
        return [connection.descriptor for connection in self._connections if connection.can_send]

    async def resolve(self) -> None:
        """Resolve the endpoint's host name once for all later connections. Raises ResolveError if
        the name cannot be resolved."""
        await self._route.resolve()

    def submit(self, exchange: Exchange) -> None:
        idle_connections = self._idle_connections
        while idle_connections:
            if idle_connections.popitem()[0].send(exchange):
                self.sent_count += 1
                return
        exchange.queued_ns = perf_counter_ns()
        self._waiting_exchanges.append(exchange)
        self._open_connections()

    def abort(self) -> None:
        """End all requests that are in flight or waiting for a connection, with the error
        `timeout`."""
        for connection in list(self._connections):
            connection.abort("timeout")
        waiting_exchanges, self._waiting_exchanges = self._waiting_exchanges, deque()
        for exchange in waiting_exchanges:
            _time_out(exchange)

    def close(self) -> None:
        self._sweep_timer.cancel()
        self._max_connections = 0  # a request submitted in response to the cut must not open a connection
        for task in self._connect_tasks:
            task.cancel()
        self.abort()
        for connection in list(self._connections):
            connection.close()

    def _open_connections(self) -> None:
        # Opening a connection takes longer than sending a request: after a stall of this process,
        # opening a connection for every due arrival would cause the next stall. So at most as many
        # connections are opened at once as exist, which still doubles their number every round
        # trip.
        connecting_count, established_count = len(self._connect_tasks), len(self._connections)
        if connecting_count + established_count >= self._max_connections:
            return
        max_connecting_count = max(_MIN_CONCURRENT_CONNECTS, established_count)
        max_new_count = min(self._max_connections - established_count, max_connecting_count)
        new_count = min(max_new_count, len(self._waiting_exchanges)) - connecting_count
        for _ in range(new_count):
            task = self._loop.create_task(self._open_connection())
            self._connect_tasks.add(task)
            task.add_done_callback(self._on_connect_task_done)

    def _on_connect_task_done(self, task: asyncio.Task[None]) -> None:
        self._connect_tasks.discard(task)
        self._open_connections()

    async def _open_connection(self) -> None:
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                connection = await self._route.connect(self._create_connection)
        except ssl.SSLError as error:
            self._fail_oldest_exchange("tls", describe_tls_failure(error))
        except TimeoutError:
            self._fail_oldest_exchange(
                "connect", f"no connection was established within {self._timeouts.connect_s:g} s"
            )
        except OSError as error:
            self._fail_oldest_exchange(classify_connect_error(error), error.strerror or str(error))
        except MemoryError:
            self._fail_oldest_exchange(LOCAL_LIMIT, "the load worker ran out of memory")
        except Exception as error:  # any error must fail a request, or connections would be requested forever
            self._fail_oldest_exchange("connect", type(error).__name__)
        else:
            self.opened_count += 1
            self._connections.add(connection)
            self._release(connection)

    def _create_connection(self) -> Connection:
        return Connection(self._on_free, self._on_lost, self._head_cache, self._rewrite, self._received_bytes)

    def _fail_oldest_exchange(self, error: str, detail: str) -> None:
        if self._waiting_exchanges:
            exchange = self._waiting_exchanges.popleft()
            exchange.error, exchange.detail = error, detail
            exchange.sent_ns, exchange.end_ns = exchange.queued_ns, perf_counter_ns()
            self.sent_count += 1
            exchange.on_done(exchange)

    def _release(self, connection: Connection) -> None:
        if not self._waiting_exchanges:
            self._idle_connections[connection] = None
        elif connection.send(self._waiting_exchanges[0]):
            self._waiting_exchanges.popleft()
            self.sent_count += 1

    def _close_connection(self, connection: Connection) -> None:
        connection.close()

    def _on_lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle_connections:
            del self._idle_connections[connection]
            self.closed_idle_count += 1
        self._open_connections()

    def _sweep(self) -> None:
        """Abort the connections and queued requests that exceed their timeouts, close unused connections, and
        schedule the next sweep."""
        self._sweep_timer = self._loop.call_later(_SWEEP_INTERVAL_S, self._sweep)
        now_ns = perf_counter_ns()
        timeouts = self._timeouts
        idle_ns, total_ns = int(timeouts.idle_s * 1e9), int(timeouts.total_s * 1e9)
        for connection in [
            open_connection
            for open_connection in self._connections
            if open_connection.is_overdue(now_ns, idle_ns, total_ns)
        ]:
            connection.abort("timeout")
        self._close_unused_connections(now_ns)
        # Allow time for a failed connection attempt to be reported first, because it is the better
        # reason.
        max_wait_s = max(timeouts.total_s, timeouts.connect_s + 2 * _SWEEP_INTERVAL_S)
        while self._waiting_exchanges and self._waiting_exchanges[0].queued_ns < now_ns - max_wait_s * 1e9:
            _time_out(self._waiting_exchanges.popleft(), f"no connection was free for {max_wait_s:g} s")

    def _close_unused_connections(self, now_ns: int) -> None:
        unused_connections = [
            connection
            for connection in islice(self._idle_connections, _MAX_CLOSED_PER_SWEEP)  # the longest idle ones
            if now_ns - connection.last_used_ns > _MAX_UNUSED_NS
        ]
        for connection in unused_connections[: max(len(self._connections) - _MIN_KEPT_CONNECTIONS, 0)]:
            del self._idle_connections[connection]
            connection.close()


def _time_out(exchange: Exchange, detail: str | None = None) -> None:
    exchange.error, exchange.detail, exchange.end_ns = "timeout", detail, perf_counter_ns()
    exchange.on_done(exchange)
