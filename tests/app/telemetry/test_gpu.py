"""The real NVML binding is tested on a fake of the driver's library, in a process per test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fakes.nvml.simulated_nvml import run

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="simulated NVML needs LD_LIBRARY_PATH"),
]

READ = """
import json, sys
from app.telemetry.gpu import open_gpus
from app.telemetry.nvml_query import RETRY_INTERVAL_NS
moments = json.loads(sys.argv[1])
with open_gpus() as gpus:
    readings = [[gpu.read(int(at * RETRY_INTERVAL_NS)) for at in moments] for gpu in gpus.readers]
    print(json.dumps({
        "readings": readings, "lost": [gpu.is_lost for gpu in gpus.readers], "driver": gpus.driver, "note": gpus.note,
    }))
"""

SAMPLE = """
import json, sys, threading, time
from app.telemetry.sampler import Sampler
rows, arrived = [], threading.Event()
def sink(batch):
    rows.extend(batch.to_pylist())
    if {"gpu0", "gpu0/mig1"} <= {row["source"] for row in rows}:
        arrived.set()
sampler = Sampler(interval_s=0.02)
start_s = time.perf_counter()
sampler.start(sink)
assert arrived.wait(20)
lost, duration_s = sampler.lost_gpus, time.perf_counter() - start_s
processes = [[process.gpu, process.pid, process.memory_gib] for process in sampler.gpu_processes]
sampler.close()
print(json.dumps({"rows": rows, "lost": lost, "duration_s": duration_s, "processes": processes}))
"""

RESCAN = """
import json, os, sys
from app.telemetry.gpu import open_gpus
def list_states(gpus):
    return [[gpu.index, gpu.is_lost, gpu.read(at)["gpu_memory_gib"]] for at, gpu in enumerate(gpus.readers)]
states = []
with open_gpus() as gpus:
    states.append(list_states(gpus))
    for count in sys.argv[1:]:
        open(os.environ["NVML_STAND_IN_GPUS_FILE"], "w").write(count)
        gpus.rescan()
        states.append(list_states(gpus))
