"""Consent to send secrets and files.

A profile from another person may specify any host, any secret and any file. Secrets, and files from
outside the profile's folder, are sent only to hosts that the user has allowed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping

from app.errors import StorageError, UsageError
from app.profiles.profile import Profile
from app.profiles.sent_references import find_own_files, find_sent_references
from app.storage.allowed_secrets import AllowedSecrets, is_allowed, store_permission

ALLOWED_HOSTS_VARIABLE = "SIZEWISE_ALLOW_SECRETS"
"""Environment variable with a comma-separated list of hosts to which secrets and files may be sent,
for use in CI."""


def find_secrets_to_allow(profile: Profile, environment: Mapping[str, str] = os.environ) -> tuple[AllowedSecrets, ...]:
    """Return the secrets and files that the profile sends to hosts for which the user has not given
    consent."""
    allowed_hosts = {host.strip().casefold() for host in environment.get(ALLOWED_HOSTS_VARIABLE, "").split(",")}
    required_secrets = (
        AllowedSecrets(profile.name, host, references) for host, references in find_sent_references(profile).items()
    )
    return tuple(
        secrets for secrets in required_secrets if secrets.host not in allowed_hosts and not is_allowed(secrets)
    )


def allow_hosts(profiles: Iterable[Profile], hosts: Iterable[str]) -> None:
    """Store the consent to send the secrets and files of the profiles to the given hosts. Raises
    UsageError for a host to which no profile sends any, and StorageError if the consent cannot be
    stored."""
    references = [(profile, find_sent_references(profile)) for profile in profiles]
    for host in hosts:
        name = host.casefold()
        permissions = [
            AllowedSecrets(profile.name, name, by_host[name]) for profile, by_host in references if name in by_host
        ]
        if not permissions:
            other_hosts = dict.fromkeys(other_host for _, by_host in references for other_host in by_host)
            hint = f"The profile sends secrets only to {', '.join(other_hosts) or 'loopback addresses'}."
            raise UsageError(f"--allow-secrets {host}: the profile sends no secret to this host", hint=hint)
        for permission in permissions:
            store_permission(permission)


def list_own_files(profile: Profile) -> tuple[AllowedSecrets, ...]:
    """Return the permissions to send the files in the profile's own folder to the profile's hosts,
    which need no consent."""
    return tuple(AllowedSecrets(profile.name, host, references) for host, references in find_own_files(profile).items())


def remember_own_files(own_files: Iterable[AllowedSecrets]) -> None:
    """Store the permissions of `list_own_files` when the user starts a run.

    The stored profile of the run, and the draft that the window writes, are in other folders. They
    can then be run without a question. If a permission cannot be stored, they ask.
    """
    with contextlib.suppress(StorageError):
        for permission in own_files:
            store_permission(permission)


def require_consent(profile: Profile) -> None:
    """Raise UsageError if the profile sends a secret or a file to a host that is not allowed."""
    for secrets in find_secrets_to_allow(profile):
        references = ", ".join(secrets.references)
        hint = (
            f"If you trust that host, run once with --allow-secrets {secrets.host}, or set "
            f"{ALLOWED_HOSTS_VARIABLE}={secrets.host}."
        )
        raise UsageError(
            f"profile {secrets.profile!r} sends {references} to {secrets.host}, which is not allowed", hint=hint
        )
