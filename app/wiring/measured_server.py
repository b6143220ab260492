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
from app.profiles.target import (
    BatchTarget,
    EmbeddingsTarget,
    GeneratingTarget,
    ImageTarget,
    OipTarget,
    RealtimeTarget,
    RerankTarget,
    SpeechTarget,
    TfServingTarget,
    TorchServeTarget,
    TranscriptionTarget,
)
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
        is_served_by_run = isinstance(target, GeneratingTarget) and target.serve is not None
        base_path = "/v1" if is_served_by_run else url_parts.path.rstrip("/")
        server = msgspec.structs.replace(
            server,
            ready_path=_find_protocol_ready_path(target, base_path),
            live_path=f"{base_path}/v2/health/live" if isinstance(target, OipTarget) else None,
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
    match target:
        case OipTarget():
            return f"{base_path}/v2/health/ready"
        case TorchServeTarget():
            return f"{base_path}/ping"
        case TfServingTarget(model=model, version=version):
            version_path = "" if version is None else f"/versions/{quote(version, safe='')}"
            return f"{base_path}/v1/models/{quote(model, safe='')}{version_path}/metadata"
        case (
            GeneratingTarget()
            | BatchTarget()
            | EmbeddingsTarget()
            | RerankTarget()
            | SpeechTarget()
            | TranscriptionTarget()
            | ImageTarget()
            | RealtimeTarget()
        ) if not _needs_key(target):
            has_version = target.protocol != "anthropic-messages" or base_path.endswith("/v1")
            return f"{base_path}/models" if has_version else f"{base_path}/v1/models"
        case _:
            return None


def _needs_key(target: EndpointSettings) -> bool:
    return target.api_key is not None or any(map(is_sensitive_header, target.headers))
