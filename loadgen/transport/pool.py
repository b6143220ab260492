"""Keep-alive connections to one address, and the arrivals that wait for one."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from time import perf_counter_ns

from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.answers import KnownHeads, ReceivedBytes
from loadgen.transport.connection import Connection, rewrite_for
from loadgen.transport.exchange import LOCAL_LIMIT, Exchange, connect_error
from loadgen.transport.proxy import proxy_of
from loadgen.transport.routes import route_to
from loadgen.transport.tls import tls_failure

_SWEEP_S = 0.1
_OPEN_AT_ONCE = 32


class ConnectionPool:
    """Sends each exchange on the idle connection used last, else on a new one, else when one is free, oldest first.

    Nothing is ever sent twice. All methods belong to the loop's thread. Deadlines are looked at every 0.1 s, so that a
    request costs no timer. Who waits for a connection gives up after `total_s`: the user would have, and no more can
    wait than come in that time. `opened` counts connections, `sent` requests, failed connections included.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        endpoint: Endpoint,
        *,
        max_connections: int | None = None,
        built_for: Address | None = None,
        received: ReceivedBytes | None = None,
    ) -> None:
        """Raises EndpointError. `built_for`: whose Host header the requests have, if it is not this address.
        `received` is shared with the other pools of the worker."""
        proxy = None if endpoint.proxy is None or endpoint.unix_socket is not None else proxy_of(endpoint.proxy)
        self._loop, self._timeouts = loop, endpoint.timeouts
        self._max_connections = max_connections or endpoint.max_connections
        self._route = route_to(loop, address, endpoint, proxy)
        self._rewrite = rewrite_for(address, built_for or address, proxy)
        self._heads, self._received = KnownHeads(), received or ReceivedBytes()
        self._idle: dict[Connection, None] = {}
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[Exchange] = deque()
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        self._when_free = self._free if endpoint.reuses_connections else self._drop
        self.opened = 0
        self.sent = 0
        self.closed_idle = 0

    @property
    def outstanding(self) -> int:
        """Requests in flight and waiting."""
        return len(self._connections) - len(self._idle) + len(self._waiting)

    async def resolve(self) -> None:
        """Look the host up, once for all the connections that follow. Raises ResolveError."""
        await self._route.resolve()

    def submit(self, exchange: Exchange) -> None:
        idle = self._idle
        while idle:
            if idle.popitem()[0].send(exchange):
                self.sent += 1
                return
        exchange.asked_ns = perf_counter_ns()
        self._waiting.append(exchange)
        self._open_for_waiting()

    def cut(self) -> None:
        """End everything that is in flight or waits, as timed out."""
        for connection in list(self._connections):
            connection.cut("timeout")
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            _give_up(exchange)

    def close(self) -> None:
        self._sweeper.cancel()
        self._max_connections = 0  # what is submitted by someone who hears of the cut opens nothing more
        for task in self._opening:
            task.cancel()
        self.cut()
        for connection in list(self._connections):
            connection.close()

    def _open_for_waiting(self) -> None:
        # Opening costs more than sending: after a stall of ours, a connection for every arrival that has come due would
        # make the next stall. So at most as many at once as there are, which still doubles them every round trip.
        opening, established = len(self._opening), len(self._connections)
        if opening + established >= self._max_connections:
            return
        at_once = max(_OPEN_AT_ONCE, established)
        room = min(self._max_connections - established, at_once, len(self._waiting)) - opening
        for _ in range(room):
            task = self._loop.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._open_for_waiting()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                connection = await self._route.connect(self._new_connection)
        except ssl.SSLError as error:
            self._fail_oldest("tls", tls_failure(error))
        except TimeoutError:
            self._fail_oldest("connect", f"no connection within {self._timeouts.connect_s:g} s")
        except OSError as error:
            self._fail_oldest(connect_error(error), error.strerror or str(error))
        except MemoryError:
            self._fail_oldest(LOCAL_LIMIT, "out of memory")
        except Exception as error:  # whatever it is: unanswered, the request would ask for a connection again and again
            self._fail_oldest("connect", type(error).__name__)
        else:
            self.opened += 1
            self._connections.add(connection)
            self._free(connection)

    def _new_connection(self) -> Connection:
        return Connection(self._when_free, self._lost, self._heads, self._rewrite, self._received)

    def _fail_oldest(self, error: str, detail: str) -> None:
        if self._waiting:
            exchange = self._waiting.popleft()
            exchange.error, exchange.detail = error, detail
            exchange.sent_ns, exchange.end_ns = exchange.asked_ns, perf_counter_ns()
            self.sent += 1
            exchange.on_done(exchange)

    def _free(self, connection: Connection) -> None:
        if not self._waiting:
            self._idle[connection] = None
        elif connection.send(self._waiting[0]):
            self._waiting.popleft()
            self.sent += 1

    def _drop(self, connection: Connection) -> None:
        connection.close()

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            del self._idle[connection]
            self.closed_idle += 1
        self._open_for_waiting()

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        now_ns = perf_counter_ns()
        timeouts = self._timeouts
        idle_ns, total_ns = int(timeouts.idle_s * 1e9), int(timeouts.total_s * 1e9)
        for connection in [each for each in self._connections if each.is_overdue(now_ns, idle_ns, total_ns)]:
            connection.cut("timeout")
        # where a connection cannot be made, that is the better reason, and is to come first
        patience_s = max(timeouts.total_s, timeouts.connect_s + 2 * _SWEEP_S)
        while self._waiting and self._waiting[0].asked_ns < now_ns - patience_s * 1e9:
            _give_up(self._waiting.popleft(), f"no connection was free for {patience_s:g} s")


def _give_up(exchange: Exchange, detail: str | None = None) -> None:
    exchange.error, exchange.detail, exchange.end_ns = "timeout", detail, perf_counter_ns()
    exchange.on_done(exchange)
