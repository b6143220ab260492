"""Read the static description of an NVIDIA GPU, and the processes that use the GPU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import psutil
import pynvml

from app.records.gpu import GpuProcess, MigInstance
from app.records.result import Gpu

GIB = 2**30


def describe_gpu(index: int, handle: Any) -> Gpu:
    memory_bytes = call_or_none(read_total_bytes, handle)
    min_limit_mw, max_limit_mw = call_or_none(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle) or (
        None,
        None,
    )
    return Gpu(
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        uuid_hash=hash_uuid(handle),
        memory_gib=None if memory_bytes is None else memory_bytes / GIB,
        power_limit_w=_to_watts(call_or_none(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        power_limit_default_w=_to_watts(call_or_none(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        power_limit_lowest_w=_to_watts(min_limit_mw),
        power_limit_highest_w=_to_watts(max_limit_mw),
        max_sm_clock_mhz=call_or_none(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
        max_memory_clock_mhz=call_or_none(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_MEM),
        pcie_generation=call_or_none(pynvml.nvmlDeviceGetCurrPcieLinkGeneration, handle),
        pcie_width=call_or_none(pynvml.nvmlDeviceGetCurrPcieLinkWidth, handle),
        pcie_max_generation=call_or_none(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        pcie_max_width=call_or_none(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        vbios=call_or_none(pynvml.nvmlDeviceGetVbiosVersion, handle),
        driver=call_or_none(pynvml.nvmlSystemGetDriverVersion),
        cuda_driver=_format_cuda_version(call_or_none(pynvml.nvmlSystemGetCudaDriverVersion_v2)),
        mig=tuple(_describe_mig(index, instance) for index, instance in iterate_mig_handles(handle)),
    )


def iterate_mig_handles(handle: Any) -> Iterator[tuple[int, Any]]:
    """Yield the index and the handle of each MIG instance of a GPU; nothing if MIG is disabled. The
    index is the driver's and may have gaps."""
    for index in range(call_or_none(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        instance = call_or_none(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if instance is not None:
            yield index, instance


def read_memory(handle: Any) -> Any:
    """Return NVML's memory information for a GPU or a MIG instance. `used` excludes memory reserved
    by the driver, except before driver 510, which does not separate reserved memory."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_ArgumentVersionMismatch):
        return pynvml.nvmlDeviceGetMemoryInfo(handle)


def read_total_bytes(handle: Any) -> int:
    return int(read_memory(handle).total)


def read_used_gib(handle: Any) -> float:
    return float(read_memory(handle).used / GIB)


def hash_uuid(handle: Any) -> str | None:
    """Return a hash of a GPU's UUID, which identifies the GPU without revealing its serial number;
    None if the GPU reports no UUID."""
    uuid = call_or_none(pynvml.nvmlDeviceGetUUID, handle)
    return None if uuid is None else hashlib.sha256(uuid.encode()).hexdigest()[:12]


def call_or_none(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except pynvml.NVMLError:
        return None


def _describe_mig(index: int, handle: Any) -> MigInstance:
    memory_bytes = call_or_none(read_total_bytes, handle)
    return MigInstance(
        index=index,
        name=call_or_none(pynvml.nvmlDeviceGetName, handle) or "MIG instance",
        uuid_hash=hash_uuid(handle),
        memory_gib=None if memory_bytes is None else memory_bytes / GIB,
    )


def _to_watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1_000


def _format_cuda_version(version: int | None) -> str | None:
    """Format the number with which NVML reports a CUDA version, such as 13010 for CUDA 13.1."""
    return None if version is None else f"{version // 1_000}.{version % 1_000 // 10}"


def iterate_processes(gpu_index: int, handle: Any) -> Iterator[GpuProcess]:
    """Yield the processes that compute on a GPU. Raises pynvml.NVMLError."""
    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        yield GpuProcess(gpu_index, process.pid, None if process.usedGpuMemory is None else process.usedGpuMemory / GIB)


def find_foreign_processes(processes: Iterable[GpuProcess], own_pids: Collection[int]) -> tuple[GpuProcess, ...]:
    """Return the processes that are neither in `own_pids` nor descendants of processes in
    `own_pids`.

    Processes that this machine or container cannot see do not count as foreign: either they have
    ended, or their PID is a PID outside the container, and may belong to a process of this run."""
    return tuple(process for process in processes if _is_foreign(process.pid, own_pids))


def _is_foreign(pid: int, own_pids: Collection[int]) -> bool:
    if pid in own_pids:
        return False
    try:
        return all(parent.pid not in own_pids for parent in psutil.Process(pid).parents())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # the process belongs to a different user
        return True
