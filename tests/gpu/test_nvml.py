"""The readings of this GPU's driver, and their cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pynvml
import pytest

from app.records.gpu import THROTTLE_REASONS, list_throttle_reasons
from app.telemetry.gpu import FIELDS, GpuReader, open_gpus
from app.telemetry.gpu_description import read_memory
from app.telemetry.gpu_slow import SlowGpuReader
from tests.gpu.findings import Findings

REPEATS = 50
SAMPLE_BUDGET_US = 50_000.0
"""20 samples per second: the sampler skips samples of a driver that takes longer."""

CALLS: dict[str, Callable[[Any], Any]] = {
    "utilization": pynvml.nvmlDeviceGetUtilizationRates,
    "memory": read_memory,
    "temperature": lambda card: pynvml.nvmlDeviceGetTemperature(card, pynvml.NVML_TEMPERATURE_GPU),
    "SM clock": lambda card: pynvml.nvmlDeviceGetClockInfo(card, pynvml.NVML_CLOCK_SM),
    "memory clock": lambda card: pynvml.nvmlDeviceGetClockInfo(card, pynvml.NVML_CLOCK_MEM),
    "throttle reasons": pynvml.nvmlDeviceGetCurrentClocksEventReasons,
    "power": pynvml.nvmlDeviceGetPowerUsage,
    "energy": pynvml.nvmlDeviceGetTotalEnergyConsumption,
    "ECC errors": lambda card: pynvml.nvmlDeviceGetTotalEccErrors(
        card, pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_VOLATILE_ECC
    ),
    "fan": pynvml.nvmlDeviceGetFanSpeed,
    "encoder": pynvml.nvmlDeviceGetEncoderUtilization,
    "decoder": pynvml.nvmlDeviceGetDecoderUtilization,
    "processes": pynvml.nvmlDeviceGetComputeRunningProcesses,
}


@pytest.mark.parametrize("name", CALLS)
def test_nvml_call_does_not_report_lost_gpu(name: str, findings: Findings) -> None:
    with open_gpus() as gpus:
        card = gpus.readers[0].handle
        error = find_nvml_error(lambda: CALLS[name](card))
        cost = f"n/a ({error})" if error else f"{cost_us(lambda: CALLS[name](card)):.1f} µs"
    findings.add(f"NVML call: {name}", cost)
    assert not isinstance(error, pynvml.NVMLError_GpuIsLost)


@pytest.mark.parametrize("metric", FIELDS)
def test_nvml_field_is_read_or_not_supported(metric: str, findings: Findings) -> None:
    number = FIELDS[metric][0]
    with open_gpus() as gpus:
        card = gpus.readers[0].handle
        code = pynvml.nvmlDeviceGetFieldValues(card, [number])[0].nvmlReturn
        duration_us = cost_us(lambda: pynvml.nvmlDeviceGetFieldValues(card, [number]))
    error_text = "" if code == pynvml.NVML_SUCCESS else f"n/a ({pynvml.NVMLError(code)}), "
    findings.add(f"NVML field {number}: {metric}", f"{error_text}{duration_us:.1f} µs")
    assert code in (pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_INVALID_ARGUMENT)


def test_gpu_memory_is_read_within_sampling_budget(findings: Findings) -> None:
    with open_gpus() as gpus:
        reader, rare = gpus.readers[0], SlowGpuReader(gpus)
        sample_us = cost_us(lambda: reader.read(time.perf_counter_ns()))
        rare_us = cost_us(lambda: list(rare.read(time.perf_counter_ns())))
        readings = read_twice(reader) | dict(rare.read(time.perf_counter_ns()))["gpu0"]
    findings.add("all that is read at a beat", f"{sample_us:.0f} µs")
    findings.add("all that is read once a second", f"{rare_us:.0f} µs")
    findings.add("readings", ", ".join(f"{name} {value:g}" for name, value in readings.items() if value is not None))
    findings.add("not offered", ", ".join(name for name, value in readings.items() if value is None))
    assert readings["gpu_memory_gib"]
    assert sample_us < SAMPLE_BUDGET_US


def test_idle_throttle_reasons_have_names(findings: Findings) -> None:
    with open_gpus() as gpus:
        bits = gpus.readers[0].read(time.perf_counter_ns())["gpu_throttle_reasons"]
    if bits is None:
        pytest.skip("this GPU reports no throttle reasons")
    names = list_throttle_reasons(bits)
    findings.add("throttle reasons when idle", ", ".join(names) or "none")
    assert set(names) <= set(THROTTLE_REASONS.values())


def read_twice(reader: GpuReader) -> dict[str, float | None]:
    """Read twice: PCIe traffic is reported from the second reading on."""
    reader.read(time.perf_counter_ns())
    return reader.read(time.perf_counter_ns())


def find_nvml_error(call: Callable[[], object]) -> pynvml.NVMLError | None:
    try:
        call()
    except pynvml.NVMLError as error:
        return error
    return None


def cost_us(call: Callable[[], object]) -> float:
    """Median time of a call: the first calls are slower."""
    duration_us = []
    for _ in range(REPEATS):
        start_ns = time.perf_counter_ns()
        call()
        duration_us.append((time.perf_counter_ns() - start_ns) / 1e3)
    return median(duration_us)
