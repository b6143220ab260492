"""How much the load generator of this machine can send, found on a server that does nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

LoadKind = Literal["plain", "streaming"]
LOAD_KINDS: tuple[LoadKind, ...] = ("plain", "streaming")

SERVER_FULL_CORES = 0.95
"""The server has one core: what happens while it uses so much of it says nothing against the generator."""
BUSY_LIMIT_CORES = 0.3
"""Other processes that keep more busy than this disturb what is measured …"""
_SPARE_CORES = 1.0
"""… unless so much was idle all the while, that nobody had to wait for a core."""


class CalibrationStep(msgspec.Struct, frozen=True):
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
    other_cores: float | None = None
    """What all processes used that have no part in it; None where that cannot be read."""
    idle_cores: float | None = None

    @property
    def is_disturbed(self) -> bool:
        """Whether other processes may have kept the generator from a core."""
        if self.other_cores is None or self.other_cores <= BUSY_LIMIT_CORES:
            return False
        return self.idle_cores is None or self.idle_cores < _SPARE_CORES

    @property
    def is_against_generator(self) -> bool:
        """Whether it did not hold, and neither the null server nor other processes are an excuse."""
        is_server_full = self.server_cpu_cores is not None and self.server_cpu_cores >= SERVER_FULL_CORES
        return not (self.held or is_server_full or self.is_disturbed)


class Ceiling(msgspec.Struct, frozen=True):
    """Of so many workers: `per_s`, requests or chunks a second, is the highest rate that held, None when not even the
    lowest did. `is_at_least`: the next rate above it did not fail by the generator, so it may be higher.

    `disturbed_by_cores`: by so many cores that other processes used meanwhile, where those are why that rate failed;
    the ceiling is then good for one run at most.
    """

    kind: LoadKind
    workers: int
    per_s: float | None
    rungs: tuple[CalibrationStep, ...]
    is_at_least: bool = False
    disturbed_by_cores: float | None = None


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

    def lasting(self) -> Calibration:
        """Without the ceilings that other processes disturbed."""
        return replace(self, ceilings=tuple(one for one in self.ceilings if one.disturbed_by_cores is None))

    def joined(self, newer: Calibration) -> Calibration:
        """With the ceilings of `newer`, of the same machine, in place of those that both have."""
        kept = tuple(one for one in self.ceilings if newer.ceiling(one.kind, one.workers) is None)
        if not kept:
            return newer
        together = sorted((*kept, *newer.ceilings), key=lambda one: (one.kind, one.workers))
        oldest = min(self.measured_at, newer.measured_at, key=datetime.fromisoformat)
        return replace(newer, ceilings=tuple(together), measured_at=oldest)
