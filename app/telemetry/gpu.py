"""NVIDIA GPUs, as NVML tells of them. No driver means no GPUs: a normal condition, never an error."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pynvml

from app.records.result import Gpu

_GIB = 2**30
ASK_AGAIN_NS = 60_000_000_000

_NO_DRIVER = (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded)
_NOT_OFFERED = (pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission, pynvml.NVMLError_FunctionNotFound)
_GONE = (pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_ResetRequired)

# power is a mean over the last second on Ampere and later; memory leaves out what the driver keeps for itself
_READERS: dict[str, Callable[[Any], float]] = {
    "gpu_utilisation_percent": lambda handle: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
    "gpu_memory_gib": lambda handle: _memory(handle).used / _GIB,
    "gpu_power_w": lambda handle: pynvml.nvmlDeviceGetPowerUsage(handle) / 1_000,
    "gpu_temperature_c": lambda handle: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
    "gpu_sm_clock_mhz": lambda handle: float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)),
}


class GpuReader:
    """One GPU. Once lost it is not asked again, and all its readings are None."""

    def __init__(self, index: int, handle: Any) -> None:
        self.description = _describe(index, handle)
        self.is_lost = False
        self._handle = handle
        self._ask_again_ns: dict[str, int] = {}

    @property
    def index(self) -> int:
        return self.description.index

    def read(self, at_ns: int) -> dict[str, float | None]:
        """Every GPU metric of the catalogue. One the card does not offer is asked for again once a minute."""
        return {metric: self._read_one(metric, reader, at_ns) for metric, reader in _READERS.items()}

    def _read_one(self, metric: str, reader: Callable[[Any], float], at_ns: int) -> float | None:
        if self.is_lost or at_ns < self._ask_again_ns.get(metric, at_ns):
            return None
        try:
            return reader(self._handle)
        except _NOT_OFFERED:
            self._ask_again_ns[metric] = at_ns + ASK_AGAIN_NS
        except _GONE:
            self.is_lost = True
        except pynvml.NVMLError:
            pass  # a hiccup of the driver costs this reading alone
        return None


@dataclass(frozen=True)
class Gpus:
    """`note` says in the driver's words why GPUs that should be there are not; None where there is no driver at all."""

    readers: tuple[GpuReader, ...]
    driver: str | None
    note: str | None


@contextmanager
def open_gpus() -> Iterator[Gpus]:
    """The GPUs of this machine while the driver's library is open. Opening can take a second on an idle GPU."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield Gpus((), None, None if isinstance(error, _NO_DRIVER) else str(error))
        return
    try:
        yield _find_gpus()
    finally:
        with suppress(pynvml.NVMLError):  # a driver in trouble has told so by its readings
            pynvml.nvmlShutdown()


def _find_gpus() -> Gpus:
    readers: list[GpuReader] = []
    notes: list[str] = []
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        return Gpus((), None, str(error))
    for index in range(count):
        try:
            readers.append(GpuReader(index, pynvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError as error:
            notes.append(f"GPU {index}: {error}")
    return Gpus(tuple(readers), _or_none(pynvml.nvmlSystemGetDriverVersion), "; ".join(notes) or None)


def _describe(index: int, handle: Any) -> Gpu:
    uuid = _or_none(pynvml.nvmlDeviceGetUUID, handle)
    memory = _or_none(_memory, handle)
    limit_mw = _or_none(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    return Gpu(
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        uuid_hash=None if uuid is None else hashlib.sha256(uuid.encode()).hexdigest()[:12],
        memory_gib=None if memory is None else memory.total / _GIB,
        power_limit_w=None if limit_mw is None else limit_mw / 1_000,
    )


def _memory(handle: Any) -> Any:
    return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)


def _or_none(ask: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None
