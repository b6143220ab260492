"""Load workers of a run: a single worker, several workers of a master, or workers on other
machines.

The module also parses the address at which workers join a master, and reads the token that
authenticates workers.
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
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.permission import is_loopback
from app.telemetry.cgroup import read_cgroup
from app.telemetry.host import count_usable_cores
from loadgen.curve import MIN_TOKEN_CHARS
from loadgen.records import Gather
from loadgen.sanitizing import format_host_port

DEFAULT_TOKEN_REFERENCE = "env:SIZEWISE_TOKEN"
"""Default value of `--token`: a reference to the environment variable that contains the token for
authenticating workers."""
_HOST_PATTERN = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII)
_TOKEN_HINT = 'Create one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


class RendezvousAddress(msgspec.Struct, frozen=True):
    """Address at which workers join a master. `host` is a host name, or an IP address without
    brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_host_port(self.host, self.port)


def parse_address(option: str, text: str) -> RendezvousAddress:
    """Parse `HOST:PORT`, with IPv6 addresses in brackets. Raises UsageError for an invalid address;
    the message contains the name `option`."""
    hint = f"Use {option} HOST:PORT, such as 10.0.0.1:5557; for IPv6 use brackets, such as [fd00::1]:5557."
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise UsageError(f"{option} {text!r} has no port from 1 to 65535", hint=hint)
    is_bracketed = host.startswith("[") and host.endswith("]")
    host_without_brackets = host[1:-1] if is_bracketed else host
    ip_version = _parse_ip_version(host_without_brackets)
    if is_bracketed != (ip_version == 6) or (
        ip_version is None and _HOST_PATTERN.fullmatch(host_without_brackets) is None
    ):
        raise UsageError(f"{option} {text!r} has no valid host", hint=hint)
    return RendezvousAddress(host_without_brackets, int(port))


def resolve_address(option: str, address: RendezvousAddress) -> RendezvousAddress:
    """Return the address with the host name replaced by its first IP address. Raises
    UnavailableError if the host name cannot be resolved."""
    try:
        address_infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        hint = f"Check the name in {option}, or use an IP address."
        raise UnavailableError(
            f"the host {address.host} of {option} cannot be resolved: {error.strerror}", hint=hint
        ) from None
    return RendezvousAddress(str(address_infos[0][4][0]), address.port)


def read_token(reference: str) -> str:
    """Return the token to which the reference `env:NAME` or `file:PATH` refers.

    An environment variable is then removed, so that a server started by the run does not inherit
    the token. Raises UsageError, whose message never contains the token.
    """
    if not secrets.is_reference(reference) or not reference.startswith(("env:", "file:")):
        raise UsageError(
            "--token must be a reference to the token, not the token itself", hint="Use env:NAME or file:PATH."
        )
    try:
        token = secrets.resolve_secret(reference)
    except UsageError as error:
        hint = f"Set the same token on both sides, here in {reference}. {_TOKEN_HINT}"
        raise UsageError(f"the token cannot be read: {error}", hint=hint) from None
    if len(token) < MIN_TOKEN_CHARS:
        message = f"the token in {reference} has {len(token)} characters, but must have at least {MIN_TOKEN_CHARS}"
        raise UsageError(message, hint=_TOKEN_HINT)
    if reference.startswith("env:"):
        os.environ.pop(reference.removeprefix("env:"), None)
    return token


def _parse_ip_version(host: str) -> int | None:
    try:
        return ip_address(host).version
    except ValueError:
        return None


class RemoteWorkers(msgspec.Struct, frozen=True):
    """Workers on other machines: the number of workers, the address of this machine at which they
    join, and the secret token."""

    count: int
    address: RendezvousAddress
    token: str


def build_gather(
    profile: EndpointProfile, remote_workers: RemoteWorkers | None = None, *, cores: float | None = None
) -> Gather | None:
    """Return the workers for which a master waits; `None` if a single worker sends the load without
    a master.

    `cores` is the number of cores for workers. If `cores` is `None`, the available cores of this
    machine are counted. Raises UsageError if remote workers cannot send the load.
    """
    requested_workers = profile.load.workers
    if remote_workers is None:
        local_workers = count_spare_workers(profile, cores) if requested_workers == "auto" else requested_workers
        return Gather(local_workers=local_workers) if local_workers > 1 else None
    _require_reachable_target(profile)
    return Gather(
        local_workers=0 if requested_workers == "auto" else requested_workers,
        remote_workers=remote_workers.count,
        host=remote_workers.address.host,
        port=remote_workers.address.port,
        token=remote_workers.token,
    )


def count_spare_workers(profile: EndpointProfile, cores: float | None = None) -> int:
    """Return the default number of workers: one per available core, minus one if the endpoint is on
    this machine. A user's Locust test always runs in one process."""
    if profile.protocol.has_one_sender:
        return 1
    return max(1, count_usable_workers(cores) - is_endpoint_local(profile))


def count_usable_workers(cores: float | None = None) -> int:
    """Return the number of available CPU cores, which is the maximum useful number of workers. The
    result is at least 1."""
    return max(1, int(count_usable_cores(read_cgroup()) if cores is None else cores))


def is_endpoint_local(profile: EndpointProfile) -> bool:
    """Return whether the endpoint runs on this machine according to the profile. Host names are not
    resolved."""
    return profile.target.start is not None or _is_only_reachable_locally(profile)


def _is_only_reachable_locally(profile: EndpointProfile) -> bool:
    """Return whether only this machine can reach the target. This is the case on the loopback
    interface, on a Unix socket, or if the run itself serves the target."""
    target = profile.target
    if isinstance(target, EndpointSettings) and target.socket is not None:
        return True
    hosts = [urlsplit(url).hostname or "" for url in target.all_urls]
    return not hosts or any(map(is_loopback, hosts))


def _require_reachable_target(profile: EndpointProfile) -> None:
    if profile.protocol.load == "users":
        raise UsageError("a Locust test cannot use remote workers, because it runs in one process of this machine")
    if profile.protocol.load == "job":
        raise UsageError("a batch cannot use remote workers, because the server itself spreads its requests over time")
    if _is_only_reachable_locally(profile):
        raise UsageError(
            "remote workers cannot reach the target, because it is only reachable from this machine",
            hint="Set a target URL with this machine's network address, or remove --remote-workers.",
        )
