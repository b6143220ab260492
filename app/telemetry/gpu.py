"""NVIDIA GPUs, as NVML tells of them. No driver means no GPUs: a normal condition, never an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pynvml

from app.telemetry.gpu_asking import NvmlQuery, Question, Readings
from app.telemetry.gpu_description import describe, or_none, used_gib, uuid_hash
from app.telemetry.gpu_fields import FieldReader

_NO_DRIVER = (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded)


def _utilisation(handle: Any) -> tuple[float, float]:
    rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
    return float(rates.gpu), float(rates.memory)


# what is here is asked at every beat: calls that a driver may take long for are in gpu_rare.py
_QUESTIONS = (
    Question(("gpu_utilisation_percent", "gpu_memory_busy_percent"), (_utilisation,)),
    Question(("gpu_memory_gib",), (lambda handle: (used_gib(handle),),)),
    Question(
        ("gpu_temperature_c",),
        (
            lambda handle: (float(pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU)),),
            lambda handle: (float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),),
        ),
    ),
    Question(("gpu_sm_clock_mhz",), (lambda handle: (_clock_mhz(handle, pynvml.NVML_CLOCK_SM),),)),
    Question(("gpu_memory_clock_mhz",), (lambda handle: (_clock_mhz(handle, pynvml.NVML_CLOCK_MEM),),)),
    Question(
        ("gpu_throttle_reasons",),
        (
            lambda handle: (float(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),),
            lambda handle: (float(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),),
        ),
    ),
)
# on Ampere and later a mean over the last second
_POWER = Question(("gpu_power_w",), (lambda handle: (pynvml.nvmlDeviceGetPowerUsage(handle) / 1_000,),))


class GpuReader:
    """One GPU. Once lost it is not asked again, and all its readings are None."""

    def __init__(self, index: int, handle: Any) -> None:
        self.description = describe(index, handle)
        self.handle = handle
        self.query = NvmlQuery()
        self._fields = FieldReader(handle, self.query)

    @property
    def index(self) -> int:
        return self.description.index

    @property
    def is_lost(self) -> bool:
        return self.query.is_lost

    def read(self, at_ns: int) -> Readings:
        """What changes quickly. What the card does not offer is None, and is asked for again once a minute."""
        readings = self._fields.read(at_ns)
        for question in _QUESTIONS:
            readings |= self.query.put(question, self.handle, at_ns)
        if readings["gpu_power_w"] is None:
            readings |= self.query.put(_POWER, self.handle, at_ns)
        return readings


@dataclass
class Gpus:
    """`note` says in the driver's words why GPUs that should be there are not; None where there is no driver at all."""

    readers: tuple[GpuReader, ...]
    driver: str | None
    note: str | None
    counted: int | None = None

    def look_again(self) -> None:
        """Takes up GPUs that came, and marks as lost those that went, when their number has changed.

        A GPU keeps the index that it was found with; one that came later may get another than the driver's.
        """
        count = or_none(pynvml.nvmlDeviceGetCount)
        if count is None or count == self.counted:
            return
        self.counted = count
        handles, notes = _handles(count)
        self.note = "; ".join(notes) or None
        known = {reader.description.uuid_hash: reader for reader in self.readers}
        here = {uuid_hash(handle): (index, handle) for index, handle in handles}
        for identity, reader in known.items():
            if identity is not None and identity not in here and not notes:
                reader.query.is_lost = True
        for identity, (index, handle) in here.items():
            if identity not in known:
                self._take_up(index, handle)

    def _take_up(self, index: int, handle: Any) -> None:
        taken = {reader.index for reader in self.readers}
        with suppress(pynvml.NVMLError):  # it went again
            reader = GpuReader(max(taken) + 1 if index in taken else index, handle)
            self.readers = (*self.readers, reader)


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


def gpu_memory_used_gib() -> dict[int, float]:
    """Memory in use on each GPU at this moment, by index: without those that do not tell, empty without a driver."""
    with open_gpus() as gpus:
        used = {reader.index: or_none(used_gib, reader.handle) for reader in gpus.readers}
    return {index: gib for index, gib in used.items() if gib is not None}


def _find_gpus() -> Gpus:
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        return Gpus((), None, str(error))
    readers: list[GpuReader] = []
    handles, notes = _handles(count)
    for index, handle in handles:
        try:
            readers.append(GpuReader(index, handle))
        except pynvml.NVMLError as error:
            notes.append(f"GPU {index}: {error}")
    return Gpus(tuple(readers), or_none(pynvml.nvmlSystemGetDriverVersion), "; ".join(notes) or None, count)


def _handles(count: int) -> tuple[list[tuple[int, Any]], list[str]]:
    """The GPUs that can be opened, by index, and why others cannot."""
    handles: list[tuple[int, Any]] = []
    notes: list[str] = []
    for index in range(count):
        try:
            handles.append((index, pynvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError as error:
            notes.append(f"GPU {index}: {error}")
    return handles, notes


def _clock_mhz(handle: Any, clock: int) -> float:
    return float(pynvml.nvmlDeviceGetClockInfo(handle, clock))
