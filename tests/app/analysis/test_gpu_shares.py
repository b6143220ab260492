from __future__ import annotations

import pandas as pd
import pytest

from app.analysis.gpu_shares import gpu_shares
from app.records.gpu import GpuShares
from tests.fakes.gpu_telemetry import every, readings, window

BEATS = every(0.1, 10)


def test_shares_are_of_the_windows_time() -> None:
    telemetry = pd.concat(
        [
            readings("gpu_utilisation_percent", BEATS, lambda seconds: 90.0 if seconds > 3.95 else 0.0),
            readings("gpu_throttle_reasons", BEATS, lambda seconds: 0x44 if seconds > 7.95 else 0x3),
        ]
    )
    shares = gpu_shares(telemetry, "gpu0", window(2, 9.95))
    assert shares.busy == pytest.approx((9.95 - 3.95) / 7.95)
    assert shares.idle == pytest.approx((3.95 - 2) / 7.95)
    assert shares.throttled == pytest.approx((9.95 - 7.95) / 7.95)


def test_readings_weigh_by_the_time_they_stand_for() -> None:
    telemetry = readings("gpu_utilisation_percent", [0, 0.8, 0.9, 1.0], lambda seconds: float(seconds == 0.8))
    assert gpu_shares(telemetry, "gpu0", window(0, 1)).busy == pytest.approx(0.85 - 0.4)


@pytest.mark.parametrize("bits", [0x0, 0x1, 0x2, 0x3])
def test_idle_and_set_clocks_are_no_throttling(bits: int) -> None:
    telemetry = readings("gpu_throttle_reasons", BEATS, lambda _: bits)
    assert gpu_shares(telemetry, "gpu0", window(1, 9)).throttled == 0


@pytest.mark.parametrize("bits", [0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x4000])
def test_every_other_reason_is(bits: int) -> None:
    telemetry = readings("gpu_throttle_reasons", BEATS, lambda _: bits | 0x1)
    assert gpu_shares(telemetry, "gpu0", window(1, 9)).throttled == 1


def test_what_is_not_told_is_none_and_not_0() -> None:
    telemetry = readings("gpu_utilisation_percent", BEATS, lambda _: None)
    assert gpu_shares(telemetry, "gpu0", window(1, 9)) == GpuShares(None, None, None)
    assert gpu_shares(telemetry.iloc[:0], "gpu0", window(1, 9)) == GpuShares(None, None, None)


def test_a_gap_counts_for_nothing_and_half_a_window_of_gaps_withholds() -> None:
    telemetry = readings(
        "gpu_utilisation_percent", [*every(0.1, 3), *every(0.1, 10, since_s=9)], lambda s: float(s < 4)
    )
    assert gpu_shares(telemetry, "gpu0", window(0, 6)).busy == 1
    assert gpu_shares(telemetry, "gpu0", window(0, 8)).busy is None
    assert gpu_shares(telemetry, "gpu0", window(2, 10)).busy is None
