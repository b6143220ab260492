"""Build the endpoint of a profile: addresses, permission to load-test the target, secrets and
proxy."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from app.errors import UnavailableError, UsageError
from app.profiles.endpoint import EndpointSettings
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.permission import needs_permission
from app.profiles.secrets import parse_file_reference, resolve_secret
from app.wiring.proxy import find_proxy
from app.wiring.secret_consent import require_consent
from loadgen.records import Endpoint, KeyFile


def resolve_addresses(url: str) -> list[str]:
    """Return the IP addresses of the host in a URL. Raises UnavailableError if the host name cannot
    be resolved."""
    host = urlsplit(url).hostname or ""
    try:
        return [
            str(address_info[4][0]).partition("%")[0]
            for address_info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        ]
    except OSError as error:
        raise UnavailableError(f"the host {host} of target.url cannot be resolved: {error.strerror}",
                               hint="Check the host name in target.url.") from None  # fmt: skip


def build_endpoint(profile: EndpointProfile, run_id: str | None = None) -> Endpoint:
    """Build the endpoint of a profile, with resolved secrets. The trace IDs of requests follow from the ID of the run.

    Raises UsageError if a secret is missing or must not be sent to the host, or if the profile does
    not confirm the permission to load-test a public host. Raises UnavailableError if the host name
    cannot be resolved.
    """
    require_consent(profile)
    target = profile.target
    socket_path = target.socket if isinstance(target, EndpointSettings) else None
    proxy = find_proxy(target.all_urls) if socket_path is None else None
    if socket_path is None and not target.permitted:
        require_permission(target.all_urls, is_proxied=proxy is not None)
    if not isinstance(target, EndpointSettings):
        return Endpoint(urls=target.all_urls, timeouts=target.timeouts)
    headers, key_files = _build_headers(target)
    return Endpoint(
        urls=target.all_urls,
        headers=headers,
        key_files=key_files,
        tls=target.tls,
        timeouts=target.timeouts,
        max_connections=_compute_max_connections(profile, target),
        balance=target.balance,
        unix_socket=None if socket_path is None else str(socket_path),
        proxy=proxy,
        trace_key=run_id if target.traceparent else None,
    )


def _compute_max_connections(profile: EndpointProfile, target: EndpointSettings) -> int:
    """Return the maximum number of connections: the value in the profile, or else the default or
    the largest number of closed-loop clients, whichever is larger."""
    if "max_connections" in target.model_fields_set:
        return target.max_connections
    load = profile.load
    sweep_concurrency = () if load.sweep is None else load.sweep.swept_concurrency
    return max(target.max_connections, 0, *(stage.concurrency or 0 for stage in load.stages), *sweep_concurrency)


def require_permission(urls: tuple[str, ...], *, is_proxied: bool = False, key: str = "target.permitted") -> None:
    """Raise UsageError if any of the URLs or hosts has an address that is neither loopback, private
    nor link-local."""
    for url in urls:
        _require_permission(url if "://" in url else f"//{url}", is_proxied=is_proxied, key=key)


def _require_permission(url: str, *, is_proxied: bool, key: str) -> None:
    try:
        addresses = resolve_addresses(url)
    except UnavailableError:
        if not is_proxied:  # With a proxy, the name may only be resolvable by the proxy.
            raise
        addresses = []
    if addresses and not needs_permission(addresses):
        return
    host = urlsplit(url).hostname
    raise UsageError(
        f"{host} is a public host, and the profile does not confirm that you may load-test it",
        hint=f"If you have permission, set {key} to true, or add --permitted to a command that names a URL.",
    )


def _build_headers(target: EndpointSettings) -> tuple[tuple[tuple[str, str], ...], tuple[KeyFile, ...]]:
    """Return the headers with a fixed value, and the headers whose value is read from a key file.
    Key files are read again when the target rejects a key."""
    references_by_name = dict(target.headers)
    if target.api_key is not None:
        name, prefix = target.key_header
        references_by_name[name] = f"{prefix}{target.api_key}"
    fixed_headers, key_files = [], []
    for name, reference in references_by_name.items():
        value = resolve_secret(reference)  # Raises UsageError for an unreadable file before anything is started.
        file_reference = parse_file_reference(reference)
        if file_reference is None:
            fixed_headers.append((name, value))
        else:
            key_files.append(KeyFile(header=name, path=file_reference[1], prefix=file_reference[0]))
    return tuple(fixed_headers), tuple(key_files)
