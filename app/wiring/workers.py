"""Who sends the load of a run: this process's one worker, several behind a master, those of other machines."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from app.errors import UsageError
from app.profiles.endpoint import EndpointSettings
from app.profiles.permission import is_loopback
from app.profiles.profile import EndpointProfile, LocustProfile
from app.telemetry.cgroup import read_cgroup
from app.telemetry.host import usable_cores
from app.wiring.meeting import RendezvousAddress
from loadgen.records import Gather


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
