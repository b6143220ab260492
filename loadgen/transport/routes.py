"""The ways a connection can be made: by TCP, by a unix socket, through a proxy's tunnel."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.transport.connection import Connection
from loadgen.transport.exchange import ResolveError, is_local_limit
from loadgen.transport.proxy import Proxy
from loadgen.transport.tls import tls_context

T = TypeVar("T")

NewConnection = Callable[[], Connection]

_MOST_PROXY_BYTES = 65_536
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r)")


class Route(Protocol):
    async def resolve(self) -> None:
        """Look the host up, once for all the connections that follow. Raises ResolveError."""
        ...

    async def connect(self, new_connection: NewConnection, /) -> Connection:
        """Raises OSError, of which ssl.SSLError is one."""
        ...


def route_to(loop: asyncio.AbstractEventLoop, address: Address, endpoint: Endpoint, proxy: Proxy | None) -> Route:
    """Raises TlsFileError."""
    tls = tls_context(endpoint.tls) if address.is_tls else None
    if endpoint.unix_socket is not None:
        return _UnixRoute(loop, endpoint.unix_socket, address.host, tls)
    if proxy is None:
        return _TcpRoute(loop, address.host, address.port, tls)
    return _ProxyRoute(loop, proxy) if tls is None else _TunnelRoute(loop, proxy, address, tls)


class _Hosts:
    """The addresses of a host; the one that took a connection last is tried first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        self._loop, self._host, self._port = loop, host, port
        self._found: list[str] = []

    async def resolve(self) -> None:
        try:
            found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            if self._found:  # a lookup opens files: idle connections may have left no descriptor for it
                return
            reason = getattr(error, "strerror", None) or error
            raise ResolveError(f"{self._host} cannot be resolved: {reason}") from error
        self._found = list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def connect(self, attempt: Callable[[str], Awaitable[T]]) -> T:
        failure: OSError | None = None
        for host in list(self._found):
            try:
                made = await attempt(host)
            except OSError as error:
                # one of several addresses may be of a family that this machine has no address of
                failure = error if failure is None or is_local_limit(failure) else failure
                continue
            if self._found[0] != host:
                self._found.sort(key=lambda other: other != host)
            return made
        raise failure or OSError("the host has no address")


class _TcpRoute:
    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._loop, self._port, self._tls = loop, port, tls
        self._server_name = host if tls else None
        self._hosts = _Hosts(loop, host, port)

    async def resolve(self) -> None:
        await self._hosts.resolve()

    async def connect(self, new_connection: NewConnection) -> Connection:
        return await self._hosts.connect(lambda host: self._connect(host, new_connection))

    async def _connect(self, host: str, new_connection: NewConnection) -> Connection:
        _, connection = await self._loop.create_connection(
            new_connection, host, self._port, ssl=self._tls, server_hostname=self._server_name
        )
        return _alive(connection)


class _UnixRoute:
    def __init__(self, loop: asyncio.AbstractEventLoop, path: str, host: str, tls: ssl.SSLContext | None) -> None:
        self._loop, self._path, self._tls = loop, path, tls
        self._server_name = host if tls else None

    async def resolve(self) -> None:
        """There is nothing to look up."""

    async def connect(self, new_connection: NewConnection) -> Connection:
        _, connection = await self._loop.create_unix_connection(
            new_connection, self._path, ssl=self._tls, server_hostname=self._server_name
        )
        return _alive(connection)


class _ProxyRoute(_TcpRoute):
    """To a proxy that is asked for absolute URLs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: Proxy) -> None:
        super().__init__(loop, proxy.host, proxy.port, None)
        self._proxy = proxy

    async def resolve(self) -> None:
        await _resolve_proxy(self._hosts)

    async def connect(self, new_connection: NewConnection) -> Connection:
        try:
            return await super().connect(new_connection)
        except OSError as error:
            raise _proxy_error(self._proxy, error) from error


class _TunnelRoute:
    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: Proxy, address: Address, tls: ssl.SSLContext) -> None:
        self._loop, self._proxy, self._address, self._tls = loop, proxy, address, tls
        self._hosts = _Hosts(loop, proxy.host, proxy.port)

    async def resolve(self) -> None:
        await _resolve_proxy(self._hosts)

    async def connect(self, new_connection: NewConnection) -> Connection:
        try:
            tunnel = await self._hosts.connect(self._dig)
        except OSError as error:
            raise _proxy_error(self._proxy, error) from error
        _, connection = await self._loop.create_connection(
            new_connection, sock=tunnel, ssl=self._tls, server_hostname=self._address.host
        )
        return _alive(connection)

    async def _dig(self, host: str) -> socket.socket:
        tunnel = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            tunnel.setblocking(False)
            tunnel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(tunnel, (host, self._proxy.port))
            await self._loop.sock_sendall(tunnel, _connect_request(self._address, self._proxy))
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = await self._loop.sock_recv(tunnel, 4096)
                answer += piece
                if not piece or len(answer) > _MOST_PROXY_BYTES:
                    raise OSError("it gave no answer to CONNECT")
            status = _STATUS_LINE.match(answer)
            if status is None or status[1][:1] != b"2":
                raise OSError(f"it refused the tunnel, status {status[1].decode() if status else 'unknown'}")
        except BaseException:
            tunnel.close()
            raise
        return tunnel


def _connect_request(address: Address, proxy: Proxy) -> bytes:
    host = f"[{address.host}]" if ":" in address.host else address.host
    to = f"{host}:{address.port}"  # with the port, even where a URL would leave it out
    credentials = "" if proxy.authorization is None else f"Proxy-Authorization: {proxy.authorization}\r\n"
    return f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{credentials}\r\n".encode()


async def _resolve_proxy(hosts: _Hosts) -> None:
    try:
        await hosts.resolve()
    except ResolveError as error:
        raise ResolveError(f"the proxy {error}") from error


def _proxy_error(proxy: Proxy, error: OSError) -> OSError:
    text = f"the proxy {proxy.shown}: {error.strerror or error}"
    return OSError(text) if error.errno is None else OSError(error.errno, text)


def _alive(connection: Connection) -> Connection:
    if not connection.can_send:
        raise ConnectionResetError(connection.closed_because or "the connection was closed at once")
    return connection
