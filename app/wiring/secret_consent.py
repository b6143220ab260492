"""Consent to send secrets: they go only to hosts that the user has allowed, since a shared profile may name any
host."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from app.errors import UsageError
from app.profiles.profile import Profile
from app.profiles.redaction import find_secret_hosts
from app.storage.allowed_secrets import AllowedSecrets, is_allowed, store_permission

ALLOWED_HOSTS_VARIABLE = "SIZEWISE_ALLOW_SECRETS"
"""Environment variable with the hosts that secrets may be sent to, separated by commas; for CI."""


def secrets_to_allow(profile: Profile, environment: Mapping[str, str] = os.environ) -> tuple[AllowedSecrets, ...]:
    """Return the secrets that the profile sends to hosts that are not allowed yet."""
    allowed_hosts = {host.strip().casefold() for host in environment.get(ALLOWED_HOSTS_VARIABLE, "").split(",")}
    requested = (AllowedSecrets(profile.name, host, sent) for host, sent in find_secret_hosts(profile).items())
    return tuple(secrets for secrets in requested if secrets.host not in allowed_hosts and not is_allowed(secrets))


def allow_hosts(profile: Profile, hosts: Iterable[str]) -> None:
    """Store the consent to send the profile's secrets to these hosts.

    Raises UsageError for a host that the profile sends no secret to, and StorageError."""
    sent = find_secret_hosts(profile)
    for host in hosts:
        if host.casefold() not in sent:
            hint = f"It sends secrets to: {', '.join(sent) or 'loopback only'}."
            raise UsageError(f"--allow-secrets {host}: the profile sends no secret there", hint=hint)
        store_permission(AllowedSecrets(profile.name, host.casefold(), sent[host.casefold()]))


def require_allowed(profile: Profile) -> None:
    """Raise UsageError if the profile would send a secret to a host that is not allowed."""
    for secrets in secrets_to_allow(profile):
        sent = ", ".join(secrets.references)
        hint = (
            f"If you trust that host, run once with --allow-secrets {secrets.host}, or set "
            f"{ALLOWED_HOSTS_VARIABLE}={secrets.host}."
        )
        raise UsageError(f"profile {secrets.profile!r} sends {sent} to {secrets.host}, which is not allowed", hint=hint)
