"""Whether a resolved profile can be handed on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.profiles import secrets
from app.profiles.document import read_document
from app.profiles.problems import BadValueError


def places_of_secrets(spec_text: str) -> tuple[str, ...]:
    """Keys of a written profile that hold a value where only a reference or its absence may stand; never the value.

    Ours are written without any: these are of files that were edited. Raises ProfileError when it is no document.
    """
    profile = read_document(spec_text.encode(), "spec.yaml").value
    return tuple(_of_target(_mapping(_mapping(profile).get("target"))))


def _of_target(target: dict[str, Any]) -> Iterator[str]:
    for name, value in _mapping(target.get("headers")).items():
        if secrets.is_sensitive(name) and _is_literal(value):
            yield f"target.headers.{name}"
    if _is_literal(target.get("api_key")):
        yield "target.api_key"
    for name, value in _mapping(_mapping(target.get("start")).get("env")).items():
        if secrets.names_a_secret(name) and _is_literal(value):
            yield f"target.start.env.{name}"
    urls = target.get("url")
    for url in urls if isinstance(urls, list) else [urls]:
        try:
            secrets.refuse_secrets_in_url(str(url))
        except (BadValueError, ValueError):
            yield "target.url"


def _is_literal(value: object) -> bool:
    return value is not None and value != secrets.REDACTED and not secrets.is_reference(str(value))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
