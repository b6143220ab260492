"""Read NVIDIA GPUs through NVML. A machine without the driver has no GPUs, which is not an error.

A single NVML call for field values returns several metrics, each with its own return code and
timestamp."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pynvml

from app.telemetry.gpu_description import call_or_none, describe_gpu, hash_uuid, read_used_gib
from app.telemetry.nvml_query import (
    LOST_ERRORS,
    RETRY_INTERVAL_NS,
    UNSUPPORTED_ERRORS,
    MetricQuery,
    NvmlQueryRunner,
    Readings,
)

_PCIE_TX, _PCIE_RX = "gpu_pcie_tx_mb_per_s", "gpu_pcie_rx_mb_per_s"

# Numbers instead of names, because older versions of the binding lack some of the names.
FIELDS: dict[str, tuple[int, float]] = {
    "gpu_power_w": (186, 1e-3),
    "gpu_power_average_w": (185, 1e-3),
    "gpu_energy_j": (83, 1e-3),
    "gpu_memory_temperature_c": (82, 1.0),
    _PCIE_TX: (197, 1.0),
    _PCIE_RX: (198, 1.0),
}
"""NVML field number of each metric, and the factor that converts the unit of the field to the unit
of the metric. PCIe fields are byte counters."""

_UNION_MEMBERS = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
}
_UNKNOWN_FIELD_ERRORS = (*UNSUPPORTED_ERRORS, pynvml.NVMLError_InvalidArgument)
_COUNTER_WRAP = 2**32


class ByteRate:
    """Converter of a byte counter to a rate in MB/s, based on the driver's timestamps of
    consecutive updates."""

    def __init__(self) -> None:
        self._last_update: tuple[float, int] | None = None
        self._mb_per_s: float | None = None

    def update(self, byte_count: float, at_us: int, can_wrap: bool) -> float | None:
        """Return the rate in MB/s between the last two updates of the counter; None before the
        second update, and if the timestamp or the counter decreased. With `can_wrap`, a decreased
        counter is assumed to have wrapped around at 2**32."""
        if self._last_update is None or at_us != self._last_update[1]:
            self._mb_per_s = None if self._last_update is None else self._compute_rate(byte_count, at_us, can_wrap)
            self._last_update = byte_count, at_us
        return self._mb_per_s

    def _compute_rate(self, byte_count: float, at_us: int, can_wrap: bool) -> float | None:
        assert self._last_update is not None
        delta_bytes, elapsed_us = byte_count - self._last_update[0], at_us - self._last_update[1]
        if delta_bytes < 0 and can_wrap:
            delta_bytes += _COUNTER_WRAP
        return delta_bytes / elapsed_us if delta_bytes >= 0 and elapsed_us > 0 else None  # bytes/µs equal MB/s


class FieldReader:
    """Reader of the NVML fields of one GPU. Unsupported fields are left out of the call, and are
    retried once per minute.

    The structures for the call are reused, because building them takes longer than the call."""

    def __init__(self, handle: Any, query_runner: NvmlQueryRunner) -> None:
        self._handle = handle
        self._query_runner = query_runner
        self._byte_rates = {_PCIE_TX: ByteRate(), _PCIE_RX: ByteRate()}
        self._retry_all_at_ns: int | None = None
        self._prepare_call(())

    def read(self, at_ns: int) -> Readings:
        readings: Readings = dict.fromkeys(FIELDS)
        if self._query_runner.is_lost:
            return readings
        if self._retry_all_at_ns is None or self._retry_all_at_ns <= at_ns:
            self._retry_all_at_ns = at_ns + RETRY_INTERVAL_NS
            if len(self._metrics) < len(FIELDS):
                self._prepare_call(tuple(FIELDS))
        try:
            self._read_into(readings, at_ns)
        except UNSUPPORTED_ERRORS:
            self._prepare_call(())
        except LOST_ERRORS:
            self._query_runner.is_lost = True
        except pynvml.NVMLError:
            pass  # after a transient driver error, only these readings are missing
        return readings

    def _read_into(self, readings: Readings, at_ns: int) -> None:
        if not self._metrics:
            return
        code = pynvml.nvmlLib.nvmlDeviceGetFieldValues(self._handle, len(self._metrics), self._values)
        if code != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(code)
        supported_metrics = [metric for metric in self._metrics if self._read_field(metric, readings, at_ns)]
        if len(supported_metrics) < len(self._metrics):
            self._prepare_call(tuple(supported_metrics))

    def _prepare_call(self, metrics: tuple[str, ...]) -> None:
        self._metrics = metrics
        self._values = (pynvml.c_nvmlFieldValue_t * len(metrics))()
        self._value_and_union_by_metric = {}
        for metric, value in zip(metrics, self._values, strict=True):
            value.fieldId = FIELDS[metric][0]
            self._value_and_union_by_metric[metric] = value, value.value

    def _read_field(self, metric: str, readings: Readings, at_ns: int) -> bool:
        """Read one field into `readings`. Return False if the GPU does not support the field. A
        field with a transient error counts as supported."""
        value, union = self._value_and_union_by_metric[metric]
        if value.nvmlReturn != pynvml.NVML_SUCCESS:
            error = pynvml.NVMLError(value.nvmlReturn)
            if isinstance(error, LOST_ERRORS):
                raise error
            return not isinstance(error, _UNKNOWN_FIELD_ERRORS)
        value_type = value.valueType
        number = getattr(union, _UNION_MEMBERS.get(value_type, "ullVal"))
        byte_rate = self._byte_rates.get(metric)
        if byte_rate is None:
            readings[metric] = number * FIELDS[metric][1]
        else:
            can_wrap = value_type == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
            readings[metric] = byte_rate.update(number, value.timestamp or at_ns // 1_000, can_wrap)
        return True


_NO_DRIVER_ERRORS = (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded)


def _read_utilization(handle: Any) -> tuple[float, float]:
    rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
    return float(rates.gpu), float(rates.memory)


# These queries run at every tick; queries that may take the driver long are in gpu_slow.py.
_QUERIES = (
    MetricQuery(("gpu_utilization_percent", "gpu_memory_busy_percent"), (_read_utilization,)),
    MetricQuery(("gpu_memory_gib",), (lambda handle: (read_used_gib(handle),),)),
    MetricQuery(
        ("gpu_temperature_c",),
        (
            lambda handle: (float(pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU)),),
            lambda handle: (float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),),
        ),
    ),
    MetricQuery(("gpu_sm_clock_mhz",), (lambda handle: (_read_clock_mhz(handle, pynvml.NVML_CLOCK_SM),),)),
    MetricQuery(("gpu_memory_clock_mhz",), (lambda handle: (_read_clock_mhz(handle, pynvml.NVML_CLOCK_MEM),),)),
    MetricQuery(
        ("gpu_throttle_reasons",),
        (
            lambda handle: (float(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),),
            lambda handle: (float(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),),
        ),
    ),
)
# On Ampere and later, this is the average power over the last second.
_POWER_QUERY = MetricQuery(("gpu_power_w",), (lambda handle: (pynvml.nvmlDeviceGetPowerUsage(handle) / 1_000,),))


class GpuReader:
    """Reader of one NVIDIA GPU. A lost GPU is not queried again, and all its metrics are None."""

    def __init__(self, index: int, handle: Any) -> None:
        self.description = describe_gpu(index, handle)
        self.handle = handle
        self.query_runner = NvmlQueryRunner()
        self._fields = FieldReader(handle, self.query_runner)

    @property
    def index(self) -> int:
        return self.description.index

    @property
    def is_lost(self) -> bool:
        return self.query_runner.is_lost

    def read(self, at_ns: int) -> Readings:
        """Read the metrics that change fast and take little time to read. Unsupported metrics are
        None and are retried once per minute."""
        readings = self._fields.read(at_ns)
        for metric_query in _QUERIES:
            readings |= self.query_runner.run(metric_query, self.handle, at_ns)
        if readings["gpu_power_w"] is None:
            readings |= self.query_runner.run(_POWER_QUERY, self.handle, at_ns)
        return readings


@dataclass
class Gpus:
    """NVIDIA GPUs of this machine. `note` contains the driver's messages about GPUs that cannot be
    opened; None if there are none."""

    readers: tuple[GpuReader, ...]
    driver: str | None
    note: str | None
    device_count: int | None = None

    def rescan(self) -> None:
        """If the number of GPUs has changed, add new GPUs and mark removed GPUs as lost.

        The index of a GPU never changes, so the index of a new GPU may differ from the index that
        the driver uses."""
        device_count = call_or_none(pynvml.nvmlDeviceGetCount)
        if device_count is None or device_count == self.device_count:
            return
        self.device_count = device_count
        handles, notes = _open_handles(device_count)
        self.note = "; ".join(notes) or None
        reader_by_id = {reader.description.uuid_hash: reader for reader in self.readers}
        handle_by_id = {hash_uuid(handle): (index, handle) for index, handle in handles}
        for gpu_id, reader in reader_by_id.items():
            if gpu_id is not None and gpu_id not in handle_by_id and not notes:
                reader.query_runner.is_lost = True
        for gpu_id, (index, handle) in handle_by_id.items():
            if gpu_id not in reader_by_id:
                self._add_gpu(index, handle)

    def _add_gpu(self, index: int, handle: Any) -> None:
        used_indices = {reader.index for reader in self.readers}
        with suppress(pynvml.NVMLError):  # the GPU was removed again
            reader = GpuReader(max(used_indices) + 1 if index in used_indices else index, handle)
            self.readers = (*self.readers, reader)


@contextmanager
def open_gpus() -> Iterator[Gpus]:
    """Open the NVIDIA driver library and all GPUs of this machine while the context is active.
    Opening an idle GPU can take a second."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield Gpus((), None, None if isinstance(error, _NO_DRIVER_ERRORS) else str(error))
        return
    try:
        yield _find_gpus()
    finally:
        with suppress(pynvml.NVMLError):  # readings already show that the driver fails
            pynvml.nvmlShutdown()


