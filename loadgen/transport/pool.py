"""Keep-alive connections to one address, and the arrivals that wait for one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from time import perf_counter_ns

from loadgen.records import Endpoint, Tls
from loadgen.transport.address import Address
from loadgen.transport.connection import Connection
from loadgen.transport.exchange import Exchange, ResolveError

_SWEEP_S = 0.1
_OPEN_AT_ONCE = 32


class ConnectionPool:
    """Sends each exchange on the idle connection used last, else on a new one, else when one is free, oldest first.

    Nothing is ever sent twice. All methods belong to the loop's thread. Deadlines are looked at every 0.1 s, so that a
    request costs no timer. `opened` counts connections, `sent` requests, failed connections included.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, address: Address, endpoint: Endpoint) -> None:
        self._loop, self._address = loop, address
        self._timeouts = endpoint.timeouts
        self._max_connections = endpoint.max_connections
        self._tls = _tls_context(endpoint.tls) if address.is_tls else None
        self._hosts: list[str] = []
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[Exchange] = deque()
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        self.opened = 0
        self.sent = 0

    async def resolve(self) -> None:
        """Look the host up, once for all the connections that follow. Raises ResolveError."""
        try:
            found = await self._loop.getaddrinfo(self._address.host, self._address.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ResolveError(f"{self._address.host} cannot be resolved: {error.strerror or error}") from error
        self._hosts = list(dict.fromkeys(str(address[0]) for *_, address in found))

    def submit(self, exchange: Exchange) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.can_send:
                self.sent += 1
                connection.send(exchange)
                return
        exchange.asked_ns = perf_counter_ns()
        self._waiting.append(exchange)
        self._open_for_waiting()

    def cut(self) -> None:
        """End everything that is in flight or waits, as timed out."""
        for connection in list(self._connections):
            connection.cut("timeout")
        now_ns = perf_counter_ns()
        while self._waiting:
            exchange = self._waiting.popleft()
            exchange.error, exchange.end_ns = "timeout", now_ns
            exchange.on_done(exchange)

    def close(self) -> None:
        self._sweeper.cancel()
        for task in self._opening:
            task.cancel()
        self.cut()
        for connection in list(self._connections):
            connection.close()

    def _open_for_waiting(self) -> None:
        # Opening costs more than sending: after a stall of ours, a connection for every arrival that has come due would
        # make the next stall. So at most as many at once as there are, which still doubles them every round trip.
        opening, established = len(self._opening), len(self._connections)
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
                await self._connect()
        except ssl.SSLError as error:
            self._fail_oldest("tls", error.reason or str(error))
        except TimeoutError:
            self._fail_oldest("connect", f"no connection within {self._timeouts.connect_s:g} s")
        except OSError as error:
            self._fail_oldest("connect", error.strerror or str(error))

    async def _connect(self) -> None:
        """One connection to the first of the host's addresses that takes it; that one is tried first from then on."""
        failure: OSError | None = None
        for host in list(self._hosts):
            try:
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._free, self._lost),
                    host,
                    self._address.port,
                    ssl=self._tls,
                    server_hostname=self._address.host if self._tls else None,
                )
            except OSError as error:
                failure = failure or error
                continue
            if not connection.can_send:
                failure = failure or ConnectionResetError("the connection was closed at once")
                continue
            if self._hosts[0] != host:
                self._hosts.sort(key=lambda other: other != host)
            self.opened += 1
            self._connections.add(connection)
            self._free(connection)
            return
        raise failure or OSError("the host has no address")

    def _fail_oldest(self, error: str, detail: str) -> None:
        if self._waiting:
            exchange = self._waiting.popleft()
            exchange.error, exchange.detail = error, detail
            exchange.sent_ns, exchange.end_ns = exchange.asked_ns, perf_counter_ns()
            self.sent += 1
            exchange.on_done(exchange)

    def _free(self, connection: Connection) -> None:
        if self._waiting and connection.can_send:
            self.sent += 1
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._open_for_waiting()

    def _sweep(self) -> None:
        now_ns = perf_counter_ns()
        idle_ns, total_ns = int(self._timeouts.idle_s * 1e9), int(self._timeouts.total_s * 1e9)
        for connection in [each for each in self._connections if each.is_overdue(now_ns, idle_ns, total_ns)]:
            connection.cut("timeout")
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
