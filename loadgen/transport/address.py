"""Where a URL leads.

Where a gRPC URL leads: grpc://host:port, or grpcs:// for TLS. Knows no gRPC, so that looking is
free.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec


class EndpointError(ValueError):
    """Nothing can be sent to the endpoint as it is described; the message is a sentence without secrets."""


class UrlError(EndpointError):
    """The URL cannot be requested; the message says why and never repeats a password."""


class Address(msgspec.Struct, frozen=True):
    """`path` holds the query too, as it goes into the request line; `authority` is what the Host header says."""

    host: str
    port: int
    is_tls: bool
    path: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    def shown(self, path: str) -> str:
        """The URL of `path` here, without its query, which may hold secrets."""
        return f"{'https' if self.is_tls else 'http'}://{self.authority}{path.partition('?')[0]}"


def address_of(url: str) -> Address:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UrlError("the URL must be http:// or https:// and name a host")
    if parts.username is not None:
        raise UrlError("the URL holds a user name: put credentials into the target's headers")
    try:
        port = parts.port
        host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode()
    except (ValueError, UnicodeError) as error:
        raise UrlError(f"the URL's host or port is wrong: {error}") from error
    is_tls = parts.scheme == "https"
    path = parts.path or "/"
    return Address(
        host=host,
        port=port or (443 if is_tls else 80),
        is_tls=is_tls,
        path=f"{path}?{parts.query}" if parts.query else path,
    )


_SCHEMES = {"grpc": "http", "grpcs": "https", "http": "http", "https": "https"}


def grpc_address_of(url: str) -> Address:
    """Raises UrlError."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UrlError(f"the URL's host or port is wrong: {error}") from error
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise UrlError("the URL must be grpc:// or grpcs:// and name a host")
    if parts.path not in ("", "/") or parts.query:
        raise UrlError("a gRPC URL ends with the port: paths and queries are not sent")
    return address_of(parts._replace(scheme=_SCHEMES[parts.scheme]).geturl())


def shown(address: Address, method: str) -> str:
    return f"{'grpcs' if address.is_tls else 'grpc'}://{address.authority}{method}"
