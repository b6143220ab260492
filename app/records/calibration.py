"""Capacity of the load generator on this machine, measured against a null server."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

LoadKind = Literal["plain", "streaming"]
LOAD_KINDS: tuple[LoadKind, ...] = ("plain", "streaming")

SERVER_SATURATED_CORES = 0.95
"""Minimum CPU usage of the single-core null server, in cores, at which a failed step is attributed
to the server instead of the load generator."""
BUSY_LIMIT_CORES = 0.3
"""CPU usage of other processes, in cores, above which these processes disturb the calibration
unless enough cores are idle."""
_SPARE_CORES = 1.0
"""Minimum number of idle cores at which other processes do not disturb the calibration, because no
thread has to wait for a core."""


class CalibrationStep(msgspec.Struct, frozen=True):
    """Result of the calibration at one rate. `late_share` is the fraction of requests sent more
    than 10 ms after their scheduled start.

    For streaming load, rates are in chunks per second, and `late_share` is the fraction of chunks
    received more than 10 ms after the server was due to write them. `lag_p50_ms` and `lag_p99_ms`
    are send lags of requests for all kinds of load.
    """

    offered_per_s: float
    achieved_per_s: float
    lag_p50_ms: float
    lag_p99_ms: float
    late_share: float
    worker_cpu_cores: float
    """CPU usage of the busiest worker, in cores."""
    passed: bool
    server_cpu_cores: float | None = None
    """CPU usage of the busiest null server, in cores; None if not readable."""
    other_cores: float | None = None
    """CPU usage of all processes outside the calibration, in cores; None if not readable."""
    idle_cores: float | None = None

    @property
    def is_disturbed(self) -> bool:
        """True if other processes may have prevented the load generator from getting a core."""
        if self.other_cores is None or self.other_cores <= BUSY_LIMIT_CORES:
            return False
        return self.idle_cores is None or self.idle_cores < _SPARE_CORES

    @property
    def is_generator_limit(self) -> bool:
        """True if the step failed and neither the null server nor other processes explain the
        failure."""
        is_server_saturated = self.server_cpu_cores is not None and self.server_cpu_cores >= SERVER_SATURATED_CORES
        return not (self.passed or is_server_saturated or self.is_disturbed)


class MeasuredCapacity(msgspec.Struct, frozen=True):
    """Capacity of the load generator with `workers` workers.

    `per_s` is the highest rate that passed, in requests or chunks per second; None if no rate
    passed. `is_lower_bound` is true if the capacity may be higher, because the next higher rate was
    not tested or failed for a reason other than the load generator. `disturbed_by_cores` is the CPU
    usage of other processes, in cores, if these processes explain why the next higher rate failed;
    the capacity is then used only while the machine is busy.
    """

    kind: LoadKind
    workers: int
    per_s: float | None
    steps: tuple[CalibrationStep, ...]
    is_lower_bound: bool = False
    disturbed_by_cores: float | None = None


class Calibration(msgspec.Struct, frozen=True):
    """Measured capacities of the load generator on one machine. `measured_at` is the time of the
    oldest measurement."""

    capacities: tuple[MeasuredCapacity, ...]
    measured_at: str
    fingerprint: str
    pacing: str
    event_loop: str

    def find_capacity(self, kind: LoadKind, worker_count: int) -> MeasuredCapacity | None:
        """Return the capacity for a kind of load and a number of workers; None if not measured."""
        return next(
            (capacity for capacity in self.capacities if capacity.kind == kind and capacity.workers == worker_count),
            None,
        )

    def drop_disturbed(self) -> Calibration:
        """Return a copy without the capacities whose measurement was disturbed by other
        processes."""
        return replace(
            self, capacities=tuple(capacity for capacity in self.capacities if capacity.disturbed_by_cores is None)
        )

    def merge(self, newer_calibration: Calibration) -> Calibration:
        """Return this calibration merged with `newer_calibration` of the same machine. Capacities
        that both calibrations contain are taken from `newer_calibration`."""
        older_capacities = tuple(
            capacity
            for capacity in self.capacities
            if newer_calibration.find_capacity(capacity.kind, capacity.workers) is None
        )
        if not older_capacities:
            return newer_calibration
        merged_capacities = sorted(
            (*older_capacities, *newer_calibration.capacities), key=lambda capacity: (capacity.kind, capacity.workers)
        )
        oldest_time = min(self.measured_at, newer_calibration.measured_at, key=datetime.fromisoformat)
        return replace(newer_calibration, capacities=tuple(merged_capacities), measured_at=oldest_time)
