"""How much the load generator of this machine can send, found on a server that does nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

LoadKind = Literal["plain", "streaming"]

SERVER_FULL_CORES = 0.95
"""The server has one core: what happens while it uses so much of it says nothing against the generator."""


class Rung(msgspec.Struct, frozen=True):
    """One rate tried. `late_share`: of the sends, those more than 10 ms behind their intended time.

    Of a streaming rung the rates are of chunks, each of which came alone, and `late_share` is of them, behind the time
    that the server had to write them at; the lags remain those of the requests.
    """

    offered_per_s: float
    achieved_per_s: float
    lag_p50_ms: float
    lag_p99_ms: float
    late_share: float
    worker_cpu_cores: float
    """Of the busiest worker."""
    held: bool
    server_cpu_cores: float | None = None
    """Of the busiest null server; None where that cannot be read."""

    @property
    def is_against_generator(self) -> bool:
        """Whether it did not hold, and the null server is no excuse."""
        return not self.held and (self.server_cpu_cores is None or self.server_cpu_cores < SERVER_FULL_CORES)


class Ceiling(msgspec.Struct, frozen=True):
    """Of so many workers: `per_s`, requests or chunks a second, is the highest rate that held, None when not even the
    lowest did. `is_at_least`: nothing that was tried above it failed by the generator, so it may be higher."""

    kind: LoadKind
    workers: int
    per_s: float | None
    rungs: tuple[Rung, ...]
    is_at_least: bool = False


class Calibration(msgspec.Struct, frozen=True):
    """`measured_at` is the age of the oldest of its ceilings."""

    ceilings: tuple[Ceiling, ...]
    measured_at: str
    fingerprint: str
    pacing: str
    event_loop: str

    def ceiling(self, kind: LoadKind, workers: int) -> Ceiling | None:
        """None where it was not measured."""
        return next((one for one in self.ceilings if one.kind == kind and one.workers == workers), None)

    def joined(self, newer: Calibration) -> Calibration:
        """With the ceilings of `newer`, of the same machine, in place of those that both have."""
        kept = tuple(one for one in self.ceilings if newer.ceiling(one.kind, one.workers) is None)
        if not kept:
            return newer
        together = sorted((*kept, *newer.ceilings), key=lambda one: (one.kind, one.workers))
        oldest = min(self.measured_at, newer.measured_at, key=datetime.fromisoformat)
        return replace(newer, ceilings=tuple(together), measured_at=oldest)
