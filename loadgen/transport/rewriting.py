"""Requests are built for the endpoint's first URL; what another way to send asks for is changed when they are sent."""

from __future__ import annotations

from collections.abc import Callable

from loadgen.transport.address import Address
from loadgen.transport.proxy import Proxy

Rewrite = Callable[[bytes], bytes]


def rewrite_for(address: Address, built_for: Address, proxy: Proxy | None) -> Rewrite | None:
    """What a request built for `built_for` needs on its way to `address`, through `proxy` if there is one.

    A tunnel carries requests as they are, so that to an https address the proxy asks for nothing.
    """
    rehost = None if address.authority == built_for.authority else _with_host(address, built_for)
    if proxy is None or address.is_tls:
        return rehost
    through = _in_absolute_form(address, proxy)
    return through if rehost is None else lambda request: through(rehost(request))


def _with_host(address: Address, built_for: Address) -> Rewrite:
    """The Host header is the first; one that the user wrote otherwise stays."""
    built = f"\r\nHost: {built_for.authority}\r\n".encode()
    wanted = f"\r\nHost: {address.authority}\r\n".encode()

    def rewrite(request: bytes) -> bytes:
        at = request.find(b"\r\n")
        if not request.startswith(built, at):
            return request
        return b"".join((request[:at], wanted, request[at + len(built) :]))

    return rewrite


def _in_absolute_form(address: Address, proxy: Proxy) -> Rewrite:
    origin = f"http://{address.authority}".encode()
    credentials = b"" if proxy.authorization is None else f"Proxy-Authorization: {proxy.authorization}\r\n".encode()

    def rewrite(request: bytes) -> bytes:
        path_at = request.find(b" ") + 1
        line_end = request.find(b"\r\n") + 2
        return b"".join((request[:path_at], origin, request[path_at:line_end], credentials, request[line_end:]))

    return rewrite
