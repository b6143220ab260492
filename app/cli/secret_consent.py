"""Asks, once for each profile and host, whether secrets may be sent there."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.profiles.profile import Profile


def add_consent_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-secrets", action="append", default=[], metavar="HOST",
        help="send the profile's env: and file: secrets to this host; remembered for the profile",
    )  # fmt: skip


def consent(profile: Profile, hosts: list[str]) -> None:
    """Remember what `hosts` allow, and ask for the others where somebody is there to answer. Raises UsageError where a
    host stays without permission."""
    from app.storage.allowed_secrets import allow
    from app.wiring.secret_consent import allow_hosts, require_allowed, secrets_to_allow

    allow_hosts(profile, hosts)
    if sys.stdin.isatty() and sys.stderr.isatty():
        for one in secrets_to_allow(profile):
            sys.stderr.write(f"Profile {one.profile!r} sends {', '.join(one.references)} to {one.host}. Allow? [y/N] ")
            sys.stderr.flush()
            if sys.stdin.readline().strip().casefold() in ("y", "yes"):
                allow(one)
    require_allowed(profile)
