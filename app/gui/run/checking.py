"""Validation of a profile's text, with suggested corrections. Pure functions that run in a background thread."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.errors import ProfileError
from app.profiles.document import KeyPath
from app.profiles.editing import value_at, with_value
from app.profiles.loading import load_profile_text
from app.profiles.permission import needs_permission
from app.profiles.problems import Suggestion
from app.profiles.profile import protocol_of
from app.profiles.redaction import places_of_secrets
from app.storage.allowed_secrets import AllowedSecrets
from app.wiring.secret_consent import secrets_to_allow


class Wrong(msgspec.Struct, frozen=True):
    """Validation error of a profile.

    `where` is its path, which is empty if no key is to blame. `instead` is the nearest valid name, replacing the key if
    `is_key` and its value otherwise. `cause` is the message without the leading `key`.
    """

    where: KeyPath
    cause: str
    hint: str | None
    line: int | None = None
    instead: str | None = None
    is_key: bool = False
    key: str = ""

    @property
    def text(self) -> str:
        return f"{self.key}: {self.cause}" if self.key else self.cause


class Checked(msgspec.Struct, frozen=True):
    """Result of validating a profile's text.

    `name` is the name of the profile. `wrong` is empty if the profile can be run. `secret` is the path of a secret that
    is written in plain text. `to_allow` lists the referenced secrets whose hosts are not allowed yet.
    """

    text: str
    name: str | None
    wrong: tuple[Wrong, ...]
    secret: str | None = None
    to_allow: tuple[AllowedSecrets, ...] = ()


def check(text: str, place: Path) -> Checked:
    """Validate a profile as the run would read it. This makes no network requests."""
    try:
        profile = load_profile_text(text.encode(), place)
    except ProfileError as error:
        return Checked(text, None, tuple(_to_wrong(failure) for failure in (error, *error.others)))
    denied = _permission_errors(
        getattr(profile.target, "all_urls", ()), bool(getattr(profile.target, "permitted", True))
    )
    secret = next(iter(places_of_secrets(text)), None)
    return Checked(text, profile.name, denied, secret, secrets_to_allow(profile))


def without(tree: dict[str, Any], wrong: Wrong) -> dict[str, Any] | None:
    """Return the tree with the suggestion of `wrong` applied, or `None` if there is no suggestion."""
    if wrong.instead is None:
        return None
    if not wrong.is_key:
        return dict(with_value(tree, wrong.where, wrong.instead))
    holder = value_at(tree, wrong.where[:-1])
    if not isinstance(holder, dict):
        return None
    renamed = {wrong.instead if key == wrong.where[-1] else key: value for key, value in holder.items()}
    return dict(with_value(tree, wrong.where[:-1], renamed)) if wrong.where[:-1] else renamed


def protocol_to_show(tree: dict[str, Any]) -> str:
    """Return the protocol of a profile, which may be unfinished; http if it names none."""
    return protocol_of(tree) or "http"


def _to_wrong(error: ProfileError) -> Wrong:
    instead = error.hint.name if isinstance(error.hint, Suggestion) else None
    return Wrong(error.where, error.cause, error.hint, error.line, instead, error.is_unknown_key, error.key)


def _permission_errors(urls: tuple[str, ...], is_permitted: bool) -> tuple[Wrong, ...]:
    """Return an error for public addresses that need permission. Host names are only resolved by the run itself."""
    hosts = [urlsplit(url).hostname or "" for url in urls]
    public = next((host for host in hosts if _is_public(host)), None)
    if is_permitted or public is None:
        return ()
    text = f"{public} is neither this machine nor in a private network"
    return (Wrong(("target", "permitted"), text, "If you may load this host, tick it here."),)


def _is_public(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return needs_permission([host])
