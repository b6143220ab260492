"""Whether a profile can be handed on, and what of it can be written where nobody asked for a file.

A profile moved to another folder: paths in it, which are relative to where it stands, lead where
they led.

To which hosts a profile sends secrets that it refers to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.errors import ProfileError
from app.profiles import secrets
from app.profiles.bundled import bundled_models
from app.profiles.datasets import secrets_in_body
from app.profiles.document import KeyPath, read_document
from app.profiles.editing import rewritten, with_value
from app.profiles.endpoint import EndpointSettings
from app.profiles.fields import FieldSpec, profile_fields
from app.profiles.local import LocalProfile
from app.profiles.permission import is_loopback
from app.profiles.problems import BadValueError
from app.profiles.profile import Profile, protocol_of
from app.profiles.secrets import reference_in

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


_OF_MODELS = ("ServeSettings", "VariantSettings", "LocalTarget")
_OF_SECRETS = ("headers", "env", "api_key")


def relocated(tree: dict[str, Any], directory: Path) -> dict[str, Any]:
    """With paths from `directory` made absolute; as it is where it does not say what it measures."""
    protocol = protocol_of(tree)
    if protocol is None:
        return tree
    moved = _moved(tree, profile_fields(protocol), directory.resolve(), "")
    start = moved["target"].get("start")
    if isinstance(start, dict):
        moved["target"]["start"] = {"directory": str(directory.resolve()), **start}
    return dict(moved)


def _moved(value: Any, spec: FieldSpec, directory: Path, holder: str) -> Any:
    if isinstance(value, dict) and spec.fields:
        known = {field.key: field for field in spec.fields}
        return {
            key: _moved(one, known[key], directory, spec.settings) if key in known else one
            for key, one in value.items()
        }
    if spec.key in _OF_SECRETS:
        return _anchored(value, directory)
    if isinstance(value, list) and spec.item is not None:
        return [_moved(one, _named(spec.item, spec.key), directory, holder) for one in value]
    if not isinstance(value, str):
        return value
    is_model = spec.key == "model" and holder in _OF_MODELS and value not in bundled_models()
    # a group that may be written as its path, as a data set
    is_short = spec.kind == "group" and any(field.kind == "path" and field.is_required for field in spec.fields)
    return str(directory / value) if spec.kind == "path" or is_model or is_short else value


def _named(item: FieldSpec, key: str) -> FieldSpec:
    """An item is called as its list, so that a list of models is known for one."""
    return msgspec.structs.replace(item, key=key)


def _anchored(value: Any, directory: Path) -> Any:
    if isinstance(value, dict):
        return {key: _anchored(one, directory) for key, one in value.items()}
    return secrets.anchor(value, directory) if isinstance(value, str) else value


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
