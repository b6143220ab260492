"""Describe the server of a measured target for its deployment: name, port and health checks.

The readiness path is the one in the profile, or else the one that the protocol defines.
"""

from __future__ import annotations

from urllib.parse import SplitResult, quote, urlsplit

import msgspec

from app.profiles.endpoint import EndpointSettings
from app.profiles.local import LocalProfile
from app.profiles.profile import Profile
from app.profiles.secrets import is_sensitive_header
from app.records.protocols import get_protocol
from app.records.server import MeasuredServer

_DEFAULT_PORTS = {"http": 80, "https": 443}


def describe_server(profile: Profile) -> MeasuredServer:
    """Return what a profile states about its server. A local profile states only its name, because
    the model has not been served yet."""
    if isinstance(profile, LocalProfile):
        return MeasuredServer(profile.name)
    target = profile.target
    url_parts = urlsplit(next(iter(target.all_urls), ""))
    # a port that TLS implies is that of a gateway, not that of the server
    port = url_parts.port or (80 if url_parts.scheme == "http" else None)
    server = MeasuredServer(profile.name, port)
    if isinstance(target, EndpointSettings):
        protocol = get_protocol(target.protocol)
        is_served_by_run = getattr(target, "serve", None) is not None
        base_path = (urlsplit(protocol.target["url"]) if is_served_by_run else url_parts).path.rstrip("/")
        server = msgspec.structs.replace(
            server,
            ready_path=_find_protocol_ready_path(target, base_path),
            live_path=f"{base_path}{protocol.live_path}" if protocol.live_path else None,
        )
    if target.start is None:
        return server
    ready_url = urlsplit(target.start.ready)
    ready_path = (ready_url.path or "/") + (f"?{ready_url.query}" if ready_url.query else "")
    ready_port = _find_port(ready_url)
    ready_port = None if ready_port == _find_port(url_parts) else ready_port
    return msgspec.structs.replace(server, ready_path=ready_path, ready_port=ready_port)


def _find_port(url_parts: SplitResult) -> int | None:
    return url_parts.port or _DEFAULT_PORTS.get(url_parts.scheme)


def _find_protocol_ready_path(target: EndpointSettings, base_path: str) -> str | None:
    """Return the path of the protocol that reports readiness, `None` if there is none without
    credentials, which a Kubernetes probe does not have."""
    protocol = get_protocol(target.protocol)
    if protocol.ready_path:
        version = getattr(target, "version", None)
        return base_path + protocol.ready_path.format(
            model=quote(target.model_name or "", safe=""),
            version="" if version is None else f"/versions/{quote(version, safe='')}",
        )
    if protocol.model_list is None or protocol.model_list.method != "GET" or _needs_key(target):
        return None
    return protocol.model_list.build_url(base_path)


def _needs_key(target: EndpointSettings) -> bool:
    return target.api_key is not None or any(map(is_sensitive_header, target.headers))
