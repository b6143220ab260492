"""A profile's secrets go only to hosts that the user has allowed: a profile from elsewhere names a host of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from app.errors import UsageError
from app.profiles.profile import Profile
from app.profiles.redaction import hosts_of_secrets
from app.storage.allowed_secrets import AllowedSecrets, allow, is_allowed

VARIABLE = "SIZEWISE_ALLOW_SECRETS"
"""Hosts that secrets may be sent to, separated by commas: for CI."""


def secrets_to_allow(profile: Profile, environment: Mapping[str, str] = os.environ) -> tuple[AllowedSecrets, ...]:
    """What the profile sends to hosts that nobody has allowed yet."""
    named = {host.strip().casefold() for host in environment.get(VARIABLE, "").split(",")}
    wanted = (AllowedSecrets(profile.name, host, sent) for host, sent in hosts_of_secrets(profile).items())
    return tuple(one for one in wanted if one.host not in named and not is_allowed(one))


def allow_hosts(profile: Profile, hosts: Iterable[str]) -> None:
    """Remember that the profile's secrets may be sent to these of its hosts. Raises UsageError for any other host, and
    StorageError."""
    sent = hosts_of_secrets(profile)
    for host in hosts:
        if host.casefold() not in sent:
            hint = f"It sends secrets to: {', '.join(sent) or 'no host beyond loopback'}."
            raise UsageError(f"--allow-secrets {host}: the profile sends no secret there", hint=hint)
        allow(AllowedSecrets(profile.name, host.casefold(), sent[host.casefold()]))


def require_allowed(profile: Profile) -> None:
    """Raises UsageError where the profile would send a secret to a host that nobody has allowed."""
    for one in secrets_to_allow(profile):
        sent = ", ".join(one.references)
        hint = (
            f"If you trust that host, add --allow-secrets {one.host} to `sizewise run` once, or set "
            f"{VARIABLE}={one.host}."
        )
        raise UsageError(f"profile {one.profile!r} sends {sent} to {one.host}, which is not allowed yet", hint=hint)