print(json.dumps(states))
"""

READ_MEMORY = """
import json
from app.telemetry.gpu import read_gpu_memory_used_gib
print(json.dumps(read_gpu_memory_used_gib()))
"""


def test_gpu_metrics_are_in_units_of_their_names(simulated_nvml: Path) -> None:
    values = "utilisation_percent=87;memory_used_mib=3072;power_mw@1=312500;temperature_c=64;sm_clock_mhz=1410"
    output = run(READ, "[0]", library=simulated_nvml, gpus="2", values=f"{values};throttle_reasons=68")
    first, second = (readings[0] for readings in output["readings"])
    assert 0 <= first.pop("gpu_energy_j") < 250 * 60
    assert first == {
        "gpu_utilization_percent": 87.0,
        "gpu_memory_busy_percent": 43.0,
        "gpu_memory_gib": 3.0,
        "gpu_power_w": 250.0,
        "gpu_power_average_w": 240.0,
        "gpu_temperature_c": 64.0,
        "gpu_memory_temperature_c": 63.0,
        "gpu_sm_clock_mhz": 1410.0,
        "gpu_memory_clock_mhz": 2619.0,
        "gpu_pcie_tx_mb_per_s": None,  # a rate needs two readings
        "gpu_pcie_rx_mb_per_s": None,
        "gpu_throttle_reasons": 68.0,
    }
    assert second["gpu_power_w"] == 312.5
    assert output["driver"] == "999.10.01"


@pytest.mark.parametrize("code", ["NOT_SUPPORTED", "NO_PERMISSION"])
def test_unsupported_gpu_metric_is_none(simulated_nvml: Path, code: str) -> None:
    output = run(READ, "[0]", library=simulated_nvml, faults=f"nvmlDeviceGetUtilizationRates={code}")
    reading = output["readings"][0][0]
    assert reading["gpu_utilization_percent"] is None
    assert reading["gpu_memory_busy_percent"] is None
    assert reading["gpu_power_w"] == 250.0
    assert output["lost"] == [False]


def test_unsupported_gpu_metric_is_retried_after_interval(simulated_nvml: Path) -> None:
    # the first call returns "not supported" and the second one "GPU is lost", which shows when the second is made
    faults = "nvmlDeviceGetUtilizationRates#1=GPU_IS_LOST;nvmlDeviceGetUtilizationRates=NOT_SUPPORTED"
    assert run(READ, "[0, 0.5, 0.99]", library=simulated_nvml, faults=faults)["lost"] == [False]
    assert run(READ, "[0, 0.5, 1]", library=simulated_nvml, faults=faults)["lost"] == [True]


@pytest.mark.parametrize(
    ("fault", "metric", "value"),
    [
        ("field186=NOT_SUPPORTED", "gpu_power_w", 240.0),
        ("nvmlDeviceGetFieldValues=FUNCTION_NOT_FOUND", "gpu_power_w", 240.0),
        ("nvmlDeviceGetTemperatureV=FUNCTION_NOT_FOUND", "gpu_temperature_c", 51.0),
        ("nvmlDeviceGetCurrentClocksEventReasons=FUNCTION_NOT_FOUND", "gpu_throttle_reasons", 0.0),
        ("nvmlDeviceGetMemoryInfo_v2=FUNCTION_NOT_FOUND", "gpu_memory_gib", 2.5),
    ],
)
def test_older_driver_is_queried_by_fallback_function(
    simulated_nvml: Path, fault: str, metric: str, value: float
) -> None:
    output = run(READ, "[0, 0.5]", library=simulated_nvml, faults=fault)
    assert [reading[metric] for reading in output["readings"][0]] == [value, value]


def test_single_driver_error_affects_one_metric(simulated_nvml: Path) -> None:
    output = run(READ, "[0]", library=simulated_nvml, faults="nvmlDeviceGetTemperatureV=TIMEOUT")
    assert output["readings"][0][0]["gpu_temperature_c"] is None
    assert output["readings"][0][0]["gpu_sm_clock_mhz"] == 1980.0
    assert output["lost"] == [False]


@pytest.mark.parametrize("function", ["nvmlDeviceGetUtilizationRates", "nvmlDeviceGetFieldValues", "field83"])
def test_lost_gpu_is_marked_and_does_not_affect_other_gpus(simulated_nvml: Path, function: str) -> None:
    faults = f"{function}@1#1=GPU_IS_LOST"
    output = run(READ, "[0, 0, 0]", library=simulated_nvml, gpus="2", faults=faults)
    assert output["lost"] == [False, True]
    assert output["readings"][0][2]["gpu_power_w"] == 250.0
    assert output["readings"][1][0]["gpu_power_w"] == 250.0
    assert set(output["readings"][1][2].values()) == {None}


@pytest.mark.parametrize(
    "code", ["NOT_SUPPORTED", "NO_PERMISSION", "TIMEOUT", "FUNCTION_NOT_FOUND", "UNKNOWN", "GPU_IS_LOST"]
)
def test_gpu_reader_tolerates_driver_that_refuses_all_calls(simulated_nvml: Path, code: str) -> None:
    output = run(READ, "[0, 0.1, 0.2, 0.3]", library=simulated_nvml, faults=f"*@0#40={code}")
    assert None not in {output["readings"][0][0][metric] for metric in ("gpu_power_w", "gpu_sm_clock_mhz")}
    assert set(output["readings"][0][3].values()) == {None}


def test_gpu_that_cannot_be_opened_is_noted(simulated_nvml: Path) -> None:
    output = run(READ, "[0]", library=simulated_nvml, gpus="2", faults="nvmlDeviceGetHandleByIndex_v2@0=GPU_IS_LOST")
    assert len(output["readings"]) == 1
    assert output["note"].startswith("GPU 0: ")


def test_missing_nvml_library_has_no_gpus_and_no_note() -> None:
    assert run(READ, "[0]", library=None) == {"readings": [], "lost": [], "driver": None, "note": None}


@pytest.mark.parametrize(
    ("code", "note"),
    [
        ("DRIVER_NOT_LOADED", None),
        ("LIB_RM_VERSION_MISMATCH", "RM has detected an NVML/RM version mismatch."),
        ("UNKNOWN", "Unknown Error"),
    ],
)
def test_driver_error_is_noted_and_unloaded_driver_is_not(simulated_nvml: Path, code: str, note: str | None) -> None:
    output = run(READ, "[0]", library=simulated_nvml, faults=f"nvmlInitWithFlags={code}")
    assert (output["readings"], output["note"]) == ([], note)


def test_rescan_adds_new_gpus_and_marks_removed_gpus_as_lost(simulated_nvml: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("1")
    output = run(RESCAN, "1", "3", "2", library=simulated_nvml, gpus_file=str(count))
    present, lost = [False, 2.0], [True, None]
    assert output == [
        [[0, *present]],
        [[0, *present]],
        [[0, *present], [1, *present], [2, *present]],
        [[0, *present], [1, *present], [2, *lost]],
    ]


def test_rescan_does_not_reuse_index_of_reordered_gpu(simulated_nvml: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("1")
    output = run(RESCAN, "2 1", library=simulated_nvml, gpus_file=str(count))
    assert output[-1] == [[0, True, None], [1, False, 2.0], [2, False, 2.0]]


def test_lost_gpu_stays_lost_after_rescan(simulated_nvml: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("2")
    output = run(RESCAN, "1", "2", library=simulated_nvml, gpus_file=str(count))
    assert output[-1] == [[0, False, 2.0], [1, True, None]]


def test_gpu_memory_in_use_is_read_per_gpu(simulated_nvml: Path) -> None:
    values = "memory_used_mib=512;memory_used_mib@1=1024"
    assert run(READ_MEMORY, library=simulated_nvml, gpus="2", values=values) == {"0": 0.5, "1": 1.0}
    faults = "nvmlDeviceGetMemoryInfo_v2@0=NO_PERMISSION"
    assert run(READ_MEMORY, library=simulated_nvml, gpus="2", values=values, faults=faults) == {"1": 1.0}
    assert run(READ_MEMORY, library=None) == {}


def test_slow_gpu_driver_does_not_delay_host_telemetry(simulated_nvml: Path) -> None:
    values, faults = "mig_instances=2", "nvmlDeviceGetClockInfo=sleep:400"
    output = run(SAMPLE, library=simulated_nvml, values=values, faults=faults)
    gpu_ns = [row["at_ns"] for row in output["rows"] if row["metric"] == "gpu_power_w"]
    host_ns = [row["at_ns"] for row in output["rows"] if row["metric"] == "host_memory_gib"]
    host_samples_ns = [at_ns for at_ns in host_ns if gpu_ns[0] < at_ns < gpu_ns[0] + 800_000_000]
    assert len(host_samples_ns) >= 4  # of 8


def test_slow_gpu_metrics_do_not_delay_other_gpu_metrics(simulated_nvml: Path) -> None:
    values, faults = "mig_instances=2", "nvmlDeviceGetFanSpeed=sleep:400"
    output = run(SAMPLE, library=simulated_nvml, values=values, faults=faults)
    gpu_ns = [row["at_ns"] for row in output["rows"] if row["metric"] == "gpu_power_w"]
    gpu_samples_ns = [at_ns for at_ns in gpu_ns if gpu_ns[0] < at_ns < gpu_ns[0] + 400_000_000]
    assert len(gpu_samples_ns) >= 10  # of 20


@pytest.mark.timing
def test_sampler_reports_lost_gpu_within_2_s(simulated_nvml: Path) -> None:
    values, faults = "mig_instances=2", "nvmlDeviceGetClockInfo@1#3=GPU_IS_LOST"
    output = run(SAMPLE, library=simulated_nvml, gpus="2", values=values, faults=faults)
    assert output["lost"] == [1]
    assert output["duration_s"] < 2
    assert any(row["source"] == "gpu1" and row["value"] is None for row in output["rows"])


def test_sampler_reports_mig_slices_and_gpu_processes(simulated_nvml: Path) -> None:
    output = run(SAMPLE, library=simulated_nvml, values="mig_instances=2", processes="4711=1024")
    assert output["processes"] == [[0, 4711, 1.0]]
    values = {(row["source"], row["metric"]): row["value"] for row in output["rows"]}
    assert values["gpu0/mig1", "gpu_mig_memory_gib"] == 0.5
    assert values["gpu0/pid4711", "gpu_process_memory_gib"] == 1.0
    assert values["gpu0", "gpu_utilization_percent"] is None  # NVML does not report the utilization of a sliced GPU
