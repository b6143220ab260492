"""On the stand-in driver: what it sends is counted in 32 bits, what it receives in 64."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from app.telemetry.gpu import ByteRate
from tests.fakes.nvml.stand_in import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is found by LD_LIBRARY_PATH")

READ = """
import json, sys, time
import pynvml
from app.telemetry.nvml_query import RETRY_INTERVAL_NS, NvmlQueryRunner
from app.telemetry.gpu import FieldReader
pynvml.nvmlInit()
query = NvmlQueryRunner()
fields = FieldReader(pynvml.nvmlDeviceGetHandleByIndex(0), query)
samples, began = [], time.perf_counter()
for at in json.loads(sys.argv[1]):
    samples.append(fields.read(int(at * RETRY_INTERVAL_NS)))
    until = time.perf_counter() + 0.05
    while time.perf_counter() < until:
        pass
print(json.dumps({"samples": samples, "lost": query.is_lost, "took_s": time.perf_counter() - began}))
"""


def read(library: Path, moments: str, **settings: str) -> Any:
    return run(READ, moments, library=library, **settings)


def test_counters_become_rates_between_two_readings(nvml_stand_in: Path) -> None:
    reported = read(nvml_stand_in, "[0, 0, 0]", values="pcie_tx_kb_per_s=250000;pcie_rx_kb_per_s=9000000")["samples"]
    assert reported[0]["gpu_pcie_tx_mb_per_s"] is None
    for reading in reported[1:]:
        assert reading["gpu_pcie_tx_mb_per_s"] == pytest.approx(250, rel=0.02)
        assert reading["gpu_pcie_rx_mb_per_s"] == pytest.approx(9_000, rel=0.02)


def test_a_counter_of_32_bits_that_wraps_goes_on(nvml_stand_in: Path) -> None:
    values = "pcie_start_bytes=4294000000;pcie_tx_kb_per_s=250000"
    reported = read(nvml_stand_in, "[0, 0]", values=values)["samples"]
    assert reported[1]["gpu_pcie_tx_mb_per_s"] == pytest.approx(250, rel=0.02)


def test_energy_grows_with_power(nvml_stand_in: Path) -> None:
    reported = read(nvml_stand_in, "[0, 0, 0]", values="power_mw=400000")
    first, last = reported["samples"][0]["gpu_energy_j"], reported["samples"][-1]["gpu_energy_j"]
    assert 400 * 0.09 < last - first < 400 * reported["took_s"]


def test_a_field_the_card_does_not_offer_is_left_out_and_asked_again_after_a_while(nvml_stand_in: Path) -> None:
    # the second question for it would be answered by the loss of the GPU
    faults = "field82#1=GPU_IS_LOST;field82=NOT_SUPPORTED"
    reported = read(nvml_stand_in, "[0, 0.5, 0.99]", faults=faults)
    assert not reported["lost"]
    assert [reading["gpu_memory_temperature_c"] for reading in reported["samples"]] == [None] * 3
    assert [reading["gpu_power_w"] for reading in reported["samples"]] == [250.0] * 3
    assert read(nvml_stand_in, "[0, 1]", faults=faults)["lost"]


def test_a_field_that_hiccups_is_asked_again_at_once(nvml_stand_in: Path) -> None:
    reported = read(nvml_stand_in, "[0, 0]", faults="field186=TIMEOUT;field185#1=TIMEOUT")["samples"]
    assert [reading["gpu_power_w"] for reading in reported] == [None, None]
    assert [reading["gpu_power_average_w"] for reading in reported] == [240.0, None]


def test_a_counter_by_the_drivers_own_clock() -> None:
    traffic = ByteRate()
    assert traffic.update(1_000, 10, can_wrap=False) is None
    assert traffic.update(3_000, 20, can_wrap=False) == 200
    assert traffic.update(3_000, 20, can_wrap=False) == 200  # the driver has not counted anew
    assert traffic.update(3_000, 30, can_wrap=False) == 0
    assert traffic.update(1_000, 40, can_wrap=False) is None  # it began again
    assert traffic.update(2_000, 50, can_wrap=False) == 100
    assert traffic.update(9_000, 40, can_wrap=False) is None  # somebody set the clock
