"""Parse HTTP and gRPC URLs (grpc://host:port, or grpcs:// for TLS) into addresses.

The module does not import gRPC, because the import is slow.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec


class EndpointError(ValueError):
    """Error that is raised when the settings of an endpoint are invalid. The message is a sentence
    without secrets."""


class UrlError(EndpointError):
    """Error that is raised when a URL is invalid or not supported. The message states the reason
    and never contains a password."""


class Address(msgspec.Struct, frozen=True):
    """Address of an endpoint. `path` includes the query, as in the request line. `authority` is the
    value of the Host header."""

    host: str
    port: int
    is_tls: bool
    path: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    def format_url(self, path: str) -> str:
        """Return the URL of `path` at this address. The query is omitted, because it may contain
        secrets."""
        return f"{'https' if self.is_tls else 'http'}://{self.authority}{path.partition('?')[0]}"


def parse_url(url: str) -> Address:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UrlError("the URL must start with http:// or https:// and contain a host")
    if parts.username is not None:
        raise UrlError("the URL contains a user name. Set credentials in the target's headers.")
    try:
        port = parts.port
        host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode()
    except (ValueError, UnicodeError) as error:
        raise UrlError(f"the URL has an invalid host or port: {error}") from error
    is_tls = parts.scheme == "https"
    path = parts.path or "/"
    return Address(
        host=host,
        port=port or (443 if is_tls else 80),
        is_tls=is_tls,
        path=f"{path}?{parts.query}" if parts.query else path,
    )


_SCHEMES = {"grpc": "http", "grpcs": "https", "http": "http", "https": "https"}


def parse_grpc_url(url: str) -> Address:
    """Parse a gRPC URL into an address. Raises UrlError if the URL is invalid."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UrlError(f"the URL has an invalid host or port: {error}") from error
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise UrlError("the URL must start with grpc:// or grpcs:// and contain a host")
    if parts.path not in ("", "/") or parts.query:
        raise UrlError("a gRPC URL must end with the port, without a path or query")
    return parse_url(parts._replace(scheme=_SCHEMES[parts.scheme]).geturl())


def format_grpc_method(address: Address, method: str) -> str:
    return f"{'grpcs' if address.is_tls else 'grpc'}://{address.authority}{method}"
