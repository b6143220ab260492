from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.nvml.simulated_nvml import run

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="simulated NVML needs LD_LIBRARY_PATH"),
]

READ = """
import json, os, sys
from app.telemetry.gpu import open_gpus
from app.telemetry.gpu_slow import RESCAN_INTERVAL_NS, SlowGpuReader
samples = []
with open_gpus() as gpus:
    slow_reader = SlowGpuReader(gpus)
    for at in json.loads(sys.argv[1]):
        readings = dict(slow_reader.read(int(at * RESCAN_INTERVAL_NS)))
        processes = [[process.gpu, process.pid, process.memory_gib] for process in slow_reader.processes]
        samples.append({"readings": readings, "processes": processes})
        if len(sys.argv) > 2:
            open(os.environ["NVML_STAND_IN_GPUS_FILE"], "w").write(sys.argv[2])
print(json.dumps({"samples": samples, "pid": os.getpid()}))
"""


def read(library: Path, moments: str, *count: str, **settings: str) -> Any:
    return run(READ, moments, *count, library=library, **settings)


def test_slow_gpu_metrics_are_read(simulated_nvml: Path) -> None:
    (output,) = read(simulated_nvml, "[0]", values="ecc_uncorrected=1")["samples"]
    assert output["readings"] == {
        "gpu0": {
            "gpu_ecc_corrected_errors": 3.0,
            "gpu_ecc_uncorrected_errors": 1.0,
            "gpu_fan_percent": 30.0,
            "gpu_encoder_percent": 11.0,
            "gpu_decoder_percent": 22.0,
            "gpu_processes": 0.0,
        }
    }
    assert output["processes"] == []


def test_each_gpu_process_is_telemetry_source(simulated_nvml: Path) -> None:
    output = read(simulated_nvml, "[0]", gpus="2", processes="self=2048;77@1=512;78@1=?")
    readings, own_pid = output["samples"][0]["readings"], output["pid"]
    assert readings["gpu1"]["gpu_processes"] == 3.0
    assert readings[f"gpu0/pid{own_pid}"] == {"gpu_process_memory_gib": 2.0}
    assert readings["gpu1/pid78"] == {"gpu_process_memory_gib": None}
    assert output["samples"][0]["processes"] == [[0, own_pid, 2.0], [1, own_pid, 2.0], [1, 77, 0.5], [1, 78, None]]


def test_gpu_process_count_without_permission_is_none(simulated_nvml: Path) -> None:
    faults = "nvmlDeviceGetComputeRunningProcesses_v3#2=NO_PERMISSION"  # a list takes two calls
    first, second = read(simulated_nvml, "[0, 0.1]", processes="77=512", faults=faults)["samples"]
    assert first["processes"] == [[0, 77, 0.5]]
    assert second["readings"]["gpu0"]["gpu_processes"] is None
    assert second["processes"] == []


def test_mig_slice_has_memory_and_no_utilization(simulated_nvml: Path) -> None:
    (output,) = read(simulated_nvml, "[0]", values="mig_instances=2;mig_memory_used_mib=256")["samples"]
    assert output["readings"]["gpu0/mig1"] == {"gpu_mig_memory_gib": 0.25, "gpu_utilization_percent": None}
    assert "gpu0/mig2" not in output["readings"]


def test_fan_speed_of_gpu_without_fan_is_none(simulated_nvml: Path) -> None:
    (output,) = read(simulated_nvml, "[0]", faults="nvmlDeviceGetFanSpeed=NOT_SUPPORTED")["samples"]
    assert output["readings"]["gpu0"]["gpu_fan_percent"] is None
    assert output["readings"]["gpu0"]["gpu_encoder_percent"] == 11.0


def test_slow_gpu_reader_rescans_for_new_gpus_after_interval(simulated_nvml: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("1")
    output = read(simulated_nvml, "[0, 0.9, 1]", "2", gpus_file=str(count))["samples"]
    assert [sorted(sample["readings"]) for sample in output] == [["gpu0"], ["gpu0"], ["gpu0", "gpu1"]]


def test_lost_gpu_has_no_further_slow_metrics(simulated_nvml: Path) -> None:
    faults = "nvmlDeviceGetFanSpeed=GPU_IS_LOST"
    (output,) = read(simulated_nvml, "[0]", values="mig_instances=1", faults=faults)["samples"]
    assert output["readings"]["gpu0"]["gpu_decoder_percent"] is None
    assert output["readings"]["gpu0/mig0"]["gpu_mig_memory_gib"] is None
