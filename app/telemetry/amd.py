"""Read AMD GPUs through AMD's Python package `amdsmi`, if installed. The package is part of ROCm
and is not a dependency of Sizewise."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from app.records.telemetry_sources import AMD, name_gpu_source
from app.telemetry.nvml_query import RETRY_INTERVAL_NS, Readings

_UNSUPPORTED_ERROR_CODES = {2, 3, 10}
"""Error codes of `amdsmi` for a feature that the GPU or the library does not support, or that this
user may not use."""
_UNKNOWN_VALUE = 0xFFFF
"""Placeholder that some versions of `amdsmi` return for an unknown 16-bit value."""


def _read_activity(smi: ModuleType, handle: Any) -> Readings:
    activity = smi.amdsmi_get_gpu_activity(handle)
    return {
        "gpu_utilization_percent": _to_float(activity.get("gfx_activity")),
        "gpu_memory_busy_percent": _to_float(activity.get("umc_activity")),
    }


def _read_memory(smi: ModuleType, handle: Any) -> Readings:
    used_mib = smi.amdsmi_get_gpu_vram_usage(handle)["vram_used"]
    return {"gpu_memory_gib": used_mib / 1_024}


def _read_power(smi: ModuleType, handle: Any) -> Readings:
    """Read the power in W. MI300 and later GPUs report only the current power, earlier GPUs only
    the average power."""
    power_info = smi.amdsmi_get_power_info(handle)
    return {
        "gpu_power_w": _to_float(power_info.get("current_socket_power")),
        "gpu_power_average_w": _to_float(power_info.get("average_socket_power")),
    }


def _read_energy(smi: ModuleType, handle: Any) -> Readings:
    energy_count = smi.amdsmi_get_energy_count(handle)
    counter_value = energy_count.get("energy_accumulator", energy_count.get("power"))  # newer and older key
    return {"gpu_energy_j": counter_value * energy_count["counter_resolution"] / 1e6}


def _build_temperature_query(metric: str, sensor_name: str) -> Callable[[ModuleType, Any], Readings]:
    def read(smi: ModuleType, handle: Any) -> Readings:
        sensor_type = smi.AmdSmiTemperatureType[sensor_name]
        return {metric: float(smi.amdsmi_get_temp_metric(handle, sensor_type, smi.AmdSmiTemperatureMetric.CURRENT))}

    return read


def _build_clock_query(metric: str, clock_name: str) -> Callable[[ModuleType, Any], Readings]:
    def read(smi: ModuleType, handle: Any) -> Readings:
        clock_info = smi.amdsmi_get_clock_info(handle, smi.AmdSmiClkType[clock_name])
        return {metric: _to_float(clock_info.get("clk", clock_info.get("cur_clk")))}  # newer and older key

    return read


_QUERIES: tuple[tuple[tuple[str, ...], Callable[[ModuleType, Any], Readings]], ...] = (
    (("gpu_utilization_percent", "gpu_memory_busy_percent"), _read_activity),
    (("gpu_memory_gib",), _read_memory),
    (("gpu_power_w", "gpu_power_average_w"), _read_power),
    (("gpu_energy_j",), _read_energy),
    # Data center GPUs lack the edge sensor; all GPUs have the hotspot sensor.
    (("gpu_temperature_c",), _build_temperature_query("gpu_temperature_c", "HOTSPOT")),
    (("gpu_memory_temperature_c",), _build_temperature_query("gpu_memory_temperature_c", "VRAM")),
    (("gpu_sm_clock_mhz",), _build_clock_query("gpu_sm_clock_mhz", "GFX")),
    (("gpu_memory_clock_mhz",), _build_clock_query("gpu_memory_clock_mhz", "MEM")),
)


def create_pollers() -> tuple[AmdReader, ...]:
    """Return one reader of all AMD GPUs if `amdsmi` is installed, otherwise an empty tuple. Without
    a driver, the reader yields no readings."""
    return (AmdReader(),) if importlib.util.find_spec("amdsmi") else ()


class AmdReader:
    """Reader of all AMD GPUs, as the sources gpu-amd0, gpu-amd1 and so on. It is a Poller for the
    `Sampler`.

    Unsupported metrics are None and are retried once per minute."""

    interval_s = 0.1

    def __init__(self) -> None:
        self._smi: ModuleType | None = None
        self._handles: tuple[Any, ...] | None = None
        self._retry_at_ns_by_query: dict[tuple[int, tuple[str, ...]], int] = {}

    def read(self, at_ns: int) -> Iterator[tuple[str, Readings]]:
        if self._handles is None:
            self._handles = self._open_gpus()
        for index in range(len(self._handles)):
            yield name_gpu_source(index, AMD), self._read_gpu(index, at_ns)

    def _open_gpus(self) -> tuple[Any, ...]:
        """Open the `amdsmi` library on the thread that reads the GPUs, and return the GPU handles;
        empty if the library or the GPUs cannot be opened. The library is never closed, because the
        OS releases its resources when the process ends."""
        try:
            self._smi = importlib.import_module("amdsmi")  # loads ROCm's libraries, which may be missing
            self._smi.amdsmi_init()
            return tuple(self._smi.amdsmi_get_processor_handles())
        except Exception:  # many exception types; a missing ROCm installation or GPU is not an error
            return ()

    def _read_gpu(self, index: int, at_ns: int) -> Readings:
        assert self._smi is not None
        assert self._handles is not None
        readings: Readings = {}
        for metrics, query in _QUERIES:
            readings |= dict.fromkeys(metrics)
            if at_ns < self._retry_at_ns_by_query.get((index, metrics), at_ns):
                continue
            try:
                readings |= query(self._smi, self._handles[index])
            except self._smi.AmdSmiLibraryException as error:
                if error.get_error_code() in _UNSUPPORTED_ERROR_CODES:
                    self._retry_at_ns_by_query[index, metrics] = at_ns + RETRY_INTERVAL_NS
            except (KeyError, TypeError, ValueError):
                pass  # other versions of the package use other formats
        return readings


def _to_float(value: Any) -> float | None:
    """Convert a number to float; return None for "N/A" and other placeholders of unknown values."""
    return float(value) if isinstance(value, int | float) and value < _UNKNOWN_VALUE else None
