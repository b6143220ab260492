"""The real binding on a stand-in for the driver's library, each time in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is found by LD_LIBRARY_PATH")

READ = """
import json, sys
from app.telemetry.gpu import ASK_AGAIN_NS, open_gpus
moments = json.loads(sys.argv[1])
with open_gpus() as gpus:
    readings = [[gpu.read(at * ASK_AGAIN_NS) for at in moments] for gpu in gpus.readers]
    described = [gpu.description for gpu in gpus.readers]
    print(json.dumps({
        "readings": readings, "lost": [gpu.is_lost for gpu in gpus.readers], "driver": gpus.driver, "note": gpus.note,
        "described": [[gpu.name, gpu.uuid_hash, gpu.memory_gib, gpu.power_limit_w] for gpu in described],
    }))
"""

SAMPLE = """
import json, sys, threading, time
from app.telemetry.sampler import Sampler
rows, arrived = [], threading.Event()
def sink(batch):
    rows.extend(batch.to_pylist())
    if any(row["source"] == "gpu0" for row in rows):
        arrived.set()
sampler = Sampler(interval_s=0.02)
began = time.perf_counter()
sampler.start(sink)
assert arrived.wait(20)
lost, took_s = sampler.lost_gpus, time.perf_counter() - began
sampler.close()
print(json.dumps({"rows": rows, "lost": lost, "took_s": took_s}))
"""


def run(script: str, *arguments: str, library: Path | None, **settings: str) -> Any:
    environment = os.environ | {f"NVML_STAND_IN_{name.upper()}": value for name, value in settings.items()}
    environment["LD_LIBRARY_PATH"] = str(library or "/nonexistent")
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_values_come_through_in_the_units_of_their_names(nvml_stand_in: Path) -> None:
    values = "utilisation_percent=87;memory_used_mib=3072;power_mw@1=312500;temperature_c=64;sm_clock_mhz=1410"
    told = run(READ, "[0]", library=nvml_stand_in, gpus="2", values=values)
    first, second = (readings[0] for readings in told["readings"])
    assert first == {
        "gpu_utilisation_percent": 87.0,
        "gpu_memory_gib": 3.0,
        "gpu_power_w": 250.0,
        "gpu_temperature_c": 64.0,
        "gpu_sm_clock_mhz": 1410.0,
    }
    assert second["gpu_power_w"] == 312.5


def test_a_gpu_is_described_without_its_serial_number(nvml_stand_in: Path) -> None:
    told = run(READ, "[0]", library=nvml_stand_in, gpus="2")
    (name, first_hash, memory_gib, limit_w), (_, second_hash, _, _) = told["described"]
    assert (name, memory_gib, limit_w) == ("Stand-in GPU", 80.0, 700.0)
    assert len(first_hash) == 12
    assert first_hash != second_hash
    assert told["driver"] == "999.10.01"


@pytest.mark.parametrize("code", ["NOT_SUPPORTED", "NO_PERMISSION"])
def test_a_reading_the_card_does_not_offer_is_none_and_never_0(nvml_stand_in: Path, code: str) -> None:
    told = run(READ, "[0]", library=nvml_stand_in, faults=f"nvmlDeviceGetPowerUsage={code}")
    reading = told["readings"][0][0]
    assert reading["gpu_power_w"] is None
    assert reading["gpu_utilisation_percent"] == 42.0
    assert told["lost"] == [False]


def test_what_is_not_offered_is_asked_again_only_after_a_while(nvml_stand_in: Path) -> None:
    # the first call says "not supported", the second one loses the GPU: so it shows when the second is made
    faults = "nvmlDeviceGetPowerUsage#1=GPU_IS_LOST;nvmlDeviceGetPowerUsage=NOT_SUPPORTED"
    assert run(READ, "[0, 0.5, 0.99]", library=nvml_stand_in, faults=faults)["lost"] == [False]
    assert run(READ, "[0, 0.5, 1]", library=nvml_stand_in, faults=faults)["lost"] == [True]


def test_a_hiccup_costs_one_reading(nvml_stand_in: Path) -> None:
    told = run(READ, "[0]", library=nvml_stand_in, faults="nvmlDeviceGetTemperature=TIMEOUT")
    assert told["readings"][0][0]["gpu_temperature_c"] is None
    assert told["readings"][0][0]["gpu_sm_clock_mhz"] == 1980.0
    assert told["lost"] == [False]


def test_a_lost_gpu_is_marked_and_leaves_the_others_alone(nvml_stand_in: Path) -> None:
    faults = "nvmlDeviceGetPowerUsage@1#1=GPU_IS_LOST"
    told = run(READ, "[0, 0, 0]", library=nvml_stand_in, gpus="2", faults=faults)
    assert told["lost"] == [False, True]
    assert told["readings"][0][2]["gpu_power_w"] == 250.0
    assert told["readings"][1][0]["gpu_power_w"] == 250.0
    assert set(told["readings"][1][2].values()) == {None}


def test_a_gpu_that_cannot_be_opened_is_noted(nvml_stand_in: Path) -> None:
    told = run(READ, "[0]", library=nvml_stand_in, gpus="2", faults="nvmlDeviceGetHandleByIndex_v2@0=GPU_IS_LOST")
    assert len(told["readings"]) == 1
    assert told["note"].startswith("GPU 0: ")


def test_no_library_is_no_gpus_and_nothing_to_note() -> None:
    assert run(READ, "[0]", library=None) == {
        "readings": [], "lost": [], "driver": None, "note": None, "described": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "note"),
    [
        ("DRIVER_NOT_LOADED", None),
        ("LIB_RM_VERSION_MISMATCH", "RM has detected an NVML/RM version mismatch."),
        ("UNKNOWN", "Unknown Error"),
    ],
)
def test_a_driver_in_trouble_says_so_and_an_absent_one_is_normal(
    nvml_stand_in: Path, code: str, note: str | None
) -> None:
    told = run(READ, "[0]", library=nvml_stand_in, faults=f"nvmlInitWithFlags={code}")
    assert (told["readings"], told["note"]) == ([], note)


def test_a_slow_driver_does_not_delay_the_host(nvml_stand_in: Path) -> None:
    told = run(SAMPLE, library=nvml_stand_in, faults="nvmlDeviceGetPowerUsage=sleep:400")
    gpu_ns = [row["at_ns"] for row in told["rows"] if row["metric"] == "gpu_power_w"]
    host_ns = [row["at_ns"] for row in told["rows"] if row["metric"] == "host_memory_gib"]
    during = [at_ns for at_ns in host_ns if gpu_ns[0] < at_ns < gpu_ns[0] + 400_000_000]
    assert len(during) >= 10  # of 20


def test_the_sampler_tells_of_a_lost_gpu_within_two_seconds(nvml_stand_in: Path) -> None:
    told = run(SAMPLE, library=nvml_stand_in, gpus="2", faults="nvmlDeviceGetPowerUsage@1#3=GPU_IS_LOST")
    assert told["lost"] == [1]
    assert told["took_s"] < 2
    assert any(row["source"] == "gpu1" and row["value"] is None for row in told["rows"])
