"""NVML fields of the fake driver, which counts sent bytes in 32 bits and received bytes in 64 bits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from app.telemetry.gpu import ByteRate
from tests.fakes.nvml.simulated_nvml import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="simulated NVML needs LD_LIBRARY_PATH")

READ = """
import json, sys, time
import pynvml
from app.telemetry.nvml_query import RETRY_INTERVAL_NS, NvmlQueryRunner
from app.telemetry.gpu import FieldReader
pynvml.nvmlInit()
query = NvmlQueryRunner()
fields = FieldReader(pynvml.nvmlDeviceGetHandleByIndex(0), query)
samples, start_s = [], time.perf_counter()
for at in json.loads(sys.argv[1]):
    samples.append(fields.read(int(at * RETRY_INTERVAL_NS)))
    until = time.perf_counter() + 0.05
    while time.perf_counter() < until:
        pass
print(json.dumps({"samples": samples, "lost": query.is_lost, "duration_s": time.perf_counter() - start_s}))
"""


def read(library: Path, moments: str, **settings: str) -> Any:
    return run(READ, moments, library=library, **settings)


def test_pcie_counters_are_converted_to_rates(simulated_nvml: Path) -> None:
    output = read(simulated_nvml, "[0, 0, 0]", values="pcie_tx_kb_per_s=250000;pcie_rx_kb_per_s=9000000")["samples"]
    assert output[0]["gpu_pcie_tx_mb_per_s"] is None
    for reading in output[1:]:
        assert reading["gpu_pcie_tx_mb_per_s"] == pytest.approx(250, rel=0.02)
        assert reading["gpu_pcie_rx_mb_per_s"] == pytest.approx(9_000, rel=0.02)


def test_wrapped_32_bit_pcie_counter_has_correct_rate(simulated_nvml: Path) -> None:
    values = "pcie_start_bytes=4294000000;pcie_tx_kb_per_s=250000"
    output = read(simulated_nvml, "[0, 0]", values=values)["samples"]
    assert output[1]["gpu_pcie_tx_mb_per_s"] == pytest.approx(250, rel=0.02)


def test_gpu_energy_increases_by_power_times_time(simulated_nvml: Path) -> None:
    output = read(simulated_nvml, "[0, 0, 0]", values="power_mw=400000")
    first, last = output["samples"][0]["gpu_energy_j"], output["samples"][-1]["gpu_energy_j"]
    assert 400 * 0.09 < last - first < 400 * output["duration_s"]


def test_unsupported_nvml_field_is_retried_after_interval(simulated_nvml: Path) -> None:
    # the second query of the field would return "GPU is lost"
    faults = "field82#1=GPU_IS_LOST;field82=NOT_SUPPORTED"
    output = read(simulated_nvml, "[0, 0.5, 0.99]", faults=faults)
    assert not output["lost"]
    assert [reading["gpu_memory_temperature_c"] for reading in output["samples"]] == [None] * 3
    assert [reading["gpu_power_w"] for reading in output["samples"]] == [250.0] * 3
    assert read(simulated_nvml, "[0, 1]", faults=faults)["lost"]


def test_failed_nvml_field_is_retried_at_next_reading(simulated_nvml: Path) -> None:
    output = read(simulated_nvml, "[0, 0]", faults="field186=TIMEOUT;field185#1=TIMEOUT")["samples"]
    assert [reading["gpu_power_w"] for reading in output] == [None, None]
    assert [reading["gpu_power_average_w"] for reading in output] == [240.0, None]


def test_byte_rate_uses_driver_timestamps_and_handles_resets() -> None:
    traffic = ByteRate()
    assert traffic.update(1_000, 10, can_wrap=False) is None
    assert traffic.update(3_000, 20, can_wrap=False) == 200
    assert traffic.update(3_000, 20, can_wrap=False) == 200  # no new value of the driver
    assert traffic.update(3_000, 30, can_wrap=False) == 0
    assert traffic.update(1_000, 40, can_wrap=False) is None  # the counter restarted
    assert traffic.update(2_000, 50, can_wrap=False) == 100
    assert traffic.update(9_000, 40, can_wrap=False) is None  # the clock was set back
