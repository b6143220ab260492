from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from app.records.machine import MachineNow
from app.records.result import Environment
from app.telemetry.machine_state import MachineReader, build_machine_state, build_state_in_run, read_machine_state
from tests.fakes.nvml.simulated_nvml import run
from tests.fakes.session_dependencies import ENVIRONMENT

READ = """
import msgspec, sys
from app.telemetry.machine_state import MachineReader
reader = MachineReader()
reader.read()
sys.stdout.write(msgspec.json.encode(reader.read()).decode())
reader.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="simulated NVML needs LD_LIBRARY_PATH")
def test_machine_state_has_metrics_of_each_gpu(simulated_nvml: Path) -> None:
    state = msgspec.convert(run(READ, library=simulated_nvml, gpus="2", values="throttle_reasons=4"), MachineNow)
    assert [gpu.source for gpu in state.gpus] == ["gpu0", "gpu1"]
    first = state.gpus[0]
    assert (first.name, first.temperature_c, first.power_w) == ("Stand-in GPU", 51.0, 250.0)
    assert (first.memory_gib, first.memory_total_gib) == (2.0, 80.0)
    assert state.driver is not None


@pytest.mark.skipif(sys.platform != "linux", reason="simulated NVML needs LD_LIBRARY_PATH")
def test_unreported_gpu_temperature_is_none(simulated_nvml: Path) -> None:
    faults = "nvmlDeviceGetTemperatureV=NOT_SUPPORTED;nvmlDeviceGetTemperature=NOT_SUPPORTED"
    state = msgspec.convert(run(READ, library=simulated_nvml, faults=faults), MachineNow)
    assert state.gpus[0].temperature_c is None
    assert state.gpus[0].utilization_percent == 42.0


def test_machine_state_without_gpu_driver_has_host_metrics() -> None:
    reader = MachineReader()
    assert reader.read().cpu_percent is None
    second = reader.read()
    reader.close()
    assert second.cores is not None
    assert second.memory_gib is not None
    assert second.memory_total_gib is not None
    assert 0 < second.memory_gib < second.memory_total_gib
    assert read_machine_state().cpu_percent is None


def test_machine_state_is_built_from_run_telemetry() -> None:
    readings: dict[str, dict[str, float | None]] = {
        "host": {"host_cpu_percent": 40.0, "host_memory_gib": 3.0},
        "gpu0": {"gpu_utilization_percent": 90.0, "gpu_throttle_reasons": 4.0},
        "gpu0/mig1": {"gpu_memory_gib": 1.0},
        "gpu-amd0": {"gpu_power_w": None, "gpu_power_average_w": 200.0},
    }
    state = build_state_in_run(readings, ENVIRONMENT)
    assert state.cpu_percent == 40.0
    by_source = {gpu.source: gpu for gpu in state.gpus}
    assert set(by_source) == {"gpu0", "gpu-amd0", *(f"gpu{gpu.index}" for gpu in ENVIRONMENT.gpus)}
    assert by_source["gpu0"].throttled_by == ("power cap",)
    assert by_source["gpu-amd0"].power_w == 200.0
    assert by_source["gpu-amd0"].throttled_by is None


def test_machine_state_without_telemetry_has_no_values() -> None:
    state = build_state_in_run({}, None)
    assert (state.cpu_percent, state.cores, state.memory_gib, state.gpus) == (None, None, None, ())
    assert build_machine_state({}, (), cores=2, memory_total_gib=4, driver=None, gpu_note="lost").gpu_note == "lost"


def test_doctor_json_has_refused_providers_and_gpu_metrics(simulated_nvml: Path) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(simulated_nvml)}
    completed = subprocess.run(
        [sys.executable, "-m", "app", "doctor", "--json"],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    document = json.loads(completed.stdout)
    assert msgspec.convert(document["environment"], Environment).gpus
    assert {refusal["provider"] for refusal in document["refused"]} >= {"cuda"} or "cuda" in document["environment"][
        "providers"
    ]
    assert document["now"]["gpus"][0]["temperature_c"] == 51.0
