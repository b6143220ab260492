"""How a target speaks TLS, by a handshake of its own in which nothing is asked."""

from __future__ import annotations

import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from app.records.trial import TlsFacts
from loadgen.records import Endpoint
from loadgen.transport.address import EndpointError
from loadgen.transport.tls import tls_context

_ENCRYPTED = {"https": 443, "grpcs": 443}


def tls_facts(endpoint: Endpoint) -> TlsFacts | None:
    """None where it is not encrypted, where a proxy or a socket stands between, and where the handshake fails."""
    parts = urlsplit(endpoint.urls[0]) if endpoint.urls else urlsplit("")
    if parts.scheme not in _ENCRYPTED or endpoint.proxy is not None or endpoint.unix_socket is not None:
        return None
    host, port = parts.hostname or "", parts.port or _ENCRYPTED[parts.scheme]
    try:
        context = tls_context(endpoint.tls)
        if parts.scheme == "grpcs":
            context.set_alpn_protocols(["h2"])
        limit_s = endpoint.timeouts.connect_s
        with (
            socket.create_connection((host, port), timeout=limit_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            return _facts(encrypted)
    except (OSError, EndpointError):  # the request itself has told what is wrong
        return None


def _facts(connection: ssl.SSLSocket) -> TlsFacts:
    certificate: dict[str, Any] = connection.getpeercert() or {}  # typeshed has a type of its own for it
    cipher = connection.cipher()
    return TlsFacts(
        version=connection.version() or "TLS",
        cipher="unknown" if cipher is None else cipher[0],
        subject=_name(certificate.get("subject", ())),
        issuer=_name(certificate.get("issuer", ())),
        valid_until=certificate.get("notAfter"),
    )


def _name(parts: tuple[tuple[tuple[str, str], ...], ...]) -> str | None:
    """The common name, else the organisation."""
    named = {key: value for part in parts for key, value in part}
    found = named.get("commonName") or named.get("organizationName")
    return None if found is None else "".join(one for one in found if one.isprintable())[:200]
