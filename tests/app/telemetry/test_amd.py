"""On a stand-in for AMD's package, each time in a process of its own. No AMD card has been seen by this code."""

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
reader, told = AmdReader(), []
for at in (0, 0.5, 0.99, 1, 2, 2.1, 2.2):
    dict(reader.read(int(at * RETRY_INTERVAL_NS)))
    import amdsmi
    told.append(len(amdsmi.refused))
print(json.dumps(told))
"""


def read(script: str = READ, **settings: str) -> Any:
    environment = os.environ | {"PYTHONPATH": str(STAND_IN)} | settings
    command = [sys.executable, "-c", script, "[0, 1]"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_values_come_through_in_the_units_of_their_names() -> None:
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


def test_what_an_older_card_or_package_reports_otherwise() -> None:
    older = read()[0][0]["gpu-amd1"]
    assert (older["gpu_power_w"], older["gpu_power_average_w"]) == (None, 180.0)
    assert (older["gpu_memory_busy_percent"], older["gpu_memory_temperature_c"]) == (None, None)
    assert (older["gpu_energy_j"], older["gpu_sm_clock_mhz"]) == (61.0, 2100.0)


@pytest.mark.parametrize("trouble", ["no library", "no driver"])
def test_a_package_without_its_library_or_driver_has_nothing_to_report(trouble: str) -> None:
    assert read(AMDSMI_STAND_IN=trouble) == [[{}, {}]]


def test_what_is_not_offered_is_asked_again_after_a_while_and_a_hiccup_at_once() -> None:
    assert read(COUNT) == [1, 1, 1, 2, 3, 4, 5]


def test_without_the_package_there_is_no_reader() -> None:
    assert create_pollers() == ()
