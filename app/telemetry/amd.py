"""AMD GPUs, read through AMD's Python package `amdsmi` if it is installed. It comes with ROCm and is not a dependency
of Sizewise."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from app.telemetry.nvml_query import RETRY_NS, Readings

_UNSUPPORTED = {2, 3, 10}
"""Error codes for features that the card lacks, that the library does not support yet, and that are not permitted."""
_NO_READING = 0xFFFF
"""Value of an unknown 16-bit number in the library; some of its versions return it."""


def _activity(smi: ModuleType, handle: Any) -> Readings:
    activity = smi.amdsmi_get_gpu_activity(handle)
    return {
        "gpu_utilization_percent": _number(activity.get("gfx_activity")),
        "gpu_memory_busy_percent": _number(activity.get("umc_activity")),
    }


def _memory(smi: ModuleType, handle: Any) -> Readings:
    used_mib = smi.amdsmi_get_gpu_vram_usage(handle)["vram_used"]
    return {"gpu_memory_gib": used_mib / 1_024}


def _power(smi: ModuleType, handle: Any) -> Readings:
    """Read the power. MI300 and later only report the current power, earlier cards only its average."""
    power = smi.amdsmi_get_power_info(handle)
    return {
        "gpu_power_w": _number(power.get("current_socket_power")),
        "gpu_power_average_w": _number(power.get("average_socket_power")),
    }


def _energy(smi: ModuleType, handle: Any) -> Readings:
    energy = smi.amdsmi_get_energy_count(handle)
    count = energy.get("energy_accumulator", energy.get("power"))  # the newer name and the older
    return {"gpu_energy_j": count * energy["counter_resolution"] / 1e6}


def _temperature(metric: str, sensor: str) -> Callable[[ModuleType, Any], Readings]:
    def read(smi: ModuleType, handle: Any) -> Readings:
        kind = smi.AmdSmiTemperatureType[sensor]
        return {metric: float(smi.amdsmi_get_temp_metric(handle, kind, smi.AmdSmiTemperatureMetric.CURRENT))}

    return read


def _clock(metric: str, clock: str) -> Callable[[ModuleType, Any], Readings]:
    def read(smi: ModuleType, handle: Any) -> Readings:
        clock_info = smi.amdsmi_get_clock_info(handle, smi.AmdSmiClkType[clock])
        return {metric: _number(clock_info.get("clk", clock_info.get("cur_clk")))}  # the newer name and the older

    return read


_QUERIES: tuple[tuple[tuple[str, ...], Callable[[ModuleType, Any], Readings]], ...] = (
    (("gpu_utilization_percent", "gpu_memory_busy_percent"), _activity),
    (("gpu_memory_gib",), _memory),
    (("gpu_power_w", "gpu_power_average_w"), _power),
    (("gpu_energy_j",), _energy),
    # Data center cards lack the edge sensor; all cards have the hotspot sensor.
    (("gpu_temperature_c",), _temperature("gpu_temperature_c", "HOTSPOT")),
    (("gpu_memory_temperature_c",), _temperature("gpu_memory_temperature_c", "VRAM")),
    (("gpu_sm_clock_mhz",), _clock("gpu_sm_clock_mhz", "GFX")),
    (("gpu_memory_clock_mhz",), _clock("gpu_memory_clock_mhz", "MEM")),
)


def amd_readers() -> tuple[AmdReader, ...]:
    """Return a reader if `amdsmi` is installed; it yields no readings without a driver."""
    return (AmdReader(),) if importlib.util.find_spec("amdsmi") else ()


class AmdReader:
    """Reads all AMD GPUs, as sources gpu-amd0, gpu-amd1 …: a poller for the `Sampler`.

    Unsupported readings are None, and are retried once a minute.
    """

    interval_s = 0.1

    def __init__(self) -> None:
        self._smi: ModuleType | None = None
        self._handles: tuple[Any, ...] | None = None
        self._retry_at_ns: dict[tuple[int, tuple[str, ...]], int] = {}

    def read(self, at_ns: int) -> Iterator[tuple[str, Readings]]:
        if self._handles is None:
            self._handles = self._open()
        for index in range(len(self._handles)):
            yield f"gpu-amd{index}", self._read_gpu(index, at_ns)

    def _open(self) -> tuple[Any, ...]:
        """Open the library on the reading thread. It is never closed: its resources are released when the process
        ends."""
        try:
            self._smi = importlib.import_module("amdsmi")  # loads ROCm's libraries, which may be missing
            self._smi.amdsmi_init()
            return tuple(self._smi.amdsmi_get_processor_handles())
        except Exception:  # it raises exceptions of many types without ROCm or a card, and both are normal
            return ()

    def _read_gpu(self, index: int, at_ns: int) -> Readings:
        assert self._smi is not None
        assert self._handles is not None
        readings: Readings = {}
        for metrics, query in _QUERIES:
            readings |= dict.fromkeys(metrics)
            if at_ns < self._retry_at_ns.get((index, metrics), at_ns):
                continue
            try:
                readings |= query(self._smi, self._handles[index])
            except self._smi.AmdSmiLibraryException as error:
                if error.get_error_code() in _UNSUPPORTED:
                    self._retry_at_ns[index, metrics] = at_ns + RETRY_NS
            except (KeyError, TypeError, ValueError):
                pass  # another version of the package uses another format
        return readings


def _number(value: Any) -> float | None:
    """Convert a number; the package returns "N/A" for an unknown one."""
    return float(value) if isinstance(value, int | float) and value < _NO_READING else None
