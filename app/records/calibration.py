"""How much the load generator of this machine can send, found on a server that does nothing."""

from __future__ import annotations

from typing import Literal

import msgspec

LoadKind = Literal["plain", "streaming"]


class Rung(msgspec.Struct, frozen=True):
    """One rate tried. `late_share`: of the sends, those more than 10 ms behind their intended time.

    Of a streaming rung the rates are of chunks, each of which came alone, and `late_share` is of them, behind the time
    that the server wrote them at.
    """

    offered_per_s: float
    achieved_per_s: float
    lag_p50_ms: float
    lag_p99_ms: float
    late_share: float
    worker_cpu_cores: float
    """Of the busiest worker."""
    held: bool


class Ceiling(msgspec.Struct, frozen=True):
    """Of so many workers: `per_s`, requests or chunks a second, is the highest rate that held, None when not even the
    lowest did."""

    kind: LoadKind
    workers: int
    per_s: float | None
    rungs: tuple[Rung, ...]


class Calibration(msgspec.Struct, frozen=True):
    ceilings: tuple[Ceiling, ...]
    measured_at: str
    fingerprint: str
    pacing: str
    event_loop: str

    def ceiling(self, kind: LoadKind, workers: int) -> Ceiling | None:
        """None where it was not measured."""
        return next((one for one in self.ceilings if one.kind == kind and one.workers == workers), None)