def read_gpu_memory_used_gib() -> dict[int, float]:
    """Return the used memory of each GPU in GiB, by GPU index; empty without a driver. GPUs that do
    not report their memory are omitted."""
    with open_gpus() as gpus:
        used_gib_by_index = {reader.index: call_or_none(read_used_gib, reader.handle) for reader in gpus.readers}
    return {index: used_gib for index, used_gib in used_gib_by_index.items() if used_gib is not None}


def _find_gpus() -> Gpus:
    try:
        device_count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        return Gpus((), None, str(error))
    readers: list[GpuReader] = []
    handles, notes = _open_handles(device_count)
    for index, handle in handles:
        try:
            readers.append(GpuReader(index, handle))
        except pynvml.NVMLError as error:
            notes.append(f"GPU {index}: {error}")
    return Gpus(tuple(readers), call_or_none(pynvml.nvmlSystemGetDriverVersion), "; ".join(notes) or None, device_count)


def _open_handles(device_count: int) -> tuple[list[tuple[int, Any]], list[str]]:
    """Open all GPUs. Return the index and handle of each GPU, and an error message for each GPU
    that cannot be opened."""
    handles: list[tuple[int, Any]] = []
    notes: list[str] = []
    for index in range(device_count):
        try:
            handles.append((index, pynvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError as error:
            notes.append(f"GPU {index}: {error}")
    return handles, notes


def _read_clock_mhz(handle: Any, clock_type: int) -> float:
    return float(pynvml.nvmlDeviceGetClockInfo(handle, clock_type))
