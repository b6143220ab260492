"""Parse the URL of an HTTP proxy between the load generator and the endpoint."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import unquote, urlsplit

import msgspec

from loadgen.transport.address import UrlError


class Proxy(msgspec.Struct, frozen=True):
    """Address and credentials of an HTTP proxy. `authorization` is the value of the
    Proxy-Authorization header, which is secret."""

    host: str
    port: int
    authorization: str | None = None

    def __repr__(self) -> str:
        return f"Proxy({self.host_port})"

    @property
    def host_port(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_proxy_url(url: str) -> Proxy:
    """Parse the URL of an HTTP proxy. Raises UrlError if the URL is invalid; the message never
    contains the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlError("the proxy's URL has an invalid host or port") from error
    if parts.scheme != "http" or not parts.hostname:
        raise UrlError("the proxy's URL must start with http:// and contain a host")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(credentials.encode()).decode()}"
    return Proxy(parts.hostname, port or 80, authorization)
