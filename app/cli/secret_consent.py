"""Request consent, once per profile and host, to send secrets and files to the host."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.cli.commands import DEFAULT_SECTION, CommandOption

if TYPE_CHECKING:
    from app.profiles.profile import Profile


def consent_option(section: str = DEFAULT_SECTION) -> CommandOption:
    return CommandOption(
        ["--allow-secrets"],
        multiple=True,
        metavar="HOST",
        section=section,
        help="allow the profile to send its env: and file: secrets, and the files that it names outside its own "
        "folder, to this host; the choice is stored",
    )


def request_consent(profiles: Sequence[Profile], hosts: Sequence[str]) -> None:
    """Store the consent to send the secrets and files of the profiles to `hosts`. If the session is
    interactive, ask for consent for every other host to which a profile sends some.

    Raises UsageError if consent for a host is missing.
    """
    from app.wiring.secret_consent import allow_hosts, list_own_files, remember_own_files, require_consent

    allow_hosts(profiles, hosts)
    for profile in profiles:
        if sys.stdin.isatty() and sys.stderr.isatty():
            _prompt_for_consent(profile)
        require_consent(profile)
        remember_own_files(list_own_files(profile))


def _prompt_for_consent(profile: Profile) -> None:
    from app.storage.allowed_secrets import store_permission
    from app.wiring.secret_consent import find_secrets_to_allow

    for request in find_secrets_to_allow(profile):
        sys.stderr.write(
            f"Profile {request.profile!r} sends {', '.join(request.references)} to {request.host}. Allow this? [y/N] "
        )
        sys.stderr.flush()
        if sys.stdin.readline().strip().casefold() in ("y", "yes"):
            store_permission(request)
