from __future__ import annotations

import pandas as pd

from app.gui.results.tabs.machine import THROTTLE_REASONS, throttle_bands

SECOND = 1_000_000_000


def test_throttle_bands_cover_the_time_ranges_with_throttle_reasons() -> None:
    bits = [0, 1, 4, 4, 4, 0, 4]
    telemetry = pd.DataFrame(
        {
            "at_ns": [SECOND * (10 + index) for index in range(len(bits))] * 2,
            "source": ["gpu0"] * len(bits) * 2,
            "metric": [THROTTLE_REASONS] * len(bits) + ["gpu_power_w"] * len(bits),
            "value": [float(bit) for bit in bits] * 2,
        }
    )
    bands = throttle_bands(telemetry, 10 * SECOND)
    assert [(start, end, state) for start, end, _, state in bands] == [(2.0, 4.0, "warn"), (6.0, 6.0, "warn")]
    assert bands[0][2].startswith("gpu0 throttled: ")
