"""Limits of the load generator's own machine: file descriptors, local ports, connections, memory."""

from __future__ import annotations

import math

import msgspec

from app.analysis.rows import StageRows
from app.records.result import Check, CheckId
from app.records.stage import StageFacts

LOCAL_LIMITS: CheckId = "local_limits"
FILE_DESCRIPTORS: CheckId = "file_descriptors"
_ERROR = "local-limit"
_OWN_DESCRIPTORS = 64
"""What a load worker has open besides its connections."""
_TIME_WAIT_S = 60.0
"""How long Linux keeps the local port of a connection that was closed."""
_ROOM = 1.25
"""Poisson arrivals are sometimes closer together than on average."""


class MachineLimits(msgspec.Struct, frozen=True):
    """Of this machine; None where there is no limit or it is not known. `descriptors` are of one load worker, `ports`
    are the local ports to one address of the target."""

    descriptors: int | None = None
    ports: int | None = None


class ConnectionDemand(msgspec.Struct, frozen=True, kw_only=True):
    """What a load needs at its peak. `service_s` is what one request takes, None before it is known."""

    concurrency: int = 0
    rate_per_s: float = 0.0
    service_s: float | None = None
    max_connections: int
    addresses: int = 1
    workers: int = 1
    keeps_connections: bool = True

    @property
    def connections(self) -> int:
        """Of all workers together."""
        open_loop = math.ceil(_ROOM * self.rate_per_s * (self.service_s or 0.0))
        return min(self.max_connections, max(self.concurrency, open_loop))

    @property
    def descriptors(self) -> int:
        """Of each worker."""
        return math.ceil(self.connections / self.workers) + _OWN_DESCRIPTORS

    @property
    def ports(self) -> int:
        """To each address."""
        waiting = 0.0 if self.keeps_connections else _TIME_WAIT_S * max(self.rate_per_s, self._closed_rate_per_s)
        return math.ceil((self.connections + waiting) / self.addresses)

    @property
    def _closed_rate_per_s(self) -> float:
        return min(self.concurrency, self.max_connections) / self.service_s if self.service_s else 0.0


def demand_checks(demand: ConnectionDemand, limits: MachineLimits) -> tuple[Check, ...]:
    """A WARN for each limit that the load is expected to reach, with the value needed; before anything is sent."""
    checks = []
    if demand.concurrency > demand.max_connections:
        hint = (
            f"{demand.concurrency:,} clients share {demand.max_connections:,} connections, so the others wait: "
            f"set target.max_connections to {demand.concurrency:,}."
        )
        checks.append(_check("connections", demand.concurrency, demand.max_connections, hint))
    if limits.descriptors is not None and demand.descriptors > limits.descriptors:
        hint = (
            f"A load worker needs about {demand.descriptors:,} open files and may have {limits.descriptors:,}: "
            f"raise the hard limit (`ulimit -Hn {demand.descriptors}`), use more workers, or lower the load."
        )
        checks.append(_check(FILE_DESCRIPTORS, demand.descriptors, limits.descriptors, hint))
    if limits.ports is not None and demand.ports > limits.ports:
        hint = (
            f"The load needs about {demand.ports:,} local ports and this machine has {limits.ports:,}: widen "
            "net.ipv4.ip_local_port_range, let the target keep connections open, or send from more machines."
        )
        checks.append(_check("local_ports", demand.ports, limits.ports, hint))
    return tuple(checks)


def local_limit_check(rows: StageRows, facts: StageFacts) -> tuple[Check, ...]:
    """INVALID where requests failed by a limit of the machine that sends: the target never got them."""
    failed = rows.errors().get(_ERROR, 0)
    if not failed:
        return ()
    sample = next((one.text for one in facts.error_samples if one.error == _ERROR), None)
    why = "" if sample is None else f" ({sample})"
    hint = (
        f"{failed:,} requests failed by a limit of the load generator's machine and not by the target{why}: raise the "
        "limit (`ulimit -n` for open files), use more workers or machines, or lower the load."
    )
    return (Check(LOCAL_LIMITS, failed / len(rows.intended_ns), 0.0, "share", "INVALID", hint),)


def _check(check: CheckId, needed: int, limit: int, hint: str) -> Check:
    return Check(check, float(needed), float(limit), None, "WARN", hint)
