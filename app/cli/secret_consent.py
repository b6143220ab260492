"""Request consent, once per profile and host, to send secrets to the host."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.cli.commands import CommandOption

if TYPE_CHECKING:
    from app.profiles.profile import Profile


CONSENT_OPTION = CommandOption(
    ["--allow-secrets"],
    multiple=True,
    metavar="HOST",
    help="allow the profile to send its env: and file: secrets to this host; the choice is stored",
)


def request_consent(profile: Profile, hosts: Sequence[str]) -> None:
    """Store the consent to send secrets to `hosts`. If the session is interactive, ask for consent
    for every other host to which the profile sends secrets.

    Raises UsageError if consent for a host is missing.
    """
    from app.storage.allowed_secrets import store_permission
    from app.wiring.secret_consent import allow_hosts, find_secrets_to_allow, require_consent

    allow_hosts(profile, hosts)
    if sys.stdin.isatty() and sys.stderr.isatty():
        for request in find_secrets_to_allow(profile):
            sys.stderr.write(
                f"Profile {request.profile!r} sends {', '.join(request.references)} to {request.host}. "
                "Allow this? [y/N] "
            )
            sys.stderr.flush()
            if sys.stdin.readline().strip().casefold() in ("y", "yes"):
                store_permission(request)
    require_consent(profile)
