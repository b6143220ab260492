"""AMD GPUs, where AMD's own Python package `amdsmi` is installed. It comes with ROCm and is no dependency of ours."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from app.telemetry.gpu_asking import ASK_AGAIN_NS, Readings

_NOT_OFFERED = {2, 3, 10}
"""Error codes of what the card does not have, what the library does not know yet, and what is not permitted."""
_NO_READING = 0xFFFF
"""What the library has for a number of 16 bits that it does not know; some of its versions let it through."""


def _activity(smi: ModuleType, handle: Any) -> Readings:
    told = smi.amdsmi_get_gpu_activity(handle)
    return {
        "gpu_utilisation_percent": _number(told.get("gfx_activity")),
        "gpu_memory_busy_percent": _number(told.get("umc_activity")),
    }


def _memory(smi: ModuleType, handle: Any) -> Readings:
    used_mib = smi.amdsmi_get_gpu_vram_usage(handle)["vram_used"]
    return {"gpu_memory_gib": used_mib / 1_024}


def _power(smi: ModuleType, handle: Any) -> Readings:
    """MI300 and later tell the current power only, cards before them its average only."""
    told = smi.amdsmi_get_power_info(handle)
    return {
        "gpu_power_w": _number(told.get("current_socket_power")),
        "gpu_power_average_w": _number(told.get("average_socket_power")),
    }


def _energy(smi: ModuleType, handle: Any) -> Readings:
    told = smi.amdsmi_get_energy_count(handle)
    count = told.get("energy_accumulator", told.get("power"))  # the newer name and the older
    return {"gpu_energy_j": count * told["counter_resolution"] / 1e6}


def _temperature(metric: str, sensor: str) -> Callable[[ModuleType, Any], Readings]:
    def ask(smi: ModuleType, handle: Any) -> Readings:
        kind = smi.AmdSmiTemperatureType[sensor]
        return {metric: float(smi.amdsmi_get_temp_metric(handle, kind, smi.AmdSmiTemperatureMetric.CURRENT))}

    return ask


def _clock(metric: str, clock: str) -> Callable[[ModuleType, Any], Readings]:
    def ask(smi: ModuleType, handle: Any) -> Readings:
        told = smi.amdsmi_get_clock_info(handle, smi.AmdSmiClkType[clock])
        return {metric: _number(told.get("clk", told.get("cur_clk")))}  # the newer name and the older

    return ask


_QUESTIONS: tuple[tuple[tuple[str, ...], Callable[[ModuleType, Any], Readings]], ...] = (
    (("gpu_utilisation_percent", "gpu_memory_busy_percent"), _activity),
    (("gpu_memory_gib",), _memory),
    (("gpu_power_w", "gpu_power_average_w"), _power),
    (("gpu_energy_j",), _energy),
    # the edge sensor is not on the cards of data centres, the hotspot is on all
    (("gpu_temperature_c",), _temperature("gpu_temperature_c", "HOTSPOT")),
    (("gpu_memory_temperature_c",), _temperature("gpu_memory_temperature_c", "VRAM")),
    (("gpu_sm_clock_mhz",), _clock("gpu_sm_clock_mhz", "GFX")),
    (("gpu_memory_clock_mhz",), _clock("gpu_memory_clock_mhz", "MEM")),
)


def amd_readers() -> tuple[AmdReader, ...]:
    """One where `amdsmi` is installed, else none; with no driver beneath it, it has nothing to tell."""
    return (AmdReader(),) if importlib.util.find_spec("amdsmi") else ()


class AmdReader:
    """All AMD GPUs, as sources gpu-amd0, gpu-amd1 …: a poller for the `Sampler`.

    What a card does not offer is None, and is asked for again once a minute.
    """

    interval_s = 0.1

    def __init__(self) -> None:
        self._smi: ModuleType | None = None
        self._handles: tuple[Any, ...] | None = None
        self._ask_again_ns: dict[tuple[int, tuple[str, ...]], int] = {}

    def read(self, at_ns: int) -> Iterator[tuple[str, Readings]]:
        if self._handles is None:
            self._handles = self._opened()
        for index in range(len(self._handles)):
            yield f"gpu-amd{index}", self._read_one(index, at_ns)

    def _opened(self) -> tuple[Any, ...]:
        """Opened on the thread that reads, and never closed: the library's hold ends with the process."""
        try:
            self._smi = importlib.import_module("amdsmi")  # loads ROCm's libraries, which may not be there
            self._smi.amdsmi_init()
            return tuple(self._smi.amdsmi_get_processor_handles())
        except Exception:  # it raises of many kinds where ROCm or a card is absent, and both are normal
            return ()

    def _read_one(self, index: int, at_ns: int) -> Readings:
        assert self._smi is not None
        assert self._handles is not None
        readings: Readings = {}
        for metrics, ask in _QUESTIONS:
            readings |= dict.fromkeys(metrics)
            if at_ns < self._ask_again_ns.get((index, metrics), at_ns):
                continue
            try:
                readings |= ask(self._smi, self._handles[index])
            except self._smi.AmdSmiLibraryException as error:
                if error.get_error_code() in _NOT_OFFERED:
                    self._ask_again_ns[index, metrics] = at_ns + ASK_AGAIN_NS
            except (KeyError, TypeError, ValueError):
                pass  # told in a way that another version of the package has
        return readings


def _number(told: Any) -> float | None:
    """ "N/A" is what the package says of what it does not know."""
    return float(told) if isinstance(told, int | float) and told < _NO_READING else None
