from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fakes.nvml.simulated_nvml import run

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="simulated NVML needs LD_LIBRARY_PATH"),
]

DESCRIBE = """
import msgspec, sys
from app.telemetry.gpu import open_gpus
with open_gpus() as gpus:
    print(msgspec.json.encode([gpu.description for gpu in gpus.readers]).decode())
"""


def test_gpu_description_has_uuid_hash_and_limits(simulated_nvml: Path) -> None:
    first, second = run(DESCRIBE, library=simulated_nvml, gpus="2")
    assert len(first["uuid_hash"]) == 12
    assert first.pop("uuid_hash") != second["uuid_hash"]
    assert first == {
        "index": 0,
        "name": "Stand-in GPU",
        "memory_gib": 80.0,
        "power_limit_w": 700.0,
        "power_limit_default_w": 700.0,
        "power_limit_lowest_w": 200.0,
        "power_limit_highest_w": 750.0,
        "max_sm_clock_mhz": 1980,
        "max_memory_clock_mhz": 2619,
        "pcie_generation": 1,
        "pcie_width": 8,
        "pcie_max_generation": 5,
        "pcie_max_width": 16,
        "vbios": "96.00.74.00.01",
        "driver": "999.10.01",
        "cuda_driver": "13.1",
        "mig": [],
    }


def test_mig_slices_are_described(simulated_nvml: Path) -> None:
    (gpu,) = run(DESCRIBE, library=simulated_nvml, values="mig_instances=2")
    first, second = gpu["mig"]
    assert first.pop("uuid_hash") != second["uuid_hash"]
    assert first == {"index": 0, "name": "Stand-in GPU MIG 1g.10gb", "memory_gib": 10.0}


def test_unreported_gpu_properties_are_none(simulated_nvml: Path) -> None:
    faults = "nvmlDeviceGetPowerManagementLimitConstraints=NOT_SUPPORTED;nvmlDeviceGetVbiosVersion=NO_PERMISSION"
    (gpu,) = run(DESCRIBE, library=simulated_nvml, faults=faults)
    assert (gpu["power_limit_lowest_w"], gpu["power_limit_highest_w"], gpu["vbios"]) == (None, None, None)
    assert gpu["max_sm_clock_mhz"] == 1980
