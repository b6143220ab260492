"""URLs of a target, as a profile may write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from app.profiles import secrets
from app.profiles.problems import BadValueError


def _reader(*schemes: str) -> Callable[[object], str]:
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise BadValueError("the URL must be text")
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018 - reading it checks it
        except ValueError as error:
            raise BadValueError("this is not a URL") from error
        secrets.refuse_secrets_in_url(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise BadValueError(f"the URL must start with {wanted} and name a host")
        if not value.isprintable() or not value.isascii() or " " in value or parts.fragment:
            raise BadValueError("the URL must be percent-encoded, without a fragment")
        return value

    return read


_read_http = _reader("http", "https")
_read_grpc = _reader("grpc", "grpcs")


def _read_grpc_url(value: object) -> str:
    url = _read_grpc(value)
    parts = urlsplit(url)
    if parts.path.rstrip("/") or parts.query:
        raise BadValueError("a gRPC URL has neither a path nor a query", hint="Write grpc://host:port.")
    if parts.port is None:
        raise BadValueError("a gRPC URL needs its port", hint="Write grpc://host:port; Triton's is usually 8001.")
    return url


def _read_ready(value: object) -> str:
    if isinstance(value, str) and value.startswith("/"):
        _read_http(f"http://host{value}")
        return value
    return _read_http(value)


HttpUrl = Annotated[str, BeforeValidator(_read_http)]
GrpcUrl = Annotated[str, BeforeValidator(_read_grpc_url)]
ReadyUrl = Annotated[str, BeforeValidator(_read_ready)]
"""A URL, or a path on the target's host."""
