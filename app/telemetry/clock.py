"""Compare the clocks of this machine, to check the monotonic clock that times all measurements."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class ClockReading:
    """Readings of three clocks at the same time, in ns. The boot-time clock `boottime_ns` also
    advances while the machine is suspended; None if the OS has no such clock."""

    monotonic_ns: int
    wall_ns: int
    boottime_ns: int | None

    def compute_wall_to_monotonic_ratio(self, earlier_reading: ClockReading) -> float | None:
        """Return the wall time that has elapsed since an earlier reading, divided by the elapsed
        monotonic time; None if no time has passed."""
        elapsed_ns = self.monotonic_ns - earlier_reading.monotonic_ns
        return (self.wall_ns - earlier_reading.wall_ns) / elapsed_ns if elapsed_ns > 0 else None

    def compute_suspended_s(self, earlier_reading: ClockReading) -> float | None:
        """Return the time in seconds for which the machine was suspended since an earlier reading;
        None if not reported by the OS."""
        if self.boottime_ns is None or earlier_reading.boottime_ns is None:
            return None
        suspended_ns = (self.boottime_ns - earlier_reading.boottime_ns) - (
            self.monotonic_ns - earlier_reading.monotonic_ns
        )
        # The clocks are read one after the other, so the difference can be a few microseconds below
        # 0.
        return max(0, suspended_ns) / 1e9


def read_clock() -> ClockReading:
    boottime_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else None
    return ClockReading(time.perf_counter_ns(), time.time_ns(), boottime_ns)


def measure_clock_resolution_ns(sample_count: int = 1_000) -> int:
    """Measure the resolution of the monotonic clock in ns: the smallest step between two readings,
    which includes the duration of a reading."""
    readings_ns = [time.perf_counter_ns() for _ in range(sample_count)]
    steps_ns = [after - before for before, after in pairwise(readings_ns) if after > before]
    return min(steps_ns, default=round(time.get_clock_info("perf_counter").resolution * 1e9))
