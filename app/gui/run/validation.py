"""Validation of the text of a profile, with suggested corrections. The functions are pure and run
in a background thread."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.errors import ProfileError
from app.profiles.document import KeyPath
from app.profiles.editing import get_value, set_value
from app.profiles.loading import load_profile_text
from app.profiles.permission import needs_permission
from app.profiles.problems import Suggestion
from app.profiles.profile import find_protocol
from app.profiles.redaction import find_secret_keys
from app.storage.allowed_secrets import AllowedSecrets
from app.wiring.secret_consent import find_secrets_to_allow, list_own_files


class ProfileIssue(msgspec.Struct, frozen=True):
    """Validation error of a profile.

    `path` is the path of the invalid key or value, or empty if the error concerns no particular
    key. `suggestion` is the nearest valid name; this name replaces the key if `is_key` is true,
    otherwise the value. `cause` is the message without the leading `key`.
    """

    path: KeyPath
    cause: str
    hint: str | None
    line: int | None = None
    suggestion: str | None = None
    is_key: bool = False
    key: str = ""

    @property
    def text(self) -> str:
        return f"{self.key}: {self.cause}" if self.key else self.cause


class ValidationResult(msgspec.Struct, frozen=True):
    """Result of the validation of a profile.

    `name` is the name of the profile. `issues` is empty if the profile can be run. `secret` is the
    path of a secret in plain text, if any. `unapproved_secrets` lists the referenced secrets, and the
    files outside the profile's folder, that would be sent to hosts that are not allowed yet.
    `own_files` lists the files in the profile's folder that are sent.
    """

    text: str
    name: str | None
    issues: tuple[ProfileIssue, ...]
    secret: str | None = None
    unapproved_secrets: tuple[AllowedSecrets, ...] = ()
    own_files: tuple[AllowedSecrets, ...] = ()


def validate_profile(text: str, path: Path) -> ValidationResult:
    """Validate the text of a profile in the same way as a run does. No network requests are
    sent."""
    try:
        profile = load_profile_text(text.encode(), path)
    except ProfileError as error:
        return ValidationResult(
            text, None, tuple(_to_issue(profile_error) for profile_error in (error, *error.other_errors))
        )
    permission_issues = _find_permission_issues(
        getattr(profile.target, "all_urls", ()), bool(getattr(profile.target, "permitted", True))
    )
    secret = next(iter(find_secret_keys(text)), None)
    return ValidationResult(
        text, profile.name, permission_issues, secret, find_secrets_to_allow(profile), list_own_files(profile)
    )


def apply_suggestion(tree: dict[str, Any], issue: ProfileIssue) -> dict[str, Any] | None:
    """Return a copy of the values with the suggestion of `issue` applied, or `None` if the
    suggestion is missing or cannot be applied."""
    if issue.suggestion is None:
        return None
    if not issue.is_key:
        return dict(set_value(tree, issue.path, issue.suggestion))
    parent = get_value(tree, issue.path[:-1])
    if not isinstance(parent, dict):
        return None
    renamed_values = {issue.suggestion if key == issue.path[-1] else key: value for key, value in parent.items()}
    return dict(set_value(tree, issue.path[:-1], renamed_values)) if issue.path[:-1] else renamed_values


def display_protocol(tree: dict[str, Any]) -> str:
    """Return the protocol of a profile, or http if an incomplete profile defines no protocol."""
    return find_protocol(tree) or "http"


def _to_issue(error: ProfileError) -> ProfileIssue:
    suggestion = error.hint.name if isinstance(error.hint, Suggestion) else None
    return ProfileIssue(
        error.key_path, error.cause, error.hint, error.line, suggestion, error.is_unknown_key, error.key
    )


def _find_permission_issues(urls: tuple[str, ...], is_permitted: bool) -> tuple[ProfileIssue, ...]:
    """Return an error if the profile has a public IP address without the required permission. Host
    names are not checked here, because only the run itself resolves them."""
    hosts = [urlsplit(url).hostname or "" for url in urls]
    public_host = next((host for host in hosts if _is_public_address(host)), None)
    if is_permitted or public_host is None:
        return ()
    cause = f"{public_host} is a public address"
    return (
        ProfileIssue(
            ("target", "permitted"), cause, "Select this check box if you have permission to load-test the host."
        ),
    )


def _is_public_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return needs_permission([host])
