"""Open connections over TCP, a Unix socket, an HTTP proxy, or a tunnel through an HTTP proxy."""

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
from loadgen.transport.exchange import ResolveError, is_local_limit_error
from loadgen.transport.proxy import Proxy
from loadgen.transport.tls import build_tls_context

T = TypeVar("T")

NewConnection = Callable[[], Connection]

_MAX_PROXY_BYTES = 65_536
_STATUS_LINE_PATTERN = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r)")


class Route(Protocol):
    async def resolve(self) -> None:
        """Resolve the host name of the route once for all later connections. Raises ResolveError if
        the name cannot be resolved."""
        ...

    async def connect(self, new_connection: NewConnection, /) -> Connection:
        """Open a connection over the route. Raises OSError, or ssl.SSLError (a subclass) if the TLS
        handshake fails."""
        ...


def build_route(loop: asyncio.AbstractEventLoop, address: Address, endpoint: Endpoint, proxy: Proxy | None) -> Route:
    """Build the route to an address, according to the endpoint's Unix socket, proxy and TLS
    settings. Raises TlsFileError if a certificate or key file is invalid."""
    tls_context = build_tls_context(endpoint.tls) if address.is_tls else None
    if endpoint.unix_socket is not None:
        return _UnixRoute(loop, endpoint.unix_socket, address.host, tls_context)
    if proxy is None:
        return _TcpRoute(loop, address.host, address.port, tls_context)
    return _ProxyRoute(loop, proxy) if tls_context is None else _TunnelRoute(loop, proxy, address, tls_context)


class _HostAddresses:
    """IP addresses of a host. Each connection first tries the address that accepted the previous
    connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        self._loop, self._host, self._port = loop, host, port
        self._addresses: list[str] = []

    async def resolve(self) -> None:
        try:
            address_infos = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            if self._addresses:  # keep the previous result: a lookup can fail for lack of file descriptors
                return
            reason = getattr(error, "strerror", None) or error
            raise ResolveError(f"{self._host} cannot be resolved: {reason}") from error
        self._addresses = list(dict.fromkeys(str(address[0]) for *_, address in address_infos))

    async def connect(self, open_connection: Callable[[str], Awaitable[T]]) -> T:
        last_error: OSError | None = None
        for ip in list(self._addresses):
            try:
                connection = await open_connection(ip)
            except OSError as error:
                # Prefer other errors to local limits: this machine may lack an address of one IP
                # version.
                last_error = error if last_error is None or is_local_limit_error(last_error) else last_error
                continue
            if self._addresses[0] != ip:
                self._addresses.sort(key=lambda other_ip: other_ip != ip)
            return connection
        raise last_error or OSError("the host has no address")


class _TcpRoute:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, host: str, port: int, tls_context: ssl.SSLContext | None
    ) -> None:
        self._loop, self._port, self._tls_context = loop, port, tls_context
        self._server_name = host if tls_context else None
        self._host_addresses = _HostAddresses(loop, host, port)

    async def resolve(self) -> None:
        await self._host_addresses.resolve()

    async def connect(self, new_connection: NewConnection) -> Connection:
        return await self._host_addresses.connect(lambda host: self._connect(host, new_connection))

    async def _connect(self, host: str, new_connection: NewConnection) -> Connection:
        _, connection = await self._loop.create_connection(
            new_connection, host, self._port, ssl=self._tls_context, server_hostname=self._server_name
        )
        return _require_open(connection)


class _UnixRoute:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, path: str, host: str, tls_context: ssl.SSLContext | None
    ) -> None:
        self._loop, self._path, self._tls_context = loop, path, tls_context
        self._server_name = host if tls_context else None

    async def resolve(self) -> None:
        """Do nothing, because a Unix socket has no host name to resolve."""

    async def connect(self, new_connection: NewConnection) -> Connection:
        _, connection = await self._loop.create_unix_connection(
            new_connection, self._path, ssl=self._tls_context, server_hostname=self._server_name
        )
        return _require_open(connection)


class _ProxyRoute(_TcpRoute):
    """Route to plain HTTP endpoints over an HTTP proxy. The requests must contain absolute URLs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: Proxy) -> None:
        super().__init__(loop, proxy.host, proxy.port, None)
        self._proxy = proxy

    async def resolve(self) -> None:
        await _resolve_proxy(self._host_addresses)

    async def connect(self, new_connection: NewConnection) -> Connection:
        try:
            return await super().connect(new_connection)
        except OSError as error:
            raise _build_proxy_error(self._proxy, error) from error


class _TunnelRoute:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, proxy: Proxy, address: Address, tls_context: ssl.SSLContext
    ) -> None:
        self._loop, self._proxy, self._address, self._tls_context = loop, proxy, address, tls_context
        self._host_addresses = _HostAddresses(loop, proxy.host, proxy.port)

    async def resolve(self) -> None:
        await _resolve_proxy(self._host_addresses)

    async def connect(self, new_connection: NewConnection) -> Connection:
        try:
            tunnel = await self._host_addresses.connect(self._open_tunnel)
        except OSError as error:
            raise _build_proxy_error(self._proxy, error) from error
        _, connection = await self._loop.create_connection(
            new_connection, sock=tunnel, ssl=self._tls_context, server_hostname=self._address.host
        )
        return _require_open(connection)

    async def _open_tunnel(self, host: str) -> socket.socket:
        tunnel = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            tunnel.setblocking(False)
            tunnel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(tunnel, (host, self._proxy.port))
            await self._loop.sock_sendall(tunnel, _encode_connect_request(self._address, self._proxy))
            response = b""
            while b"\r\n\r\n" not in response:
                data = await self._loop.sock_recv(tunnel, 4096)
                response += data
                if not data or len(response) > _MAX_PROXY_BYTES:
                    raise OSError("the CONNECT request received no response")
            match = _STATUS_LINE_PATTERN.match(response)
            if match is None or match[1][:1] != b"2":
                raise OSError(
                    f"the CONNECT request was rejected with status {match[1].decode() if match else 'unknown'}"
                )
        except BaseException:
            tunnel.close()
            raise
        return tunnel


def _encode_connect_request(address: Address, proxy: Proxy) -> bytes:
    host = f"[{address.host}]" if ":" in address.host else address.host
    authority = f"{host}:{address.port}"  # CONNECT always requires the port
    credentials = "" if proxy.authorization is None else f"Proxy-Authorization: {proxy.authorization}\r\n"
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credentials}\r\n".encode()


async def _resolve_proxy(host_addresses: _HostAddresses) -> None:
    try:
        await host_addresses.resolve()
    except ResolveError as error:
        raise ResolveError(f"the proxy {error}") from error


def _build_proxy_error(proxy: Proxy, error: OSError) -> OSError:
    text = f"the proxy {proxy.host_port} failed: {error.strerror or error}"
    return OSError(text) if error.errno is None else OSError(error.errno, text)


def _require_open(connection: Connection) -> Connection:
    if not connection.can_send:
        raise ConnectionResetError(connection.close_reason or "the connection was closed immediately")
    return connection
