"""The AMD reader is tested on a fake of AMD's package, in a process per test. It was never run on an AMD GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.records.metrics import METRICS
from app.telemetry.amd import create_pollers

pytestmark = pytest.mark.process

STAND_IN = Path(__file__).parents[2] / "fakes" / "amd"

READ = """
import json, sys
from app.telemetry.amd import create_pollers
moments = json.loads(sys.argv[1])
print(json.dumps([[dict(reader.read(at)) for at in moments] for reader in create_pollers()]))
"""


COUNT = """
import json
from app.telemetry.amd import AmdReader
from app.telemetry.nvml_query import RETRY_INTERVAL_NS
reader, attempt_counts = AmdReader(), []
for at in (0, 0.5, 0.99, 1, 2, 2.1, 2.2):
    dict(reader.read(int(at * RETRY_INTERVAL_NS)))
    import amdsmi
    attempt_counts.append(len(amdsmi.refused))
print(json.dumps(attempt_counts))
"""


def read(script: str = READ, **settings: str) -> Any:
    environment = os.environ | {"PYTHONPATH": str(STAND_IN)} | settings
    command = [sys.executable, "-c", script, "[0, 1]"]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


def test_amd_metrics_are_in_units_of_their_names() -> None:
    ((first, second),) = read()
    assert first == second
    assert first["gpu-amd0"] == {
        "gpu_utilization_percent": 93.0,
        "gpu_memory_busy_percent": 41.0,
        "gpu_memory_gib": 2.5,
        "gpu_power_w": 512.0,
        "gpu_power_average_w": None,
        "gpu_energy_j": 30.5,
        "gpu_temperature_c": 65.0,
        "gpu_memory_temperature_c": 75.0,
        "gpu_sm_clock_mhz": 2100.0,
        "gpu_memory_clock_mhz": 1300.0,
    }
    assert first["gpu-amd0"].keys() <= METRICS.keys()


def test_metrics_of_older_amd_gpu_and_package_are_converted() -> None:
    older = read()[0][0]["gpu-amd1"]
    assert (older["gpu_power_w"], older["gpu_power_average_w"]) == (None, 180.0)
    assert (older["gpu_memory_busy_percent"], older["gpu_memory_temperature_c"]) == (None, None)
    assert (older["gpu_energy_j"], older["gpu_sm_clock_mhz"]) == (61.0, 2100.0)


@pytest.mark.parametrize("failure", ["no library", "no driver"])
def test_amd_package_without_library_or_driver_reports_no_metrics(failure: str) -> None:
    assert read(AMDSMI_STAND_IN=failure) == [[{}, {}]]


def test_unsupported_amd_metric_is_retried_later_and_failed_metric_at_once() -> None:
    assert read(COUNT) == [1, 1, 1, 2, 3, 4, 5]


def test_no_amd_reader_without_amd_package() -> None:
    assert create_pollers() == ()
