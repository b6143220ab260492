"""What this card's driver tells, reading by reading, and what asking costs."""

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
BEAT_BUDGET_US = 50_000.0
"""20 beats a second: a driver that takes longer cannot be read so often, and the sampler leaves beats out."""

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
def test_a_call_answers_or_is_not_offered(name: str, findings: Findings) -> None:
    with open_gpus() as gpus:
        card = gpus.readers[0].handle
        refusal = refusal_of(lambda: CALLS[name](card))
        reported = f"n/a ({refusal})" if refusal else f"{cost_us(lambda: CALLS[name](card)):.1f} µs"
    findings.add(f"NVML call: {name}", reported)
    assert not isinstance(refusal, pynvml.NVMLError_GpuIsLost)


@pytest.mark.parametrize("metric", FIELDS)
def test_a_field_answers_or_is_not_offered(metric: str, findings: Findings) -> None:
    number = FIELDS[metric][0]
    with open_gpus() as gpus:
        card = gpus.readers[0].handle
        code = pynvml.nvmlDeviceGetFieldValues(card, [number])[0].nvmlReturn
        took_us = cost_us(lambda: pynvml.nvmlDeviceGetFieldValues(card, [number]))
    reported = "" if code == pynvml.NVML_SUCCESS else f"n/a ({pynvml.NVMLError(code)}), "
    findings.add(f"NVML field {number}: {metric}", f"{reported}{took_us:.1f} µs")
    assert code in (pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_INVALID_ARGUMENT)


def test_a_beat_and_the_second_reading_are_whole(findings: Findings) -> None:
    with open_gpus() as gpus:
        reader, rare = gpus.readers[0], SlowGpuReader(gpus)
        beat_us = cost_us(lambda: reader.read(time.perf_counter_ns()))
        rare_us = cost_us(lambda: list(rare.read(time.perf_counter_ns())))
        readings = read_twice(reader) | dict(rare.read(time.perf_counter_ns()))["gpu0"]
    findings.add("all that is read at a beat", f"{beat_us:.0f} µs")
    findings.add("all that is read once a second", f"{rare_us:.0f} µs")
    findings.add("readings", ", ".join(f"{name} {value:g}" for name, value in readings.items() if value is not None))
    findings.add("not offered", ", ".join(name for name, value in readings.items() if value is None))
    assert readings["gpu_memory_gib"]
    assert beat_us < BEAT_BUDGET_US


def test_every_reason_that_holds_the_clocks_back_has_a_name(findings: Findings) -> None:
    with open_gpus() as gpus:
        bits = gpus.readers[0].read(time.perf_counter_ns())["gpu_throttle_reasons"]
    if bits is None:
        pytest.skip("this card tells no reasons")
    names = list_throttle_reasons(bits)
    findings.add("throttle reasons when idle", ", ".join(names) or "none")
    assert set(names) <= set(THROTTLE_REASONS.values())


def read_twice(reader: GpuReader) -> dict[str, float | None]:
    """Traffic is told from the second reading on."""
    reader.read(time.perf_counter_ns())
    return reader.read(time.perf_counter_ns())


def refusal_of(ask: Callable[[], object]) -> pynvml.NVMLError | None:
    try:
        ask()
    except pynvml.NVMLError as error:
        return error
    return None


def cost_us(ask: Callable[[], object]) -> float:
    """The median: the first ones open things."""
    took_us = []
    for _ in range(REPEATS):
        began_ns = time.perf_counter_ns()
        ask()
        took_us.append((time.perf_counter_ns() - began_ns) / 1e3)
    return median(took_us)
