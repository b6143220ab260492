"""Settings of gRPC channels, without retries, compression and service-config lookups."""

from __future__ import annotations

import os
import re
import ssl

# Suppress gRPC's warnings on standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from loadgen.records import Endpoint, Tls
from loadgen.regular_files import read_regular
from loadgen.transport.address import Address, EndpointError
from loadgen.transport.proxy import parse_proxy_url
from loadgen.transport.responses import MAX_RESPONSE_BYTES
from loadgen.transport.tls import MAX_PEM_BYTES, TlsFileError, build_tls_context

Metadata = tuple[tuple[str, str | bytes], ...]
Options = list[tuple[str, str | int]]

_KEY_PATTERN = re.compile(r"[0-9a-z_.-]+")
_RESERVED_KEYS = ("content-type", "content-length", "te", "host", "user-agent", "connection")
_IDENTITY_ONLY = 1
_BACKOFF_MS = 100
"""Time in ms between attempts to reconnect, the minimum that gRPC allows. During this time, calls
fail without an attempt to connect."""


def build_metadata(endpoint: Endpoint) -> Metadata:
    """Return the endpoint's headers as gRPC metadata. Headers that gRPC sets itself are omitted.
    Raises EndpointError for a header that gRPC does not allow."""
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in endpoint.headers:
        key = name.lower()
        if key in _RESERVED_KEYS:
            continue
        if not _KEY_PATTERN.fullmatch(key) or key.startswith("grpc-") or not (value.isascii() and value.isprintable()):
            raise EndpointError(
                f"the header {name!r} is reserved by gRPC or contains a character that gRPC metadata does not allow"
            )
        metadata.append((key, value.encode() if key.endswith("-bin") else value))
    return tuple(metadata)


def load_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Load the TLS credentials for a gRPC channel. Raises EndpointError if the settings or the
    files are invalid."""
    if not tls.verify:
        raise EndpointError(
            "gRPC always verifies the server's certificate. Set the CA file to the certificate of its CA."
        )
    build_tls_context(tls)  # raises for invalid files with the same messages as for HTTP
    ca_file = tls.ca_file or ssl.get_default_verify_paths().cafile
    return grpc.ssl_channel_credentials(
        root_certificates=None if ca_file is None else _read_pem(ca_file),
        private_key=None if tls.cert_file is None else _read_pem(tls.key_file or tls.cert_file),
        certificate_chain=None if tls.cert_file is None else _read_pem(tls.cert_file),
    )


def _read_pem(path: str) -> bytes:
    try:
        return read_regular(path, MAX_PEM_BYTES)
    except OSError as error:
        raise TlsFileError(f"the certificates or keys in {path} cannot be read: {error.strerror}") from error


def build_channel_options(endpoint: Endpoint, address: Address) -> Options:
    connect_ms = max(1, round(endpoint.timeouts.connect_s * 1e3))
    user_agent = next((value for name, value in endpoint.headers if name.lower() == "user-agent"), "sizewise")
    authority = next((value for name, value in endpoint.headers if name.lower() == "host"), address.authority)
    options: Options = [
        ("grpc.primary_user_agent", user_agent),
        ("grpc.default_authority", authority),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),  # otherwise all channels to one target would use the same connection
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
        ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.min_reconnect_backoff_ms", connect_ms),  # the timeout of one attempt
        ("grpc.initial_reconnect_backoff_ms", _BACKOFF_MS),
        ("grpc.max_reconnect_backoff_ms", _BACKOFF_MS),
        ("grpc.enable_http_proxy", 0 if endpoint.proxy is None else 1),
    ]
    if address.is_tls:
        options.append(("grpc.ssl_target_name_override", address.host))
    if endpoint.proxy is not None:
        parse_proxy_url(endpoint.proxy)
        options.append(("grpc.http_proxy", endpoint.proxy))
    return options
