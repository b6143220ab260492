"""How much the load generator of this machine can send, found on a server that does nothing."""

from __future__ import annotations

import msgspec


class Rung(msgspec.Struct, frozen=True):
    """One rate tried. `late_share`: of the sends, those more than 10 ms behind their intended time."""

    offered_per_s: float
    achieved_per_s: float
    lag_p50_ms: float
    lag_p99_ms: float
    late_share: float
    worker_cpu_cores: float
    held: bool


class Calibration(msgspec.Struct, frozen=True):
    """`ceiling_per_s` is the highest rate that held, None when not even the lowest did."""

    ceiling_per_s: float | None
    rungs: tuple[Rung, ...]
    measured_at: str
    fingerprint: str
    pacing: str
    event_loop: str
