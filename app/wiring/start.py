"""The command that starts a target's own server."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.profiles.profile import EndpointProfile
from app.profiles.secrets import resolve_secret
from app.session.spec import StartSpec

_SCHEMES = {"grpc": "http", "grpcs": "https"}


def start_of(profile: EndpointProfile) -> StartSpec | None:
    """Raises UsageError for a secret that is not there."""
    start = profile.target.start
    if start is None:
        return None
    parts = urlsplit(profile.target.all_urls[0])
    scheme = _SCHEMES.get(parts.scheme, parts.scheme)
    is_path = start.ready.startswith("/")
    return StartSpec(
        command=start.command,
        ready_url=f"{scheme}://{parts.netloc}{start.ready}" if is_path else start.ready,
        timeout_s=start.timeout_s,
        directory=str(start.directory),
        environment=tuple((name, resolve_secret(text)) for name, text in start.env.items()),
    )
