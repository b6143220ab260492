"""NVIDIA GPUs, as NVML tells of them. No driver means no GPUs: a normal condition, never an error.

NVML's field values: several readings in one call, each with a return code and a moment of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pynvml

from app.telemetry.gpu_asking import ASK_AGAIN_NS, GONE, NOT_OFFERED, NvmlQuery, Question, Readings
from app.telemetry.gpu_description import describe, or_none, used_gib, uuid_hash

_TX, _RX = "gpu_pcie_tx_mb_per_s", "gpu_pcie_rx_mb_per_s"

# the binding has no names for some of them in its older versions
FIELDS: dict[str, tuple[int, float]] = {
    "gpu_power_w": (186, 1e-3),
    "gpu_power_average_w": (185, 1e-3),
    "gpu_energy_j": (83, 1e-3),
    "gpu_memory_temperature_c": (82, 1.0),
    _TX: (197, 1.0),
    _RX: (198, 1.0),
}
"""By metric: NVML's number of the field, and what one of its units is in units of the metric; bytes for PCIe."""

_MEMBERS = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
}
_UNKNOWN_FIELD = (*NOT_OFFERED, pynvml.NVMLError_InvalidArgument)
_WRAP = 2**32


class ByteRate:
    """A counter of bytes as MB/s between two of its values, by the driver's clock."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None
        self._mb_per_s: float | None = None

    def follow(self, counted: float, at_us: int, wraps: bool) -> float | None:
        """The rate since the counter was last renewed: None at first, and where its clock or itself went back."""
        if self._last is None or at_us != self._last[1]:
            self._mb_per_s = None if self._last is None else self._rate(counted, at_us, wraps)
            self._last = counted, at_us
        return self._mb_per_s

    def _rate(self, counted: float, at_us: int, wraps: bool) -> float | None:
        assert self._last is not None
        passed, elapsed_us = counted - self._last[0], at_us - self._last[1]
        if passed < 0 and wraps:
            passed += _WRAP
        return passed / elapsed_us if passed >= 0 and elapsed_us > 0 else None  # bytes/µs are MB/s


class FieldReader:
    """The fields of one GPU. Those it does not offer are left out of the call, and asked for again once a minute.

    The call's structures are built once: building them anew would cost more than the call does.
    """

    def __init__(self, handle: Any, query: NvmlQuery) -> None:
        self._handle = handle
        self._query = query
        self._traffic = {_TX: ByteRate(), _RX: ByteRate()}
        self._ask_all_ns: int | None = None
        self._prepare(())

    def read(self, at_ns: int) -> Readings:
        readings: Readings = dict.fromkeys(FIELDS)
        if self._query.is_lost:
            return readings
        if self._ask_all_ns is None or self._ask_all_ns <= at_ns:
            self._ask_all_ns = at_ns + ASK_AGAIN_NS
            if len(self._metrics) < len(FIELDS):
                self._prepare(tuple(FIELDS))
        try:
            self._read_into(readings, at_ns)
        except NOT_OFFERED:
            self._prepare(())
        except GONE:
            self._query.is_lost = True
        except pynvml.NVMLError:
            pass  # a hiccup of the driver costs these readings alone
        return readings

    def _read_into(self, readings: Readings, at_ns: int) -> None:
        if not self._metrics:
            return
        code = pynvml.nvmlLib.nvmlDeviceGetFieldValues(self._handle, len(self._metrics), self._values)
        if code != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(code)
        offered = [metric for metric in self._metrics if self._take(metric, readings, at_ns)]
        if len(offered) < len(self._metrics):
            self._prepare(tuple(offered))

    def _prepare(self, metrics: tuple[str, ...]) -> None:
        self._metrics = metrics
        self._values = (pynvml.c_nvmlFieldValue_t * len(metrics))()
        self._views = {}
        for metric, value in zip(metrics, self._values, strict=True):
            value.fieldId = FIELDS[metric][0]
            self._views[metric] = value, value.value

    def _take(self, metric: str, readings: Readings, at_ns: int) -> bool:
        """Whether the card offers it. A hiccup is no refusal."""
        value, union = self._views[metric]
        if value.nvmlReturn != pynvml.NVML_SUCCESS:
            error = pynvml.NVMLError(value.nvmlReturn)
            if isinstance(error, GONE):
                raise error
            return not isinstance(error, _UNKNOWN_FIELD)
        kind = value.valueType
        number = getattr(union, _MEMBERS.get(kind, "ullVal"))
        traffic = self._traffic.get(metric)
        if traffic is None:
            readings[metric] = number * FIELDS[metric][1]
        else:
            wraps = kind == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
            readings[metric] = traffic.follow(number, value.timestamp or at_ns // 1_000, wraps)
        return True


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
