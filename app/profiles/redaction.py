"""Whether a profile can be handed on, and what of it can be written where nobody asked for a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from app.errors import ProfileError
from app.profiles import secrets
from app.profiles.bodies import secrets_in_body
from app.profiles.document import KeyPath, read_document
from app.profiles.editing import rewritten, with_value
from app.profiles.problems import BadValueError

_MAY_HOLD_ONE = re.compile(r"headers|api_key|\benv\b|body|bodies|template|://[^\s/]*@|[?&][\w-]+=", re.IGNORECASE)


def places_of_secrets(spec_text: str) -> tuple[str, ...]:
    """Keys of a written profile that hold a value where only a reference or its absence may stand; never the value.

    Ours are written without any: these are of files that were edited. Raises ProfileError when it is no document.
    """
    profile = read_document(spec_text.encode(), "spec.yaml").value
    return tuple(".".join(str(key) for key in place if isinstance(key, str)) for place in _places(profile))


def redacted(text: str) -> str | None:
    """The profile with a mark in every place of a secret; None where it is no document, and may hold one."""
    try:
        profile = read_document(text.encode(), "profile").value
    except ProfileError:
        return None if _MAY_HOLD_ONE.search(text) else text
    places = tuple(_places(profile))
    for place in places:
        profile = with_value(profile, place, secrets.REDACTED)
    return rewritten(text, profile).text if places else text


def _places(profile: Any) -> Iterator[KeyPath]:
    target = _mapping(_mapping(profile).get("target"))
    yield from _in_headers(target, ("target",))
    if _is_literal(target.get("api_key")):
        yield "target", "api_key"
    for name, value in _mapping(_mapping(target.get("start")).get("env")).items():
        if secrets.names_a_secret(name) and _is_literal(value):
            yield "target", "start", "env", name
    for key in ("url", "urls"):
        yield from _in_urls(target.get(key), ("target", key))
    workload = _mapping(_mapping(profile).get("workload"))
    for key in ("body", "bodies", "template", "extra_body"):
        yield from secrets_in_body(workload.get(key), ("workload", key))
    yield from _in_urls(workload.get("path"), ("workload", "path"))
    scraped = _mapping(profile).get("telemetry")
    for place, scrape in _each(scraped, ("telemetry",)):
        yield from _in_headers(_mapping(scrape), place)
        yield from _in_urls(_mapping(scrape).get("scrape"), (*place, "scrape"))


def _in_headers(holder: dict[str, Any], place: KeyPath) -> Iterator[KeyPath]:
    for name, value in _mapping(holder.get("headers")).items():
        if secrets.is_sensitive(name) and _is_literal(value):
            yield *place, "headers", name


def _in_urls(value: object, place: KeyPath) -> Iterator[KeyPath]:
    for at, url in _each(value, place):
        try:
            secrets.refuse_secrets_in_url(str(url))
        except (BadValueError, ValueError):
            yield at


def _each(value: object, place: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    """What may be written alone or as a list, each with its place."""
    if isinstance(value, list):
        yield from (((*place, at), one) for at, one in enumerate(value))
    else:
        yield place, value


def _is_literal(value: object) -> bool:
    return value is not None and value != secrets.REDACTED and not secrets.is_reference(str(value))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
