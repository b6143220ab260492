"""To which hosts a profile sends secrets that it refers to."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.profiles.endpoint import EndpointSettings
from app.profiles.local import LocalProfile
from app.profiles.permission import is_loopback
from app.profiles.profile import Profile
from app.profiles.secrets import reference_in


def hosts_of_secrets(profile: Profile) -> dict[str, tuple[str, ...]]:
    """Each host beyond loopback with the references (`env:NAME`, `file:PATH`) that are resolved and sent to it.

    What is sent to loopback or a Unix socket reaches a program on this machine.
    """
    sent: dict[str, set[str]] = {}
    target = None if isinstance(profile, LocalProfile) else profile.target
    if isinstance(target, EndpointSettings) and target.socket is None:
        texts = [*target.headers.values(), *([] if target.api_key is None else [target.api_key])]
        _add(sent, target.all_urls, texts)
    for scrape in profile.telemetry:
        _add(sent, (scrape.scrape,), list(scrape.headers.values()))
    return {host: tuple(sorted(references)) for host, references in sorted(sent.items())}


def _add(sent: dict[str, set[str]], urls: tuple[str, ...], texts: list[str]) -> None:
    references = {reference for text in texts if (reference := reference_in(text)) is not None}
    for url in urls if references else ():
        host = (urlsplit(url).hostname or "").casefold()
        if not is_loopback(host):
            sent.setdefault(host, set()).update(references)
