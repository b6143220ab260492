from __future__ import annotations

import pytest

from app.telemetry.clock import ClockReading, measure_clock_resolution_ns, read_clock

START = ClockReading(monotonic_ns=1_000, wall_ns=5_000_000_000, boottime_ns=2_000)
SECOND = 1_000_000_000


def build_reading(passed_s: float, wall_s: float, boot_s: float) -> ClockReading:
    return ClockReading(
        START.monotonic_ns + round(passed_s * SECOND),
        START.wall_ns + round(wall_s * SECOND),
        2_000 + round(boot_s * SECOND),
    )


def test_changed_wall_clock_changes_wall_to_monotonic_ratio() -> None:
    assert build_reading(100, 101, 100).compute_wall_to_monotonic_ratio(START) == pytest.approx(1.01)


def test_wall_to_monotonic_ratio_of_no_elapsed_time_is_none() -> None:
    assert START.compute_wall_to_monotonic_ratio(START) is None


def test_suspended_time_is_difference_of_boot_and_monotonic_clock() -> None:
    assert build_reading(10, 13, 13).compute_suspended_s(START) == pytest.approx(3)


def test_suspended_time_is_not_negative() -> None:
    assert build_reading(10, 10, 9.999_999).compute_suspended_s(START) == 0


def test_suspended_time_without_boot_clock_is_none() -> None:
    assert build_reading(10, 10, 10).compute_suspended_s(ClockReading(0, 0, None)) is None


def test_clocks_of_this_machine_advance_equally() -> None:
    earlier = read_clock()
    for _ in range(10_000):
        reading = read_clock()
    assert reading.compute_wall_to_monotonic_ratio(earlier) == pytest.approx(1, abs=0.05)
    assert reading.compute_suspended_s(earlier) in (None, pytest.approx(0, abs=0.05))


def test_clock_resolution_is_at_most_1_us() -> None:
    assert 0 < measure_clock_resolution_ns() <= 1_000
