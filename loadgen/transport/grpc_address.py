"""Where a gRPC URL leads: grpc://host:port, or grpcs:// for TLS. Knows no gRPC, so that looking is free."""

from __future__ import annotations

from urllib.parse import urlsplit

from loadgen.transport.address import Address, UrlError, address_of

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
