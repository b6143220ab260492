"""Read slow GPU metrics once per second: metrics that change slowly, or that the driver may take
long to return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pynvml

from app.records.gpu import GpuProcess
from app.records.telemetry_sources import name_gpu_source
from app.telemetry.gpu import GpuReader, Gpus
from app.telemetry.gpu_description import call_or_none, iterate_mig_handles, iterate_processes, read_used_gib
from app.telemetry.nvml_query import MetricQuery, Readings

RESCAN_INTERVAL_NS = 10_000_000_000


def _read_ecc_errors(handle: Any, error_type: int) -> tuple[float]:
    return (float(pynvml.nvmlDeviceGetTotalEccErrors(handle, error_type, pynvml.NVML_VOLATILE_ECC)),)


_QUERIES = (
    MetricQuery(
        ("gpu_ecc_corrected_errors",),
        (lambda handle: _read_ecc_errors(handle, pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),),
    ),
    MetricQuery(
        ("gpu_ecc_uncorrected_errors",),
        (lambda handle: _read_ecc_errors(handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),),
    ),
    MetricQuery(("gpu_fan_percent",), (lambda handle: (float(pynvml.nvmlDeviceGetFanSpeed(handle)),),)),
    MetricQuery(
        ("gpu_encoder_percent",), (lambda handle: (float(pynvml.nvmlDeviceGetEncoderUtilization(handle)[0]),),)
    ),
    MetricQuery(
        ("gpu_decoder_percent",), (lambda handle: (float(pynvml.nvmlDeviceGetDecoderUtilization(handle)[0]),),)
    ),
)


class _ProcessList:
    """Processes that compute on one GPU, as last reported by the driver."""

    def __init__(self, gpu_index: int) -> None:
        self.processes: tuple[GpuProcess, ...] = ()
        self._gpu_index = gpu_index
        self._metric_query = MetricQuery(("gpu_processes",), (self._count_processes,))

    def read(self, reader: GpuReader, at_ns: int) -> Readings:
        self.processes = ()
        return reader.query_runner.run(self._metric_query, reader.handle, at_ns)

    def _count_processes(self, handle: Any) -> tuple[float]:
        self.processes = tuple(iterate_processes(self._gpu_index, handle))
        return (float(len(self.processes)),)


class SlowGpuReader:
    """Reader of the slow metrics of all GPUs, which are read once per second. Every ten seconds,
    the reader also detects added and removed GPUs and MIG instances."""

    interval_s = 1.0

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._rescan_at_ns: int | None = None
        self._mig_handles: dict[int, tuple[tuple[int, Any], ...]] = {}
        self._process_lists: dict[int, _ProcessList] = {}

    @property
    def processes(self) -> tuple[GpuProcess, ...]:
        """Processes that were computing on the GPUs at the last reading."""
        return tuple(
            process for process_list in list(self._process_lists.values()) for process in process_list.processes
        )

    def read(self, at_ns: int) -> Iterator[tuple[str, Readings]]:
        """Yield each source with its readings. The sources are gpuN for a GPU, gpuN/migI for a MIG
        instance, and gpuN/pidP for a process on the GPU."""
        if self._rescan_at_ns is None or at_ns >= self._rescan_at_ns:
            self._rescan_at_ns = at_ns + RESCAN_INTERVAL_NS
            self._gpus.rescan()
            self._mig_handles = {
                reader.index: tuple(iterate_mig_handles(reader.handle)) for reader in self._gpus.readers
            }
        for reader in self._gpus.readers:
            yield from self._read_gpu(reader, at_ns)

    def _read_gpu(self, reader: GpuReader, at_ns: int) -> Iterator[tuple[str, Readings]]:
        source, index = name_gpu_source(reader.index), reader.index
        readings: Readings = {}
        for metric_query in _QUERIES:
            readings |= reader.query_runner.run(metric_query, reader.handle, at_ns)
        process_list = self._process_lists.setdefault(index, _ProcessList(index))
        readings |= process_list.read(reader, at_ns)
        yield source, readings
        for process in process_list.processes:
            yield f"{source}/pid{process.pid}", {"gpu_process_memory_gib": process.memory_gib}
        for mig_index, handle in self._mig_handles.get(index, ()):
            # NVML does not report the utilization of a MIG instance.
            memory_gib = None if reader.is_lost else call_or_none(read_used_gib, handle)
            yield f"{source}/mig{mig_index}", {"gpu_mig_memory_gib": memory_gib, "gpu_utilization_percent": None}
