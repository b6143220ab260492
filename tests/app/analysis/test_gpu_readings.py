from __future__ import annotations

import math

import pandas as pd

from app.analysis.gpu_readings import readings_of, whole_gpus
from tests.fakes.gpu_telemetry import at, readings


def test_slices_processes_and_hosts_are_no_gpus() -> None:
    sources = ("gpu1", "gpu0", "gpu0/mig0", "gpu0/pid77", "host", "gpu-amd0")
    telemetry = pd.concat([readings("gpu_power_w", [0.0], lambda _: 1.0, source) for source in sources])
    assert whole_gpus(telemetry) == ("gpu-amd0", "gpu0", "gpu1")


def test_readings_are_put_in_order_and_failed_ones_kept() -> None:
    telemetry = readings("gpu_power_w", [2.0, 1.0, 3.0], lambda seconds: None if seconds == 1 else seconds)
    told = readings_of(telemetry.astype({"value": "Float64"}), "gpu0", "gpu_power_w")
    assert list(told.at_ns) == [at(1), at(2), at(3)]
    assert math.isnan(told.values[0])
    assert list(told.known().values) == [2.0, 3.0]
