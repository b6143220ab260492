"""Who sends the load of a run: this process's one worker, several behind a master, those of other machines.

Where master and workers of several machines meet, and the secret they know each other by.
"""

from __future__ import annotations

import os
import re
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from app.errors import UnavailableError, UsageError
from app.profiles import secrets
from app.profiles.endpoint import EndpointSettings
from app.profiles.permission import is_loopback
from app.profiles.profile import EndpointProfile, LocustProfile
from app.telemetry.cgroup import read_cgroup
from app.telemetry.host import usable_cores
from loadgen.curve import FEWEST_CHARACTERS
from loadgen.plain import shown_place
from loadgen.records import Gather

TOKEN = "env:SIZEWISE_TOKEN"
"""Where the token is unless something else is said."""
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII)
_MAKE_ONE = 'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


class RendezvousAddress(msgspec.Struct, frozen=True):
    """`host` is a name or an address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return shown_place(self.host, self.port)


def read_address(option: str, text: str) -> RendezvousAddress:
    """`HOST:PORT`, an IPv6 address in brackets. Raises UsageError, which names the option."""
    hint = f"Write {option} HOST:PORT, like 10.0.0.1:5557; an IPv6 address in brackets, like [fd00::1]:5557."
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise UsageError(f"{option} {text!r} has no port from 1 to 65535", hint=hint)
    is_bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if is_bracketed else host
    version = _ip_version(bare)
    if is_bracketed != (version == 6) or (version is None and _NAME.fullmatch(bare) is None):
        raise UsageError(f"{option} {text!r} names no host", hint=hint)
    return RendezvousAddress(bare, int(port))


def resolved(option: str, address: RendezvousAddress) -> RendezvousAddress:
    """With the first address of its name. Raises UnavailableError."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        hint = f"Check the name in {option}, or write the address."
        raise UnavailableError(
            f"the host {address.host} of {option} is not known: {error.strerror}", hint=hint
        ) from None
    return RendezvousAddress(str(found[0][4][0]), address.port)


def read_token(reference: str) -> str:
    """The secret at `env:NAME` or `file:PATH`; a variable is taken out of the environment, which a server that the
    run starts inherits. Raises UsageError, which never shows it."""
    if not secrets.is_reference(reference) or not reference.startswith(("env:", "file:")):
        raise UsageError("--token says where the token is, not what it is", hint="Write env:NAME, or file:PATH.")
    try:
        token = secrets.resolve_secret(reference)
    except UsageError as error:
        hint = f"Both sides need the same token, here in {reference}. {_MAKE_ONE}"
        raise UsageError(f"no token: {error}", hint=hint) from None
    if len(token) < FEWEST_CHARACTERS:
        why = f"the token in {reference} is of {len(token)} characters, and at least {FEWEST_CHARACTERS} are needed"
        raise UsageError(why, hint=_MAKE_ONE)
    if reference.startswith("env:"):
        os.environ.pop(reference.removeprefix("env:"), None)
    return token


def _ip_version(host: str) -> int | None:
    try:
        return ip_address(host).version
    except ValueError:
        return None


class RemoteWorkers(msgspec.Struct, frozen=True):
    """So many are to join at `address`, which is bound here; `token` is the secret they know."""

    count: int
    address: RendezvousAddress
    token: str


def gather_of(
    profile: EndpointProfile, remote: RemoteWorkers | None = None, *, cores: float | None = None
) -> Gather | None:
    """Whom a master is to gather; None where one worker sends, which needs none.

    `cores` may be kept busy here; None asks the machine. Raises UsageError for workers that cannot send this.
    """
    asked = profile.load.workers
    if remote is None:
        local = spare_workers(profile, cores) if asked == "auto" else asked
        return Gather(local=local) if local > 1 else None
    _require_reach(profile)
    return Gather(
        local=0 if asked == "auto" else asked,
        remote=remote.count,
        host=remote.address.host,
        port=remote.address.port,
        token=remote.token,
    )


def spare_workers(profile: EndpointProfile, cores: float | None = None) -> int:
    """One for each core, but one for the endpoint where it is here; a user's own Locust test is one process."""
    if isinstance(profile, LocustProfile):
        return 1
    return max(1, usable_workers(cores) - is_here(profile))


def usable_workers(cores: float | None = None) -> int:
    """One for each core that may be kept busy here; at least one."""
    return max(1, int(usable_cores(read_cgroup()) if cores is None else cores))


def is_here(profile: EndpointProfile) -> bool:
    """Whether the endpoint's work is done on this machine, as far as the target says; no name is looked up."""
    return profile.target.start is not None or _is_reached_from_here_only(profile)


def _is_reached_from_here_only(profile: EndpointProfile) -> bool:
    """On the loopback, on a unix socket, or started by the run itself, which listens on the loopback."""
    target = profile.target
    if isinstance(target, EndpointSettings) and target.socket is not None:
        return True
    hosts = [urlsplit(url).hostname or "" for url in target.all_urls]
    return not hosts or any(map(is_loopback, hosts))


def _require_reach(profile: EndpointProfile) -> None:
    if isinstance(profile, LocustProfile):
        raise UsageError("a Locust test of your own runs in one process of this machine, and not on others")
    if _is_reached_from_here_only(profile):
        raise UsageError(
            "the target is reached from this machine only, so workers of others cannot send there",
            hint="Give the target a url that has this machine's address on the network, or leave --remote-workers out.",
        )
